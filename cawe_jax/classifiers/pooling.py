"""Pooling, with PyTorch's conventions and a max pooling whose gradient is fast.

On a CPU XLA's gradient of max pooling costs twenty times what it needs to and more than
the convolutions of a whole stage of VGG. Here the place of each window's maximum is
found once by comparing shifted views, and the gradient is gathered from there. Where
several places are equal the first one in the window, row by row, gets all of it, as in
XLA and PyTorch.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.classifiers import windows
from cawe_jax.classifiers.windows import Padding
from cawe_jax.types import Array


def max_pool(
  x: Array, kernel_size: int, stride: int, padding: str | int | Padding = 0
) -> Array:
  """The largest value in each window; padding never wins.

  Args:
    x: ``[N, H, W, C]``.
    kernel_size: Side of the window.
    stride: 1 or more.
    padding: As :func:`cawe_jax.classifiers.windows.resolve_padding` reads it.

  Returns:
    ``[N, H', W', C]``.

  Example:
    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2, 2)[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
  """
  size = (x.shape[1], x.shape[2])
  pixels = windows.resolve_padding(padding, size, kernel_size, stride)
  return _max_pool(x, kernel_size, stride, pixels)


def adaptive_average_pool(x: Array, output_size: int) -> Array:
  r"""Means over a grid of ``output_size`` x ``output_size`` cells.

  Cell i of n along a side of H pixels covers rows :math:`\lfloor iH/n \rfloor` to
  :math:`\lceil (i + 1)H/n \rceil - 1`, so that cells overlap where n does not divide H,
  and repeat pixels where n is larger (PyTorch's ``AdaptiveAvgPool2d``).

  Args:
    x: ``[N, H, W, C]``.
    output_size: Cells along either side.

  Returns:
    ``[N, output_size, output_size, C]``.

  Example:
    >>> x = jnp.arange(5.0)[None, None, :, None] * jnp.ones((1, 5, 1, 1))
    >>> adaptive_average_pool(x, 2)[0, 0, :, 0].tolist()
    [1.0, 3.0]
  """
  rows, columns = (_cell_means(side, output_size) for side in x.shape[1:3])
  return jnp.einsum(
    "ih,jw,nhwc->nijc",
    jnp.asarray(rows, x.dtype),
    jnp.asarray(columns, x.dtype),
    x,
    precision=jax.lax.Precision.HIGHEST,
  )


def _cell_means(size: int, num_cells: int) -> np.ndarray:
  """The matrix ``[num_cells, size]`` of adaptive average pooling along one side."""
  matrix = np.zeros((num_cells, size))
  for i in range(num_cells):
    start, stop = i * size // num_cells, -(-(i + 1) * size // num_cells)
    matrix[i, start:stop] = 1 / (stop - start)
  return matrix


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x: Array, kernel_size: int, stride: int, padding: Padding) -> Array:
  return _native(x, kernel_size, stride, padding)


def _max_pool_forward(x: Array, kernel_size: int, stride: int, padding: Padding):
  return _native(x, kernel_size, stride, padding), x


def _max_pool_backward(
  kernel_size: int, stride: int, padding: Padding, x: Array, gradient: Array
):
  def gathered(x: Array, gradient: Array) -> Array:
    views = windows.taps(x, kernel_size, stride, padding, fill=-jnp.inf)
    winner, best = jnp.zeros(gradient.shape, jnp.int32), views[0, 0]
    for (i, j), view in views.items():
      winner = jnp.where(view > best, i * kernel_size + j, winner)
      best = jnp.maximum(view, best)

    def contribution(i: int, j: int, gradient: Array, winner: Array) -> Array:
      return jnp.where(winner == i * kernel_size + j, gradient, 0)

    size = (x.shape[1], x.shape[2])
    return windows.gather_taps(
      (gradient, winner), contribution, kernel_size, stride, padding, size
    )

  def native(x: Array, gradient: Array) -> Array:
    return jax.vjp(lambda x: _native(x, kernel_size, stride, padding), x)[1](gradient)[
      0
    ]

  return (windows.by_platform(gathered, native)(x, gradient),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _native(x: Array, kernel_size: int, stride: int, padding: Padding) -> Array:
  return jax.lax.reduce_window(
    x,
    np.array(-np.inf, x.dtype),
    jax.lax.max,
    (1, kernel_size, kernel_size, 1),
    (1, stride, stride, 1),
    ((0, 0), *padding, (0, 0)),
  )
