"""The rate and the spatial penalties, each a mean, so that weights carry over sizes.

A penalty is a function ``(mask, explanation) -> scalar``, where ``explanation`` is the
clipped greyscale explanation ``[H, W, 1]``. The objective multiplies it by its weight.
"""

from __future__ import annotations

import jax.numpy as jnp

from cawe_jax.types import GreyImage, Mask, Scalar


def rate(mask: Mask, explanation: GreyImage | None = None) -> Scalar:
  """``||s||_1 / k``, the mean over all mask entries, in [0, 1].

  Example:
    >>> float(rate((jnp.ones((1, 1, 2, 1)), jnp.zeros((3, 1, 2, 1)))))
    0.25
  """
  del explanation
  return sum(jnp.sum(leaf) for leaf in mask) / _num_entries(mask)


def hard_rate(mask: Mask) -> Scalar:
  """``||s||_0 / k``, the share of entries above zero, in [0, 1].

  Example:
    >>> float(hard_rate((jnp.array([0.0, 0.1, 0.2, 0.0]).reshape(1, 2, 2, 1),)))
    0.5
  """
  return sum(jnp.sum(leaf > 0) for leaf in mask) / _num_entries(mask)


def spatial_l1(mask: Mask, explanation: GreyImage) -> Scalar:
  """Mean of the greyscale explanation over pixels, in [0, 1].

  References:
    Kolek et al., CVPR 2023 (WaveletX, ShearletX).
  """
  del mask
  return jnp.mean(jnp.abs(explanation))


def spatial_l2(mask: Mask, explanation: GreyImage) -> Scalar:
  """Root mean square of the greyscale explanation, in [0, 1]; gradient 0 at 0.

  Per image; the released code takes one norm over the whole batch.
  """
  del mask
  square = jnp.mean(explanation**2)
  positive = square > 1e-12
  return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)


def total_variation(mask: Mask, explanation: GreyImage | None) -> Scalar:
  """Mean absolute difference of neighbours in a pixel mask, in [0, 1].

  Raises:
    ValueError: The mask has several leaves or orientations, hence is not a pixel mask.

  Example:
    >>> float(total_variation((jnp.array([[0.0, 1.0]]).reshape(1, 1, 2, 1),), None))
    1.0
  """
  del explanation
  if len(mask) != 1 or len(mask[0]) != 1:
    shapes = [leaf.shape for leaf in mask]
    raise ValueError(
      f"total_variation is for pixel masks (one leaf [1, H, W, 1]); this has {shapes}"
    )
  pixels = mask[0][0, :, :, 0]
  down, right = jnp.diff(pixels, axis=0), jnp.diff(pixels, axis=1)
  total = jnp.sum(jnp.abs(down)) + jnp.sum(jnp.abs(right))
  return total / max(down.size + right.size, 1)


def _num_entries(mask: Mask) -> int:
  return sum(leaf.size for leaf in mask)
