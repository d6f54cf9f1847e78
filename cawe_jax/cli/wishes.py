"""How the options of a command line make a method.

An option that is not given means the preset's value. An option that does not apply to
the chosen method is an error, never ignored.
"""

from __future__ import annotations

import argparse
import math

from cawe_jax import representations
from cawe_jax.cli.parts import (
  parse_distortion,
  parse_initial_mask,
  parse_perturbation,
  parse_representation,
)
from cawe_jax.methods import Method
from cawe_jax.methods.contracts import check_method
from cawe_jax.methods.names import METHODS
from cawe_jax.methods.presets import preset
from cawe_jax.stopping import plateau

_OWNERS = {weight: name for name, row in METHODS.items() for weight in row.weights}


def make_method(options: argparse.Namespace) -> Method:
  """The method that the options describe.

  Raises:
    ValueError: One line that names the option, its value and what is allowed.
  """
  method = preset(options.method, options.preset)
  if options.perturbation is not None:
    method = method._replace(perturbation=parse_perturbation(options.perturbation))
  if options.distortion is not None:
    method = method._replace(distortion=parse_distortion(options.distortion))
  if options.lagrange_multiplier is not None:
    method = method._replace(lagrange_multiplier=options.lagrange_multiplier)
  method = _with_representation(method, options)
  method = _with_penalties(method, options)
  start = options.initial_mask
  given = {
    "initial_mask": None if start is None else parse_initial_mask(start),
    "num_steps": options.steps,
    "num_draws": options.draws,
    "step_size": options.step_size,
    "stopping": None if options.stop is None else plateau(tolerance=options.stop),
  }
  recipe = method.recipe._replace(**{k: v for k, v in given.items() if v is not None})
  _check(options)
  method = method._replace(recipe=recipe)
  check_method(method)
  return method


def _with_representation(method: Method, options: argparse.Namespace) -> Method:
  given = {
    name: value
    for name in ("representation", "wavelet", "levels", "mode")
    if (value := getattr(options, name)) is not None
  }
  if not given:
    return method
  if not METHODS[method.name].any_representation:
    owners = [name for name, row in METHODS.items() if row.any_representation]
    raise ValueError(
      f"option --{next(iter(given))} does not apply to method {method.name!r}; it is "
      f"for {', '.join(owners)}"
    )
  own = given.pop("representation", None)
  if own is not None:
    if given:
      raise ValueError(
        f"option --representation {own!r} does not go with --{next(iter(given))}, "
        "which is of wavelets; give one of them"
      )
    return method._replace(representation=parse_representation(own))
  return method._replace(representation=representations.wavelet(**given))


def _with_penalties(method: Method, options: argparse.Namespace) -> Method:
  for name, owner in _OWNERS.items():
    weight = getattr(options, name)
    if weight is None:
      continue
    if method.name != owner:
      raise ValueError(
        f"option --{name.replace('_', '-')} does not apply to method {method.name!r}; "
        f"it is for {owner}"
      )
    weights = list(method.penalty_weights)
    weights[METHODS[owner].weights.index(name)] = weight
    method = method._replace(penalty_weights=tuple(weights))
  return method


def _check(options: argparse.Namespace) -> None:
  """What no later check can name as the option it is."""
  for name in ("steps", "draws", "batch_size"):
    value = getattr(options, name)
    if value is not None and value < 1:
      raise ValueError(f"--{name.replace('_', '-')} is {value}; it must be at least 1")
  if not 0 <= options.seed < 2**32:
    raise ValueError(f"--seed is {options.seed}; allowed is 0 to 2**32 - 1")
  retain = options.retain
  if retain is not None and not (math.isfinite(retain) and 0 < retain <= 1):
    raise ValueError(f"--retain is {retain}; it must be above 0 and at most 1")
  confidence = options.confidence
  if confidence is not None:
    if not 0 < confidence < 1:
      raise ValueError(f"--confidence is {confidence}; it must be above 0 and below 1")
    if "bounds" in options.metric:
      raise ValueError(
        "--confidence is given with --metric bounds, which are the same bounds; give "
        "one of them"
      )
  if options.budget is not None and options.budget < 1:
    raise ValueError(f"--budget is {options.budget}; it must be at least 1")
