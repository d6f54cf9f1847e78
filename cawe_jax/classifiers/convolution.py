"""Convolutions whose gradient with respect to the input is fast on every platform.

XLA's CPU backend runs grouped convolutions, and the input gradients of strided ones,
ten times slower than need be (https://github.com/jax-ml/jax/issues/23713). Here a
depthwise convolution is a sum of shifted products, a strided one a matrix product of
patches, and the input gradient of either a sum over the taps that reach each phase of
the stride, so that no zeros are multiplied. Elsewhere the native convolution is used:
``_by_platform`` is the only place that chooses.

All arrays are ``[N, H, W, C]`` and float; padding is TensorFlow's "SAME".
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cawe_jax.types import Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(x: Array, kernel: Array, stride: int) -> Array:
  """Depthwise convolution.

  Args:
    x: ``[N, H, W, C]``.
    kernel: ``[k, k, C]``.
    stride: 1 or more.

  Returns:
    ``[N, ceil(H / stride), ceil(W / stride), C]``.

  Example:
    >>> depthwise(jnp.ones((1, 5, 5, 2)), jnp.ones((3, 3, 2)), 2)[0, :, :, 0].tolist()
    [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
  """
  return _by_platform(_depthwise_shifted, _depthwise_native, stride)(x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def dense(x: Array, kernel: Array, stride: int) -> Array:
  """Convolution between all channels.

  Args:
    x: ``[N, H, W, C]``.
    kernel: ``[k, k, C, D]``.
    stride: 1 or more.

  Returns:
    ``[N, ceil(H / stride), ceil(W / stride), D]``.
  """
  return _by_platform(_dense_patches, _dense_native, stride)(x, kernel)


def _depthwise_shifted(x: Array, kernel: Array, stride: int) -> Array:
  taps = _taps(x, kernel.shape[0], stride)
  return functools.reduce(jnp.add, [tap * kernel[i, j] for (i, j), tap in taps.items()])


def _depthwise_native(x: Array, kernel: Array, stride: int) -> Array:
  return _native(x, kernel[:, :, None, :], stride, groups=x.shape[-1])


def _dense_patches(x: Array, kernel: Array, stride: int) -> Array:
  patches = jnp.concatenate(list(_taps(x, kernel.shape[0], stride).values()), axis=-1)
  return patches @ kernel.reshape(-1, kernel.shape[-1])


def _dense_native(x: Array, kernel: Array, stride: int) -> Array:
  return _native(x, kernel, stride, groups=1)


def _native(x: Array, kernel: Array, stride: int, groups: int) -> Array:
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


def _depthwise_shifted_input_gradient(
  gradient: Array, kernel: Array, stride: int, size: tuple[int, int]
) -> Array:
  def contribution(shifted: Array, i: int, j: int) -> Array:
    return shifted * kernel[i, j]

  return _gather_taps(gradient, contribution, kernel.shape[0], stride, size)


def _dense_patches_input_gradient(
  gradient: Array, kernel: Array, stride: int, size: tuple[int, int]
) -> Array:
  k, _, channels, features = kernel.shape
  patches = gradient @ kernel.reshape(-1, features).T

  def contribution(shifted: Array, i: int, j: int) -> Array:
    start = (i * k + j) * channels
    return shifted[..., start : start + channels]

  return _gather_taps(patches, contribution, k, stride, size)


def _define_gradient(convolution, fast_input_gradient: Callable, native: Callable):
  """Give ``convolution`` the gradients of ``native``, the input's by a fast route."""

  def forward(x: Array, kernel: Array, stride: int):
    return convolution(x, kernel, stride), (x, kernel)

  def backward(stride: int, residuals, gradient: Array):
    x, kernel = residuals

    def fast(gradient: Array, kernel: Array, stride: int) -> Array:
      return fast_input_gradient(gradient, kernel, stride, x.shape[1:3])

    def slow(gradient: Array, kernel: Array, stride: int) -> Array:
      transpose = jax.linear_transpose(lambda y: native(y, kernel, stride), x)
      return transpose(gradient)[0]

    # Dropped by the compiler where, as in an explanation, nobody asks for it.
    kernel_gradient = jax.vjp(lambda w: native(x, w, stride), kernel)[1](gradient)[0]
    return _by_platform(fast, slow, stride)(gradient, kernel), kernel_gradient

  convolution.defvjp(forward, backward)


def _by_platform(cpu_fn: Callable, default_fn: Callable, stride: int) -> Callable:
  def call(*arrays: Array) -> Array:
    return jax.lax.platform_dependent(
      *arrays,
      cpu=lambda *a: cpu_fn(*a, stride),
      default=lambda *a: default_fn(*a, stride),
    )

  return call


class _Axis(NamedTuple):
  """Padding "SAME" of one axis."""

  output_size: int
  low: int
  high: int


def _same(size: int, kernel_size: int, stride: int) -> _Axis:
  output_size = -(-size // stride)
  total = max((output_size - 1) * stride + kernel_size - size, 0)
  return _Axis(output_size, total // 2, total - total // 2)


def _taps(x: Array, kernel_size: int, stride: int) -> dict[tuple[int, int], Array]:
  """For every kernel position the strided view of the padded input it multiplies."""
  rows = _same(x.shape[1], kernel_size, stride)
  columns = _same(x.shape[2], kernel_size, stride)
  # `stride - 1` more, so that the last strided slice stays inside.
  extra = stride - 1
  padded = jnp.pad(
    x,
    (
      (0, 0),
      (rows.low, rows.high + extra),
      (columns.low, columns.high + extra),
      (0, 0),
    ),
  )
  return {
    (i, j): padded[
      :,
      i : i + stride * rows.output_size : stride,
      j : j + stride * columns.output_size : stride,
    ]
    for i in range(kernel_size)
    for j in range(kernel_size)
  }


def _gather_taps(
  gradient: Array,
  contribution: Callable[[Array, int, int], Array],
  kernel_size: int,
  stride: int,
  size: tuple[int, int],
) -> Array:
  """The transpose of :func:`_taps`: for every input pixel the sum over its taps.

  Input row ``h = stride * u + a`` is reached by the kernel rows i for which
  ``a + low - i`` is a multiple of the stride, from output row
  ``u + (a + low - i) / stride``; columns likewise. Each phase ``(a, b)`` is one dense
  sum; the phases are then interleaved.
  """
  (height, width), (_, out_height, out_width, _) = size, gradient.shape
  low_row = _same(height, kernel_size, stride).low
  low_column = _same(width, kernel_size, stride).low
  reach = kernel_size  # no shift is longer
  padded = jnp.pad(gradient, ((0, 0), (reach, reach), (reach, reach), (0, 0)))

  def shifts(low: int, phase: int) -> list[tuple[int, int]]:
    return [
      (i, (phase + low - i) // stride)
      for i in range(kernel_size)
      if (phase + low - i) % stride == 0
    ]

  def one_phase(a: int, b: int) -> Array:
    parts = []
    for i, row in shifts(low_row, a):
      for j, column in shifts(low_column, b):
        top, left = row + reach, column + reach
        shifted = padded[:, top : top + out_height, left : left + out_width]
        parts.append(contribution(shifted, i, j))
    if not parts:  # a stride longer than the kernel skips this phase
      return jnp.zeros_like(contribution(gradient, 0, 0))
    return functools.reduce(jnp.add, parts)

  rows = [
    _interleave([one_phase(a, b) for b in range(stride)], axis=2) for a in range(stride)
  ]
  return _interleave(rows, axis=1)[:, :height, :width]


def _interleave(parts: list[Array], axis: int) -> Array:
  if len(parts) == 1:
    return parts[0]
  shape = list(parts[0].shape)
  shape[axis] *= len(parts)
  return jnp.stack(parts, axis + 1).reshape(shape)


_define_gradient(depthwise, _depthwise_shifted_input_gradient, _depthwise_native)
_define_gradient(dense, _dense_patches_input_gradient, _dense_native)
