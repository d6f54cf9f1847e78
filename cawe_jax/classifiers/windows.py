"""Sliding windows as shifted views, and their transpose; what each platform runs.

XLA's CPU backend runs grouped convolutions, the input gradients of large strides and
those of max pooling ten to a hundred times slower than need be
(https://github.com/jax-ml/jax/issues/23713). A window that slides is a set of strided
views of the padded input, one per position in the window: with them such an operation
is a handful of elementwise ones, and its input gradient a sum over the views that reach
each pixel, so that no zeros are multiplied. :func:`by_platform` is the only place that
chooses between this and XLA's own operations.

All arrays are ``[N, H, W, C]``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cawe_jax.types import Array

Padding = tuple[tuple[int, int], tuple[int, int]]
"""Rows above and below, columns left and right."""


def by_platform(
  cpu_fn: Callable, default_fn: Callable, cuda_fn: Callable | None = None
) -> Callable:
  """A function that runs ``cpu_fn`` on a CPU and ``default_fn`` elsewhere.

  Where there is a ``cuda_fn``, it is run on Nvidia's GPUs.
  """
  forms = {"cpu": cpu_fn} | ({"cuda": cuda_fn} if cuda_fn else {})

  def call(*arrays: Array) -> Any:
    return jax.lax.platform_dependent(*arrays, **forms, default=default_fn)

  return call


def resolve_padding(
  padding: str | int | Padding, size: tuple[int, int], kernel_size: int, stride: int
) -> Padding:
  """Padding in pixels.

  Args:
    padding: ``"SAME"`` as TensorFlow has it (the output's side is the input's over the
      stride, rounded up; an odd pixel is added below and right), one int for all four
      sides as PyTorch has it, or the result itself.
    size: Height and width of the input.
    kernel_size: Side of the window.
    stride: 1 or more.

  Returns:
    ``((above, below), (left, right))``.

  Raises:
    ValueError: The window does not fit into the padded input.

  Example:
    >>> resolve_padding("SAME", (5, 6), 3, 2)
    ((1, 1), (0, 1))
    >>> resolve_padding(1, (5, 6), 3, 2)
    ((1, 1), (1, 1))
  """
  if isinstance(padding, int):
    padding = ((padding, padding), (padding, padding))
  elif padding == "SAME":
    rows, columns = (_same(side, kernel_size, stride) for side in size)
    padding = (rows, columns)
  elif isinstance(padding, str):
    raise ValueError(f"padding must be 'SAME', an int or pairs, got {padding!r}")
  padded = tuple(n + sum(p) for n, p in zip(size, padding, strict=True))
  if min(padded) < kernel_size:
    raise ValueError(
      f"images are too small: a feature map of {size[0]} x {size[1]} with padding "
      f"{padding} is smaller than the window of {kernel_size} x {kernel_size}"
    )
  return padding


def output_size(
  size: tuple[int, int], kernel_size: int, stride: int, padding: Padding
) -> tuple[int, int]:
  """Height and width of the output of a window that slides."""
  height, width = (
    (n + sum(p) - kernel_size) // stride + 1 for n, p in zip(size, padding, strict=True)
  )
  return height, width


def taps(
  x: Array, kernel_size: int, stride: int, padding: Padding, fill: float = 0.0
) -> dict[tuple[int, int], Array]:
  """For every position in the window the strided view of the padded input it sees."""
  height, width = output_size((x.shape[1], x.shape[2]), kernel_size, stride, padding)
  # `stride - 1` more, so that the last strided slice stays inside.
  rows, columns = ((low, high + stride - 1) for low, high in padding)
  padded = jnp.pad(x, ((0, 0), rows, columns, (0, 0)), constant_values=fill)
  return {
    (i, j): padded[:, i : i + stride * height : stride, j : j + stride * width : stride]
    for i in range(kernel_size)
    for j in range(kernel_size)
  }


def gather_taps(
  arrays: tuple[Array, ...],
  contribution: Callable[..., Array],
  kernel_size: int,
  stride: int,
  padding: Padding,
  size: tuple[int, int],
) -> Array:
  """The transpose of :func:`taps`: for every input pixel the sum over its taps.

  Input row ``h = stride * u + a`` is seen by the window's rows i for which
  ``a + above - i`` is a multiple of the stride, from output row
  ``u + (a + above - i) / stride``; columns likewise. Each phase ``(a, b)`` is one dense
  sum; the phases are then interleaved.

  Args:
    arrays: Arrays of the output's height and width; zeros beyond their edges.
    contribution: ``(i, j, *shifted arrays) -> [N, h, w, C]``, what position ``(i, j)``
      of the window adds; 0 where the first array is.
    kernel_size: Side of the window.
    stride: 1 or more.
    padding: In pixels.
    size: Height and width of the input.

  Returns:
    ``[N, H, W, C]``.
  """
  height, width = size
  _, out_height, out_width, _ = arrays[0].shape
  (above, _), (left, _) = padding
  # Phases of the input; pixels that no window sees may follow the last window's.
  num_rows, num_columns = -(-height // stride), -(-width // stride)

  def shifts(low: int, phase: int) -> list[tuple[int, int]]:
    return [
      (i, (phase + low - i) // stride)
      for i in range(kernel_size)
      if (phase + low - i) % stride == 0
    ]

  def beyond(low: int, size: int, out_size: int) -> tuple[int, int]:
    """Zeros before and after that the longest shifts reach."""
    reached = [s for phase in range(stride) for _, s in shifts(low, phase)]
    return max(0, -min(reached)), max(0, max(reached) + size - out_size)

  rows_beyond = beyond(above, num_rows, out_height)
  columns_beyond = beyond(left, num_columns, out_width)
  edges = ((0, 0), rows_beyond, columns_beyond, (0, 0))
  padded = tuple(jnp.pad(array, edges) for array in arrays)

  def one_phase(a: int, b: int) -> Array:
    parts = []
    for i, row in shifts(above, a):
      for j, column in shifts(left, b):
        top, start = row + rows_beyond[0], column + columns_beyond[0]
        shifted = (
          array[:, top : top + num_rows, start : start + num_columns]
          for array in padded
        )
        parts.append(contribution(i, j, *shifted))
    if not parts:  # a stride longer than the kernel skips this phase
      n, _, _, channels = arrays[0].shape
      return jnp.zeros((n, num_rows, num_columns, channels), arrays[0].dtype)
    return functools.reduce(jnp.add, parts)

  rows = [
    _interleave([one_phase(a, b) for b in range(stride)], axis=2) for a in range(stride)
  ]
  return _interleave(rows, axis=1)[:, :height, :width]


def _same(size: int, kernel_size: int, stride: int) -> tuple[int, int]:
  total = max((-(-size // stride) - 1) * stride + kernel_size - size, 0)
  return total // 2, total - total // 2


def _interleave(parts: list[Array], axis: int) -> Array:
  if len(parts) == 1:
    return parts[0]
  shape = list(parts[0].shape)
  shape[axis] *= len(parts)
  return jnp.stack(parts, axis + 1).reshape(shape)
