"""Parts of a method by what a shell user types: a name, or a function of their own.

Names and their numbers are those of :mod:`cawe_jax.methods.names`. Any other
``MODULE:FUNCTION`` is a part of the user's own; the library's names come first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from cawe_jax.cli.imports import (
  accepts,
  import_function,
  make_part,
  names_function,
  source_of,
)
from cawe_jax.initial_masks import InitialMask
from cawe_jax.methods import names
from cawe_jax.methods.names import Named
from cawe_jax.metrics import METRICS, Metric
from cawe_jax.types import Distortion, Perturbation, Transform

T = TypeVar("T")

_DISTORTION_ARGUMENTS = ["clean_logits", "logits", "target"]
_METRIC_ARGUMENTS = ["judged"]


def parse_perturbation(text: str) -> Perturbation:
  """A perturbation from ``name``, ``name:numbers`` or ``MODULE:FUNCTION``.

  Raises:
    ValueError: Unknown name, numbers that do not fit it, or a function that returns no
      perturbation.

  Example:
    >>> parse_perturbation("blur:5").name
    'blur(sigma=5.0)'
  """
  return _parse("perturbation", names.PERTURBATIONS, text, Perturbation)


def parse_representation(text: str) -> Transform:
  """A representation, likewise.

  Example:
    >>> parse_representation("cawe_jax.representations:pixel").name
    'pixel()'
  """
  return _parse("representation", names.REPRESENTATIONS, text, Transform)


def parse_initial_mask(text: str) -> InitialMask:
  """Where the search starts, likewise.

  Example:
    >>> parse_initial_mask("constant:0.5").name
    'constant(value=0.5)'
  """
  return _parse("initial-mask", names.INITIAL_MASKS, text, InitialMask)


def parse_distortion(text: str) -> Distortion:
  """A distortion by name, or the function ``MODULE:FUNCTION``.

  Raises:
    ValueError: Unknown name, or a function of other arguments.

  Example:
    >>> parse_distortion("squared-l2").__name__
    'squared_l2'
  """
  if _is_own(names.DISTORTIONS, text):
    return _own_function("distortion", text, _DISTORTION_ARGUMENTS)
  return _find("distortion", names.DISTORTIONS, text).make


def parse_metric(text: str) -> Metric:
  """A metric by name, or the function ``MODULE:FUNCTION``.

  Raises:
    ValueError: Unknown name, or a function of other arguments.

  Example:
    >>> parse_metric("insertion-deletion").__name__
    'insertion_and_deletion'
  """
  if _is_own(METRICS, text):
    return _own_function("metric", text, _METRIC_ARGUMENTS)
  return _find("metric", METRICS, text).metric


def own_parts(texts: Mapping[str, str | None]) -> dict[str, dict[str, Any]]:
  """What tells the user's own parts from others of the same name.

  Args:
    texts: What was given for each option; None for nothing.

  Returns:
    For each option that names a function, :func:`cawe_jax.cli.imports.source_of` it.

  Raises:
    ValueError: There is no such function.

  Example:
    >>> own_parts({"perturbation": "blur:5", "distortion": None})
    {}
  """
  return {
    option: source_of(option, text)
    for option, text in texts.items()
    if text is not None and names_function(text)
  }


def _parse(option: str, table: Mapping[str, Named], text: str, kind: type[T]) -> T:
  if _is_own(table, text):
    return make_part(option, text, kind)  # type: ignore[arg-type]
  _find(option, table, text.partition(":")[0])
  return names.parse(option, table, text)


def _is_own(table: Mapping[str, Any], text: str) -> bool:
  return text.partition(":")[0] not in table and names_function(text)


def _find(option: str, table: Mapping[str, Any], name: str) -> Any:
  try:
    return names.find(option, table, name)
  except ValueError as error:
    raise ValueError(f"{error}, or MODULE:FUNCTION for one of your own") from None


def _own_function(option: str, text: str, arguments: Sequence[str]) -> Any:
  function = import_function(option, text)
  if not hasattr(function, "__name__"):
    raise ValueError(
      f"{option} {text!r} is of type {type(function).__name__}, which has no name; "
      "write it with def"
    )
  if not accepts(function, len(arguments)):
    raise ValueError(
      f"{option} {text!r} takes other arguments; it must be a function of "
      f"{', '.join(arguments)}"
    )
  return function
