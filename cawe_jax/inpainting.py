"""A classical inpainter that runs inside `jit`: the harmonic extension.

Unknown pixels solve Laplace's equation with the known pixels as boundary values: each
is the mean of its neighbours. Conjugate gradients solve it, started from a push-pull
pyramid, which already has the right coarse shape, so that large holes take few steps.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from cawe_jax.types import Array, GreyImage, Image

_MAX_ITERATIONS = 500
_TOLERANCE = 1e-4


def harmonic(visible: Image, known: GreyImage) -> Image:
  """Fill the hole with the smoothest continuation of what surrounds it.

  Args:
    visible: ``known * image``, ``[H, W, C]``.
    known: How far each pixel is known, ``[H, W, 1]`` in [0, 1]; at 0.5 and above a
      pixel counts as known. With no known pixel the result is mid-grey, 0.5.

  Returns:
    The completed image ``[H, W, C]``; within the range of the known pixels up to the
    solver's relative residual of 1e-4.

  Example:
    >>> known = jnp.array([1.0, 0.0, 1.0]).reshape(1, 3, 1)
    >>> harmonic(jnp.array([0.0, 0.0, 1.0]).reshape(1, 3, 1), known).ravel().tolist()
    [0.0, 0.5, 1.0]
  """
  fixed = known >= 0.5
  image = jnp.where(fixed, visible / jnp.maximum(known, 0.5), 0)
  guess = jnp.where(fixed, image, push_pull(image, fixed.astype(image.dtype)))

  def operator(unknown: Image) -> Image:
    return jnp.where(fixed, unknown, _laplacian(jnp.where(fixed, 0, unknown)))

  right_side = jnp.where(fixed, 0, -_laplacian(image))
  solution, _ = jax.scipy.sparse.linalg.cg(
    operator,
    right_side,
    x0=jnp.where(fixed, 0, guess),
    tol=_TOLERANCE,
    maxiter=_MAX_ITERATIONS,
  )
  filled = jnp.where(fixed, image, solution)
  return jnp.where(jnp.any(fixed), filled, 0.5)


def push_pull(image: Image, weight: GreyImage) -> Image:
  """Fill unknown pixels from ever coarser weighted averages.

  Args:
    image: ``[H, W, C]``; values where ``weight`` is 0 are ignored.
    weight: ``[H, W, 1]`` in [0, 1].

  Returns:
    ``[H, W, C]``; equal to ``image`` where the weight is 1, and 0 where nothing at all
    is known.
  """
  height, width, channels = image.shape
  total = weight
  average = image
  if height > 1 or width > 1:
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    premultiplied = _block_sum(jnp.pad(image * weight, padding))
    total = _block_sum(jnp.pad(weight, padding))
    coarse = push_pull(premultiplied / jnp.maximum(total, 1e-12), jnp.minimum(total, 1))
    average = jax.image.resize(
      coarse, (2 * coarse.shape[0], 2 * coarse.shape[1], channels), "linear"
    )[:height, :width]
  return weight * image + (1 - weight) * average


def _block_sum(x: Array) -> Array:
  height, width, channels = x.shape
  rows = min(height, 2)
  columns = min(width, 2)
  blocks = x.reshape(height // rows, rows, width // columns, columns, channels)
  return blocks.sum((1, 3))


def _laplacian(x: Image) -> Image:
  """Sum of differences to the neighbours inside the image, ``[H, W, C]``."""
  down, right = jnp.diff(x, axis=0), jnp.diff(x, axis=1)
  rows = jnp.pad(down, ((1, 0), (0, 0), (0, 0))) - jnp.pad(
    down, ((0, 1), (0, 0), (0, 0))
  )
  columns = jnp.pad(right, ((0, 0), (1, 0), (0, 0))) - jnp.pad(
    right, ((0, 0), (0, 1), (0, 0))
  )
  return rows + columns
