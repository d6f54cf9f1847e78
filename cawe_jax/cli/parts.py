"""Parts of a method by the names that a shell user types.

The names are found, not listed: every public function of the module that returns the
wanted type is a choice, ``adaptive_gaussian`` as ``adaptive-gaussian``. Numbers follow
a colon: ``blur:5``, ``constant:0.5``, ``scaled-gaussian:1,1,1,0.5,0.5,0.25``. Any other
``MODULE:FUNCTION`` is a part of the user's own; the library's names come first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, get_type_hints

from cawe_jax import distortions, perturbations
from cawe_jax.cli.imports import (
  accepts,
  import_function,
  make_part,
  names_function,
  source_sha256,
)
from cawe_jax.types import Distortion, Perturbation, Transform

_NUMBERS = (float, tuple[float, ...])
_DISTORTION_ARGUMENTS = ["clean_logits", "logits", "target"]
_OWN = "or MODULE:FUNCTION for one of your own"


def perturbation_names() -> list[str]:
  """The names that :func:`parse_perturbation` knows."""
  return [_dashed(name) for name in _perturbations()]


def distortion_names() -> list[str]:
  """The names that :func:`parse_distortion` knows."""
  return [_dashed(name) for name in _distortions()]


def parse_perturbation(text: str) -> Perturbation:
  """A perturbation from ``name``, ``name:numbers`` or ``MODULE:FUNCTION``.

  Raises:
    ValueError: Unknown name, numbers that do not fit it, or a function that returns no
      perturbation.

  Example:
    >>> parse_perturbation("blur:5").name
    'blur(5.0)'
  """
  name, _, numbers = text.partition(":")
  factories = _perturbations()
  if name.replace("-", "_") not in factories:
    if names_function(text):
      return make_part("perturbation", text, Perturbation)
    raise ValueError(
      f"perturbation {name!r} is unknown; allowed: {', '.join(perturbation_names())}, "
      f"{_OWN}"
    )
  factory = factories[name.replace("-", "_")]
  values = _numbers("perturbation", text, numbers)
  hints = get_type_hints(factory)
  takes = [n for n in inspect.signature(factory).parameters if hints[n] in _NUMBERS]
  wants_tuple = bool(takes) and hints[takes[0]] is not float
  arguments: list[Any] = [values] if wants_tuple and values else list(values)
  try:
    inspect.signature(factory).bind(*arguments)
    if len(arguments) > len(takes):
      raise TypeError
  except TypeError:
    wanted = ", ".join(takes) or "nothing"
    raise ValueError(
      f"perturbation {text!r} does not fit; {name} takes {wanted} after the colon"
    ) from None
  return factory(*arguments)


def parse_distortion(text: str) -> Distortion:
  """A distortion by name, or the function ``MODULE:FUNCTION``.

  Raises:
    ValueError: Unknown name, or a function of other arguments.

  Example:
    >>> parse_distortion("squared-l2").__name__
    'squared_l2'
  """
  functions = _distortions()
  if text.replace("-", "_") in functions:
    return functions[text.replace("-", "_")]
  if names_function(text):
    return _own_distortion(text)
  raise ValueError(
    f"distortion {text!r} is unknown; allowed: {', '.join(distortion_names())}, {_OWN}"
  )


def parse_representation(text: str) -> Transform:
  """A representation from ``MODULE:FUNCTION``.

  Raises:
    ValueError: No such function, or it returns no transform.

  Example:
    >>> parse_representation("cawe_jax.representations:pixel").name
    'pixel()'
  """
  return make_part("representation", text, Transform)


def own_parts(texts: Mapping[str, str | None]) -> dict[str, dict[str, str | None]]:
  """What tells the user's own parts from others of the same name.

  Args:
    texts: What was given for each option; None for nothing.

  Returns:
    For each option that names a function: ``function``, the text, and ``sha256``, of
    the module's file.

  Raises:
    ValueError: There is no such function.

  Example:
    >>> own_parts({"perturbation": "blur:5", "distortion": None})
    {}
  """
  return {
    option: {"function": text, "sha256": source_sha256(option, text)}
    for option, text in texts.items()
    if text is not None and names_function(text)
  }


def _own_distortion(text: str) -> Distortion:
  function = import_function("distortion", text)
  if not hasattr(function, "__name__"):
    raise ValueError(
      f"distortion {text!r} is of type {type(function).__name__}, which has no name; "
      "write it with def"
    )
  if not accepts(function, len(_DISTORTION_ARGUMENTS)):
    raise ValueError(
      f"distortion {text!r} takes other arguments; it must be a function of "
      f"{', '.join(_DISTORTION_ARGUMENTS)}"
    )
  return function


def _perturbations() -> dict[str, Callable[..., Perturbation]]:
  """All factories; numbers are their arguments."""
  return {
    name: function
    for name, function in _public_functions(perturbations).items()
    if get_type_hints(function).get("return") is Perturbation
  }


def _distortions() -> dict[str, Distortion]:
  return {
    name: function
    for name, function in _public_functions(distortions).items()
    if list(inspect.signature(function).parameters) == _DISTORTION_ARGUMENTS
  }


def _public_functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
  return {
    name: value
    for name, value in vars(module).items()
    if inspect.isfunction(value)
    and value.__module__ == module.__name__
    and not name.startswith("_")
  }


def _numbers(option: str, text: str, numbers: str) -> tuple[float, ...]:
  try:
    return tuple(float(number) for number in numbers.split(",") if numbers)
  except ValueError:
    raise ValueError(
      f"{option} {text!r} does not fit; after the colon come numbers, e.g. blur:5"
    ) from None


def _dashed(name: str) -> str:
  return name.replace("_", "-")
