"""What an attribution method is: a name, a representation, and a function of images.

An attribution says how much each entry of an image's representation matters for one
output of a network. Only the order of its numbers is compared (rate-distortion curves,
insertion and deletion), so they need no common scale.

Batches mean nothing: the noise of an image depends on the key and on its own pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax import checks
from cawe_jax.attribution import inside
from cawe_jax.attribution.samples import Batch, Sum, evaluate
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.representations import pixel
from cawe_jax.types import Array, Relevance, Transform


class Attribution(NamedTuple):
  """An attribution method; hashable, and equal to another from equal arguments.

  Attributes:
    name: How it was made, e.g. ``integrated_gradients(num_steps=100, baseline=0.0)``.
    transform: Whose entries are ranked: pixels for all but random rankings.
    attribute: ``(classifier, images [B, H, W, C], targets [B], keys [B]) -> relevance``
      without the checks; every image has a key of its own.

  Example:
    >>> from cawe_jax.attribution import gradient_x_input
    >>> linear = lambda w, images: images.reshape(len(images), -1) @ w
    >>> classifier = Classifier(linear, jnp.arange(8.0).reshape(4, 2), 2)
    >>> images = jnp.full((1, 2, 2, 1), 0.5)
    >>> relevance = gradient_x_input()(classifier, images, [1], jax.random.key(0))
    >>> relevance[0].shape, relevance[0].ravel().tolist()
    ((1, 1, 2, 2, 1), [0.5, 1.5, 2.5, 3.5])
  """

  name: str
  transform: Transform
  attribute: Callable[[Classifier, Array, Array, Array], Relevance]

  def __call__(
    self, classifier: Classifier, images: Array, targets: Any, key: Array
  ) -> Relevance:
    """Relevance of every entry for the target's output.

    Args:
      classifier: The network.
      images: ``[B, H, W, C]``, float in [0, 1].
      targets: Output that is explained, an integer in ``[0, K)`` for each image, or one
        for all.
      key: A typed key, ``jax.random.key(0)``; not used by methods without randomness.

    Returns:
      One leaf ``[B, orientations, h, w, 1]`` per noise group of the transform.

    Raises:
      ValueError: An argument is out of range, the method is not for this network, or
        the network returned NaN.
    """
    images, targets = check_arguments(classifier, images, targets)
    checks.check_key(key)
    ids = checks.check_ids(None, images)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, ids)
    relevance = self.attribute(classifier, jnp.asarray(images), targets, keys)
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in relevance):
      raise ValueError(
        f"{self.name} found NaN or infinite numbers; outputs and gradients of "
        f"classifier {classifier.name!r} must be finite on images in [0, 1]"
      )
    return relevance


def check_arguments(
  classifier: Classifier, images: Array, targets: Any
) -> tuple[np.ndarray, Array]:
  """Images and int32 targets ``[B]``.

  Raises:
    ValueError: One line that names the argument, its value and what is allowed.
  """
  if np.ndim(images) != 4:
    raise ValueError(f"images has shape {np.shape(images)}; it must be [B, H, W, C]")
  batch = checks.check_images(images)
  wanted = checks.check_integers("targets", targets, len(batch))
  if wanted is None:
    raise ValueError("targets is None; it must be one integer or one for each image")
  num_outputs = inside.look_inside(classifier, batch).num_outputs
  if wanted.max() >= num_outputs:
    raise ValueError(f"target is {wanted.max()}; allowed are 0 to {num_outputs - 1}")
  return batch, jnp.asarray(wanted, jnp.int32)


def pixel_attribution(name: str, what: Sum) -> Attribution:
  """An attribution of pixels from a sum whose result is a map ``[B, H, W]``."""

  def attribute(
    classifier: Classifier, images: Array, targets: Array, keys: Array
  ) -> Relevance:
    return pixel_relevance(evaluate(what, classifier, Batch(images, targets, keys)))

  return Attribution(name, pixel(), attribute)


def pixel_relevance(maps: Array) -> Relevance:
  """Maps ``[B, H, W]`` as the relevance of pixels."""
  return (maps[:, None, :, :, None],)


def check_count(name: str, value: int, least: int = 1) -> None:
  """Refuse what is no integer, or less than the least."""
  if isinstance(value, bool) or not isinstance(value, int) or value < least:
    raise ValueError(f"{name} is {value}; it must be an integer, at least {least}")


def check_range(name: str, value: float, low: float, high: float) -> None:
  """Refuse what is not finite or outside ``[low, high]``."""
  if not (math.isfinite(value) and low <= value <= high):
    upper = f" and at most {high}" if math.isfinite(high) else ""
    raise ValueError(f"{name} is {value}; it must be finite, at least {low}{upper}")
