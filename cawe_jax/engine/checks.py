"""What is refused, each in one line that names argument, value and what is allowed."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.classifiers.adapters import check_one_shape
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.distortions import label_squared_error
from cawe_jax.files.images import image_id
from cawe_jax.methods import Method
from cawe_jax.outputs import softmax
from cawe_jax.types import Array, Explanation, Masks

_GENERATOR = "threefry2x32"


def check_images(images: Array | np.ndarray) -> np.ndarray:
  """Images as a batch ``[B, H, W, C]``, float in [0, 1], at least float32."""
  check_one_shape(images)
  if np.ma.is_masked(images):
    raise ValueError("images has masked values; fill them in, e.g. with .filled(0)")
  array = np.asarray(images)
  if array.ndim not in (3, 4) or 0 in array.shape:
    raise ValueError(
      f"images has shape {array.shape}; it must be [H, W, C] or [B, H, W, C], not empty"
    )
  if not jnp.issubdtype(array.dtype, jnp.floating):
    raise ValueError(f"images has type {array.dtype}; it must be float in [0, 1]")
  low, high = float(array.min()), float(array.max())
  if not (math.isfinite(low) and math.isfinite(high)):
    bad = np.size(array) - np.count_nonzero(np.isfinite(array))
    raise ValueError(
      f"images has {bad} values that are NaN or infinite; allowed is [0, 1]"
    )
  if low < 0 or high > 1:
    raise ValueError(f"images has values in [{low}, {high}]; allowed is [0, 1]")
  batch = array if array.ndim == 4 else array[None]
  return batch.astype(np.promote_types(array.dtype, np.float32), copy=False)


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


def check_targets(
  classifier: Classifier, targets: Any, batch: int
) -> np.ndarray | None:
  """One output for each of B images, given by index or by name, or None.

  Example:
    >>> named = Classifier(lambda params, images: images, (), 2, ("cat", "dog"))
    >>> check_targets(named, ["dog", 0], 2).tolist()
    [1, 0]
  """
  if isinstance(targets, str):
    return check_integers("targets", classifier.class_index(targets), batch)
  if isinstance(targets, np.ndarray) and targets.dtype.kind == "U":
    targets = targets.tolist()
    return check_targets(classifier, targets, batch)
  if isinstance(targets, list | tuple):
    targets = [
      classifier.class_index(target) if isinstance(target, str) else target
      for target in targets
    ]
  return check_integers("targets", targets, batch)


def check_choice(classifier: Classifier, num_outputs: int) -> None:
  """Refuse to choose among the outputs of a regression, where none was asked for."""
  if num_outputs > 1 and not classifier.output.is_probability:
    raise ValueError(
      f"targets is None; classifier {classifier.name!r} is a regression: say which of "
      f"its outputs 0 to {num_outputs - 1} is explained"
    )


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
      f"{', '.join(map(str, bad))}; they must be finite on images [N, H, W, C] in "
      "[0, 1]: the channels come last, and the logarithm of a probability p that may "
      "be 0 is jnp.log(jnp.maximum(p, 1e-30))"
    )
  num_outputs, output = logits.shape[1], classifier.output
  if num_outputs == 1 and output == softmax():
    raise ValueError(
      f"classifier {classifier.name!r} has one output z, whose softmax is always 1; "
      "make it with output=sigmoid() or output=regression(scale), or let it return "
      "[0, z] for two classes, each of which can be explained"
    )
  if wanted.max() >= num_outputs:
    raise ValueError(f"target is {wanted.max()}; allowed are 0 to {num_outputs - 1}")
  if wanted.min() < 0:
    check_choice(classifier, num_outputs)
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


def check_judged(distortion: np.ndarray, classifier: Classifier) -> None:
  """Distortions of masks, ``[B]`` or ``[B, D]``, which must be numbers.

  Raises:
    ValueError: Some are NaN; says which images' and what may be the cause.
  """
  bad = np.isnan(distortion).reshape(len(distortion), -1).any(axis=1)
  if bad.any():
    which = ", ".join(map(str, np.flatnonzero(bad)))
    raise ValueError(
      f"the distortion of the mask of image(s) {which} is NaN: "
      f"classifier {classifier.name!r}, which is finite on the images, or the "
      "distortion returned NaN where coefficients are replaced"
    )


def check_leaves(name: str, given: Any) -> None:
  """Refuse one array, such as a heat map, in the place of leaves.

  Raises:
    ValueError: One line that says how it becomes a mask of pixels.
  """
  if isinstance(given, Explanation):
    raise ValueError(f"{name} is an Explanation; it must be the mask, its field .mask")
  if hasattr(given, "shape"):
    raise ValueError(
      f"{name} is one array of shape {tuple(given.shape)}; it must be a tuple of "
      "leaves [orientations, h, w, 1] (of a batch [B, orientations, h, w, 1]): a heat "
      "map of pixels becomes one as (heat_map[..., None, :, :, None],)"
    )


def check_masks(name: str, given: Masks, shapes: list[tuple[int, ...]]) -> Masks:
  """Masks of the given shapes, in [0, 1], as float32."""
  check_leaves(name, given)
  got = [np.shape(leaf) for leaf in given]
  if got != shapes:
    raise ValueError(f"{name} has leaves {got}; they must be {shapes}")
  for leaf in given:
    if not np.all((np.asarray(leaf) >= 0) & (np.asarray(leaf) <= 1)):
      raise ValueError(f"{name} has entries outside [0, 1], or NaN")
  return tuple(np.asarray(leaf, np.float32) for leaf in given)


def check_key(key: Array) -> Array:
  """A typed key, as one of JAX's default generator.

  Of other generators, such as ``rbg``, numbers depend on what else is drawn in the same
  batch, while an explanation must not depend on the images beside it.
  """
  if not jax.dtypes.issubdtype(getattr(key, "dtype", None), jax.dtypes.prng_key):
    raise ValueError(f"key is {key!r}; it must be a typed key, e.g. jax.random.key(0)")
  if np.shape(key):
    raise ValueError(
      f"key has shape {np.shape(key)}; it must be one key, e.g. jax.random.key(0)"
    )
  if str(jax.random.key_impl(key)) == _GENERATOR:
    return key
  data = jax.random.key_data(key).ravel()
  own = jax.random.key(0, impl=_GENERATOR)
  for word in data:
    own = jax.random.fold_in(own, word)
  return own
