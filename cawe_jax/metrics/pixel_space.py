"""A mask of any representation as a relevance of pixels."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.metrics.ranks import check_axes, check_shapes
from cawe_jax.numerics.ambient import own_rules
from cawe_jax.types import Array, Masks, Relevance, Representation, Transform


@own_rules()
def pixel_map(
  mask: Masks,
  transform: Transform,
  image_shape: tuple[int, int],
  *,
  num_draws: int = 256,
) -> Relevance:
  r"""How much of a mask lies on each pixel: what metrics of pixels rank a mask by.

  Every entry's value is spread over the pixels that its coefficient changes, in
  proportion to the square of that change:

  .. math:: r(x) = \sum_i s_i \psi_i(x)^2,

  where :math:`\psi_i` is the image of coefficient i alone. A fine detail that is kept
  weighs on few pixels, a coarse one a little on many. Brightness has no part in it,
  unlike in the greyscale explanation, which is dark where a dark detail is kept. A mask
  of pixels is its own map.

  The sum is the mean square of an image with coefficients :math:`\pm\sqrt{s_i}` of
  random sign, so that any linear representation will do. The mean over ``num_draws`` of
  them, always the same, is off by a share of :math:`\sqrt{2 / n}` of each pixel's
  value: 9 % of 256. Pixels that no kept coefficient reaches are exactly 0, and metrics
  order them, as all ties, at random.

  Args:
    mask: The masks of a batch of B explanations, leaves
      ``[B, orientations, h, w, 1]``, at least 0.
    transform: What it is a mask of: the method's ``representation``.
    image_shape: Height and width of the images.
    num_draws: At least 1.

  Returns:
    One leaf ``[B, 1, H, W, 1]``, at least 0, as :func:`insertion_deletion` and
    :func:`rate_distortion_curve` with ``representations.pixel()`` take it.

  Raises:
    ValueError: Leaves of other shapes, entries that are negative or not finite, or too
      few draws.

  Example:
    >>> from cawe_jax.representations import wavelet
    >>> mask = np.zeros((1, 1, 2, 2, 1)), np.zeros((1, 3, 2, 2, 1))
    >>> mask[1][0, 2, 0, 1] = 1.0
    >>> (found,) = pixel_map(mask, wavelet("haar", levels=1), (4, 4))
    >>> found[0, 0, :, :, 0].round(2).tolist()[:2]
    [[0.0, 0.0, 0.25, 0.25], [0.0, 0.0, 0.25, 0.25]]
  """
  if num_draws < 1:
    raise ValueError(f"num_draws is {num_draws}; it must be at least 1")
  if np.shape(image_shape) != (2,):
    raise ValueError(f"image_shape is {image_shape}; it must be height and width")
  representation = transform((*image_shape, 1))
  (batch,) = check_axes("mask", mask)
  check_shapes("mask", mask, representation, batch)
  leaves = tuple(np.asarray(leaf, np.float32) for leaf in mask)
  if not all(np.isfinite(leaf).all() and (leaf >= 0).all() for leaf in leaves):
    raise ValueError("mask has entries that are negative or not finite")
  maps = _mean_squares(representation, num_draws, leaves)
  return (np.asarray(maps)[:, None],)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _mean_squares(representation: Representation, num_draws: int, mask: Masks) -> Array:
  """``[B, H, W, 1]``, draw by draw, so that memory does not depend on their number."""
  roots = tuple(jnp.sqrt(leaf) for leaf in mask)

  def add(draw: Array, total: Array) -> Array:
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), draw), len(roots))
    signs = [
      jax.random.rademacher(key, leaf.shape[1:], leaf.dtype)
      for key, leaf in zip(keys, roots, strict=True)
    ]
    signed = tuple(root * sign[None] for root, sign in zip(roots, signs, strict=True))
    return total + jax.vmap(representation.synthesis)(signed) ** 2

  shape = (len(roots[0]), *representation.image_shape)
  return jax.lax.fori_loop(0, num_draws, add, jnp.zeros(shape)) / num_draws
