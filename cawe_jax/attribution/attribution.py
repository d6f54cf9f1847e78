"""What an attribution method is: a part that ranks the entries of an image.

An attribution says how much each entry of an image's representation matters for one
output of a network. Only the order of its numbers is compared (rate-distortion curves,
insertion and deletion), so they need no common scale.

Batches mean nothing: the noise of an image depends on the key and on its own pixels.
"""

from __future__ import annotations

import abc
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.attribution import inside
from cawe_jax.attribution.samples import Batch, Sum, evaluate
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.engine import checks
from cawe_jax.numerics.ambient import own_rules
from cawe_jax.part import Part
from cawe_jax.representations import pixel
from cawe_jax.types import (
  Array,
  Image,
  Images,
  Key,
  Keys,
  Relevance,
  Target,
  Targets,
  Transform,
)


class Attribution(Part, abc.ABC):
  """An attribution method: settings are structure, arrays it is given are data.

  Attributes:
    transform: Whose entries are ranked: pixels for all but random rankings.

  Example:
    >>> from cawe_jax.attribution import gradient_x_input
    >>> linear = lambda w, images: images.reshape(len(images), -1) @ w
    >>> classifier = Classifier(linear, jnp.arange(8.0).reshape(4, 2), 2)
    >>> image = jnp.full((2, 2, 1), 0.5)
    >>> relevance = gradient_x_input()(classifier, image)
    >>> relevance[0].shape, relevance[0].ravel().tolist()
    ((1, 2, 2, 1), [0.5, 1.5, 2.5, 3.5])
  """

  transform: ClassVar[Transform] = pixel()

  @abc.abstractmethod
  def attribute(
    self, classifier: Classifier, images: Images, targets: Targets, keys: Keys
  ) -> Relevance:
    """The relevance, of arguments that were checked.

    Args:
      classifier: The network.
      images: ``[B, H, W, C]``.
      targets: ``[B]``.
      keys: Each image's own, ``[B]``.
    """

  def check_call(self, classifier: Classifier, images: Images) -> None:
    """Refuse a network or images that the method is not for; nothing is computed.

    Raises:
      ValueError: One line that says what is in the way.
    """

  @own_rules()
  def __call__(
    self,
    classifier: Classifier,
    images: Image | Images,
    targets: Any = None,
    key: Key | None = None,
  ) -> tuple[Array, ...]:
    """Relevance of every entry for the target's output.

    Args:
      classifier: The network.
      images: ``[H, W, C]`` or ``[B, H, W, C]``, float in [0, 1].
      targets: Output that is explained, by index or by name, for each image, or one for
        all. By default the largest, which a regression must not leave open.
      key: A typed key, by default ``jax.random.key(0)``; not used by methods without
        randomness.

    Returns:
      One leaf ``[orientations, h, w, 1]`` per noise group of the transform; for a batch
      with a leading axis.

    Raises:
      ValueError: An argument is out of range, the method is not for this network, or
        the network returned NaN.
    """
    classifier, batch, targets = check_arguments(classifier, images, targets)
    is_single = np.ndim(images) == 3
    key = checks.check_key(jax.random.key(0) if key is None else key)
    self.check_call(classifier, batch)
    ids = checks.check_ids(None, batch)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, ids)
    relevance = self.attribute(classifier, jnp.asarray(batch), targets, keys)
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in relevance):
      raise ValueError(
        f"{self.name} found NaN or infinite numbers; outputs and gradients of "
        f"classifier {classifier.name!r} must be finite on images in [0, 1]"
      )
    return tuple(leaf[0] for leaf in relevance) if is_single else relevance


def check_arguments(
  classifier: Classifier, images: Image | Images, targets: Any
) -> tuple[Classifier, np.ndarray, Targets]:
  """The settled classifier, images ``[B, H, W, C]`` and int32 targets ``[B]``.

  Raises:
    ValueError: One line that names the argument, its value and what is allowed.
  """
  batch = checks.check_images(images)
  classifier = classifier.settled(batch)
  wanted = checks.check_targets(classifier, targets, len(batch))
  num_outputs = inside.look_inside(classifier, batch).num_outputs
  if wanted is None:
    checks.check_choice(classifier, num_outputs)
    return classifier, batch, _largest_outputs(classifier, batch)
  if wanted.max() >= num_outputs:
    raise ValueError(f"target is {wanted.max()}; allowed are 0 to {num_outputs - 1}")
  return classifier, batch, jnp.asarray(wanted, jnp.int32)


@jax.jit
def _largest_outputs(classifier: Classifier, images: Images) -> Targets:
  """Which output of each of B images is the largest, ``[B]``; one image at a time."""

  def largest(image: Image) -> Target:
    return jnp.argmax(classifier(image[None])[0]).astype(jnp.int32)

  return jax.lax.map(largest, images)


class PixelAttribution(Attribution, Sum):
  """An attribution of pixels that is a sum over samples, a map ``[B, H, W]``."""

  def extra(self, images: Images) -> Any:
    """What its terms know of each image besides the image, a pytree."""
    return ()

  def attribute(
    self, classifier: Classifier, images: Images, targets: Targets, keys: Keys
  ) -> Relevance:
    """The sum's map as the relevance of pixels."""
    batch = Batch(images, targets, keys, self.extra(images))
    maps = evaluate(self, classifier, batch)
    return (maps[:, None, :, :, None],)


def check_range(name: str, value: float, low: float, high: float) -> None:
  """Refuse a value that is not finite, or lies outside ``[low, high]``."""
  if not (math.isfinite(value) and low <= value <= high):
    upper = f" and at most {high}" if math.isfinite(high) else ""
    raise ValueError(f"{name} is {value}; it must be finite, at least {low}{upper}")
