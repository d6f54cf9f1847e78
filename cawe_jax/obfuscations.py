r"""What the network sees under a mask: draws as images, and what it says of each.

:func:`cawe_jax.explain` reports the mean over draws of a distortion. Here are the draws
themselves, one by one, so that they can be looked at and measured in any other way:

.. math:: y_i = \mathrm{clip}(T^{-1}(s h + (1 - s) v_i), 0, 1), \qquad \Phi(y_i)

They are the draws that a finished mask is assessed on: with the same key, image and
method, the first 64 give ``Explanation.distortion`` and its standard error again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax import objective
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.engine import checks
from cawe_jax.engine.session import Session
from cawe_jax.methods import Method, contracts
from cawe_jax.numerics.ambient import own_rules
from cawe_jax.numerics.streams import Stream
from cawe_jax.outputs import Output, softmax
from cawe_jax.types import (
  Distortion,
  Image,
  Images,
  Key,
  Mask,
  Masks,
  Representation,
  Transform,
)


class Obfuscations(NamedTuple):
  """Draws of B masks; for one image without the axis B.

  Attributes:
    images: What the network saw, in [0, 1], ``[B, L, H, W, C]``.
    outputs: What it said, by default logits, ``[B, L, K]``.
    clean_outputs: What the network said of the images themselves, ``[B, K]``.
    target: Explained class of each image, int ``[B]``.
  """

  images: np.ndarray
  outputs: np.ndarray
  clean_outputs: np.ndarray
  target: np.ndarray


class Mean(NamedTuple):
  """A Monte-Carlo mean over draws.

  Attributes:
    value: The mean.
    standard_error: Standard error of the mean, from the draws' spread; 0 for a single
      draw.
  """

  value: np.ndarray
  standard_error: np.ndarray


@own_rules()
def obfuscate(
  classifier: Classifier,
  images: Image | Images,
  masks: Mask | Masks,
  method: Method,
  *,
  key: Key,
  draws: int = 8,
  targets: Any = None,
  image_ids: Any = None,
  rows: int | None = None,
) -> Obfuscations:
  """Replace what masks do not keep, several times, and ask the network.

  Args:
    classifier: The network.
    images: ``[H, W, C]`` or ``[B, H, W, C]``, float in [0, 1].
    masks: Like ``Explanation.mask``, ``[B, ...]`` per leaf for a batch;
      :func:`pixel_mask` makes one of an array.
    method: Says what the mask is a mask of and what replaces the rest; e.g.
      ``pixel_rde(perturbation=perturbations.blur())``. Nothing else of it matters.
    key: As for :func:`cawe_jax.explain`.
    draws: Number L of draws, at least 1; of a perturbation that is not random one draw
      is made, since all would be equal. More draws keep the first ones.
    targets: As for :func:`cawe_jax.explain`.
    image_ids: As for :func:`cawe_jax.explain`.
    rows: As for :func:`cawe_jax.explain`.

  Returns:
    The draws.

  Raises:
    ValueError: An argument is out of range, or as for :func:`cawe_jax.explain`.

  Example:
    >>> from cawe_jax import perturbations
    >>> from cawe_jax.methods import pixel_rde
    >>> linear = lambda w, images: images.reshape(len(images), -1) @ w
    >>> classifier = Classifier(linear, jnp.eye(4, 2), (2, 2))
    >>> image = jnp.array([[1.0, 0.0], [0.0, 1.0]])[..., None]
    >>> left = pixel_mask(np.array([[True, False], [True, False]]))
    >>> method = pixel_rde(perturbation=perturbations.constant(0.25))
    >>> seen = obfuscate(classifier, image, left, method, key=jax.random.key(0))
    >>> seen.images[0, ..., 0].tolist()
    [[1.0, 0.25], [0.0, 0.25]]
    >>> seen.outputs.tolist(), seen.clean_outputs.tolist()
    ([[1.0, 0.25]], [1.0, 0.0])
  """
  contracts.check_count("draws", draws)
  session = Session(
    classifier, images, method, key=key, targets=targets, image_ids=image_ids, rows=rows
  )
  masks = session.checked("masks", session.batched(masks))
  pictures, outputs = session.observe(masks, Stream.REPORT, draws)
  found = Obfuscations(
    pictures,
    outputs,
    session.crop(session.problems.clean_logits),
    session.crop(session.problems.target),
  )
  return session.answer(found)


def pixel_mask(keep: np.ndarray) -> Mask:
  """The mask of one image that keeps the pixels where an array says so.

  Args:
    keep: ``[H, W]``, bool or in [0, 1].

  Raises:
    ValueError: It has another shape.

  Example:
    >>> pixel_mask(np.eye(2))[0].shape
    (1, 2, 2, 1)
  """
  array = np.asarray(keep, np.float32)
  if array.ndim != 2:
    raise ValueError(f"keep has shape {array.shape}; it must be [H, W]")
  return (array[None, :, :, None],)


@own_rules()
def probabilities(obfuscations: Obfuscations) -> Mean:
  """Mean probability of every class over the draws, ``[B, K]``; of a softmax network.

  Example:
    >>> halves = Obfuscations(*[np.zeros((1, 2))] * 4)
    >>> probabilities(halves).value.tolist()
    [0.5, 0.5]
  """
  return mean(np.asarray(jax.nn.softmax(obfuscations.outputs)), axis=-2)


@own_rules()
def distortion(
  obfuscations: Obfuscations, distortion_fn: Distortion, output: Output = softmax()
) -> Mean:
  """Mean over the draws of any distortion, ``[B]``.

  Args:
    obfuscations: The draws.
    distortion_fn: E.g. :func:`cawe_jax.distortions.l2`.
    output: What the network's outputs mean: ``classifier.output``.

  Raises:
    ValueError: The distortion has no meaning for these outputs.

  Example:
    >>> from cawe_jax.distortions import l2
    >>> equal = Obfuscations(*[np.zeros((1, 2))] * 2, np.zeros(2), np.array(0))
    >>> float(distortion(equal, l2).value)
    0.0
  """
  each = jax.vmap(output.adapt(distortion_fn), (None, 0, None))
  for _ in obfuscations.outputs.shape[:-2]:
    each = jax.vmap(each)
  clean, target = obfuscations.clean_outputs, obfuscations.target
  return mean(np.asarray(each(clean, obfuscations.outputs, target)), axis=-1)


def mean(values: np.ndarray, axis: int) -> Mean:
  """Mean over an axis of independent draws, with its standard error.

  Example:
    >>> mean(np.array([1.0, 3.0]), axis=0)
    Mean(value=np.float64(2.0), standard_error=np.float64(1.0))
  """
  count = values.shape[axis]
  # The unbiased variance, which one draw does not have: its error is then unknown.
  spread = values.std(axis, ddof=1) if count > 1 else np.zeros_like(values.mean(axis))
  return Mean(values.mean(axis), spread / count**0.5)


class Kept(NamedTuple):
  """What a mask keeps of an image, without noise; both in [0, 1].

  Attributes:
    grey: The greyscale explanation, ``[H, W, 1]``.
    colour: The same in colour, ``[H, W, C]``.
  """

  grey: np.ndarray
  colour: np.ndarray


@own_rules()
def keep(image: Image, mask: Mask, representation: Transform) -> Kept:
  """What a mask keeps: ``Explanation.image`` and ``masked_image``, without a network.

  Args:
    image: ``[H, W, C]`` in [0, 1].
    mask: A mask of this image, e.g. one that is still being optimised.
    representation: What it is a mask of, e.g. ``method.representation``.

  Example:
    >>> from cawe_jax.representations import pixel
    >>> keep(np.ones((1, 2, 3)), pixel_mask(np.eye(1, 2)), pixel()).grey.tolist()
    [[[1.0], [0.0]]]
  """
  bound = contracts.bind(representation, np.shape(image))
  mask = checks.check_masks("mask", mask, list(bound.mask_shapes))
  return jax.device_get(_keep(bound, np.asarray(image, np.float32), mask))


@jax.jit
def _keep(representation: Representation, image: Image, mask: Mask) -> Kept:
  def part(image: Image) -> Image:
    coefficients = representation.analysis(image)
    kept = tuple(s * h for s, h in zip(mask, coefficients, strict=True))
    return objective.to_image(representation, kept)

  return Kept(part(jnp.mean(image, axis=-1, keepdims=True)), part(image))
