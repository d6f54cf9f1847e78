"""What is refused, each in one line that names argument, value and what is allowed."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax import contracts
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.classifiers.outputs import softmax
from cawe_jax.distortions import label_squared_error
from cawe_jax.images import image_id
from cawe_jax.initial_masks import InitialMask
from cawe_jax.methods import Method, Structure
from cawe_jax.schedules import Schedule
from cawe_jax.solvers import Solver
from cawe_jax.stopping import Stopping
from cawe_jax.types import Array, Mask

_RECIPE_PARTS = {
  "initial_mask": InitialMask,
  "solver": Solver,
  "schedule": Schedule,
  "stopping": Stopping,
}


def check_method(method: Method) -> None:
  """Refuse parts that are none, and numbers that make no sense.

  Raises:
    ValueError: One line that names the number and what is allowed.
  """
  recipe = method.recipe
  contracts.check_parts(method.representation, method.perturbation)
  for name, kind in _RECIPE_PARTS.items():
    contracts.check_part(name, getattr(recipe, name), kind)
  if len(method.penalty_weights) != len(method.penalties):
    raise ValueError(
      f"penalty_weights has {len(method.penalty_weights)} entries; the method has "
      f"{len(method.penalties)} penalties"
    )
  named = {"lagrange_multiplier": method.lagrange_multiplier}
  for penalty, weight in zip(method.penalties, method.penalty_weights, strict=True):
    name = f"weight of {contracts.name_of(penalty)}"
    if name in named:
      raise ValueError(
        f"penalties has two that are called {contracts.name_of(penalty)}; their values "
        "are in the history by name: give each a __name__ of its own"
      )
    named[name] = weight
  for name, value in named.items():
    if not np.all(np.isfinite(value) & (np.asarray(value) >= 0)):
      raise ValueError(f"{name} is {value}; it must be finite and at least 0")
  if not np.all(np.isfinite(recipe.step_size) & (np.asarray(recipe.step_size) > 0)):
    raise ValueError(f"step_size is {recipe.step_size}; it must be finite and above 0")
  if np.shape(recipe.contrast) != (2,) or not (
    0 <= recipe.contrast[0] < recipe.contrast[1] <= 1
  ):
    raise ValueError(
      f"contrast is {recipe.contrast}; it must be two numbers, 0 <= low < high <= 1: "
      "(0, 1) keeps the mask as it is"
    )
  check_count("num_steps", recipe.num_steps)
  check_count("num_draws", recipe.num_draws)


def check_count(name: str, count: Any, most: int = 2**31 - 1) -> None:
  """An integer from 1 to ``most``."""
  if not (isinstance(count, int | np.integer) and 1 <= count <= most):
    raise ValueError(f"{name} is {count!r}; it must be an integer from 1 to {most}")


def check_structure(structure: Structure) -> None:
  """Refuse parts that do not fit together, on images of the structure's shape.

  Raises:
    ValueError: As the checks of :mod:`cawe_jax.contracts`.
  """
  objective = structure.objective
  contracts.check_representation(objective.representation)
  contracts.check_initial_mask(structure.initial_mask, objective.representation)
  contracts.check_perturbation(objective.perturbation, objective.representation)
  for penalty in objective.penalties:
    contracts.check_penalty(penalty, objective.representation)


def check_images(images: Array | np.ndarray) -> np.ndarray:
  """Images as a batch ``[B, H, W, C]``, float in [0, 1], at least float32."""
  array = np.asarray(images)
  if array.ndim not in (3, 4) or 0 in array.shape:
    raise ValueError(
      f"images has shape {array.shape}; it must be [H, W, C] or [B, H, W, C], not empty"
    )
  if not jnp.issubdtype(array.dtype, jnp.floating):
    raise ValueError(f"images has type {array.dtype}; it must be float in [0, 1]")
  low, high = float(array.min()), float(array.max())
  if not (math.isfinite(low) and math.isfinite(high) and low >= 0 and high <= 1):
    raise ValueError(f"images has values in [{low}, {high}]; allowed is [0, 1]")
  batch = array if array.ndim == 4 else array[None]
  return batch.astype(jnp.promote_types(array.dtype, jnp.float32), copy=False)


def check_integers(name: str, values: Any, batch: int) -> np.ndarray | None:
  """One integer for each of B images, or None."""
  if values is None:
    return None
  array = np.asarray(values)
  if not np.issubdtype(array.dtype, np.integer) or array.shape not in ((), (batch,)):
    raise ValueError(
      f"{name} is {values}; it must be one integer or one for each of {batch} images"
    )
  if array.min() < 0:
    raise ValueError(f"{name} is {values}; it must be at least 0")
  return np.broadcast_to(array, (batch,))


def check_ids(image_ids: Any, images: np.ndarray) -> np.ndarray:
  """A 32-bit id for each of B images, by default a hash of its pixels."""
  given = check_integers("image_ids", image_ids, len(images))
  if given is None:
    return np.array([image_id(np.asarray(x, np.float32)) for x in images], np.uint32)
  if given.max() >= 2**32:
    raise ValueError(f"image_ids is {image_ids}; allowed is 0 to 2**32 - 1")
  return given.astype(np.uint32)


def check_logits(
  logits: np.ndarray, wanted: np.ndarray, classifier: Classifier, method: Method
) -> None:
  """Clean outputs ``[B, K]``, and targets ``[B]``, -1 for the largest output's."""
  if not np.isfinite(logits).all():
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    raise ValueError(
      f"classifier {classifier.name!r} returned NaN or infinite logits for image(s) "
      f"{', '.join(map(str, bad))}; they must be finite on images in [0, 1]"
    )
  num_outputs, output = logits.shape[1], classifier.output
  if num_outputs == 1 and output is softmax():
    raise ValueError(
      f"classifier {classifier.name!r} has one output, whose softmax is always 1; make "
      "it with output=sigmoid() or output=regression(scale)"
    )
  if wanted.max() >= num_outputs:
    raise ValueError(f"target is {wanted.max()}; allowed are 0 to {num_outputs - 1}")
  if num_outputs > 1 and not output.is_probability and wanted.min() < 0:
    raise ValueError(
      f"targets is None; classifier {classifier.name!r} is a regression: say which of "
      f"its outputs 0 to {num_outputs - 1} is explained"
    )
  if method.distortion is not label_squared_error:
    return
  targets = np.where(wanted < 0, logits.argmax(axis=1), wanted)
  other = np.flatnonzero(~np.asarray(jax.vmap(output.is_predicted)(logits, targets)))
  if other.size:
    i = other[0]
    raise ValueError(
      f"distortion label_squared_error is for a predicted {output.noun}, which target "
      f"{targets[i]} of image {i} is not: every mask keeps a probability low; use "
      f"maximise_probability"
    )


def check_masks(name: str, given: Mask, shapes: list[tuple[int, ...]]) -> Mask:
  """Masks of the given shapes, in [0, 1], as float32."""
  got = [np.shape(leaf) for leaf in given]
  if got != shapes:
    raise ValueError(f"{name} has leaves {got}; they must be {shapes}")
  for leaf in given:
    if not np.all((np.asarray(leaf) >= 0) & (np.asarray(leaf) <= 1)):
      raise ValueError(f"{name} has entries outside [0, 1], or NaN")
  return tuple(np.asarray(leaf, np.float32) for leaf in given)


def check_key(key: Array) -> None:
  """A typed key."""
  if not jax.dtypes.issubdtype(getattr(key, "dtype", None), jax.dtypes.prng_key):
    raise ValueError(f"key is {key!r}; it must be a typed key, e.g. jax.random.key(0)")
