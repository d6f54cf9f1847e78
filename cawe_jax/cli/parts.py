"""Parts of a method by the names that a shell user types.

The names are found, not listed: every public function of the module that returns the
wanted type is a choice, ``adaptive_gaussian`` as ``adaptive-gaussian``. Numbers follow
a colon: ``blur:5``, ``constant:0.5``, ``scaled-gaussian:1,1,1,0.5,0.5,0.25``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, get_type_hints

from cawe_jax import distortions, perturbations
from cawe_jax.types import Distortion, Perturbation

_NUMBERS = (float, tuple[float, ...])
_DISTORTION_ARGUMENTS = ["clean_logits", "logits", "target"]


def perturbation_names() -> list[str]:
  """The names that :func:`parse_perturbation` knows."""
  return [_dashed(name) for name in _perturbations()]


def distortion_names() -> list[str]:
  """The names that :func:`parse_distortion` knows."""
  return [_dashed(name) for name in _distortions()]


def parse_perturbation(text: str) -> Perturbation:
  """A perturbation from ``name`` or ``name:numbers``.

  Raises:
    ValueError: Unknown name, or numbers that do not fit it.

  Example:
    >>> parse_perturbation("blur:5").name
    'blur(5.0)'
  """
  name, _, numbers = text.partition(":")
  factories = _perturbations()
  if name.replace("-", "_") not in factories:
    raise ValueError(
      f"perturbation {name!r} is unknown; allowed: {', '.join(perturbation_names())}"
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
  """A distortion by name.

  Raises:
    ValueError: Unknown name.

  Example:
    >>> parse_distortion("squared-l2").__name__
    'squared_l2'
  """
  functions = _distortions()
  if text.replace("-", "_") not in functions:
    raise ValueError(
      f"distortion {text!r} is unknown; allowed: {', '.join(distortion_names())}"
    )
  return functions[text.replace("-", "_")]


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
