"""Convolutions that are fast on every platform, with their input gradient.

A depthwise convolution on a CPU is a sum of shifted products and its input gradient
another (see :mod:`cawe_jax.classifiers.windows`): 50 times faster than XLA's grouped
convolution for a window of 7 x 7. On an Nvidia GPU it wins too, by up to a half
(docs/benchmarks.md; windows of 3 and 5). Between all channels XLA's own convolution is
at least as fast as a matrix product of patches, whatever the stride (measured for
windows of 1 to 7 pixels at 7 to 224 pixels and 3 to 512 channels). Its input gradient
with a stride multiplies the zeros between the gradient's pixels; on a CPU a matrix
product whose columns are then added up takes a quarter of the time or less. Windows
that do not overlap are a matrix product everywhere.

All arrays are ``[N, H, W, C]`` and float.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from cawe_jax.classifiers import windows
from cawe_jax.classifiers.windows import Padding
from cawe_jax.types import Array

# The largest window for which shifted views were measured, and won, on an H100.
_LARGEST_ON_GPU = 5


def depthwise(
  x: Array, kernel: Array, stride: int = 1, padding: str | int | Padding = "SAME"
) -> Array:
  """Depthwise convolution.

  Args:
    x: ``[N, H, W, C]``.
    kernel: ``[k, k, C]``.
    stride: 1 or more.
    padding: As :func:`cawe_jax.classifiers.windows.resolve_padding` reads it.

  Returns:
    ``[N, ceil(H / stride), ceil(W / stride), C]`` with padding "SAME".

  Example:
    >>> depthwise(jnp.ones((1, 5, 5, 2)), jnp.ones((3, 3, 2)), 2)[0, :, :, 0].tolist()
    [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
  """
  size = (x.shape[1], x.shape[2])
  pixels = windows.resolve_padding(padding, size, kernel.shape[0], stride)
  return _depthwise(x, kernel, stride, pixels)


def dense(
  x: Array, kernel: Array, stride: int = 1, padding: str | int | Padding = "SAME"
) -> Array:
  """Convolution between all channels.

  Args:
    x: ``[N, H, W, C]``.
    kernel: ``[k, k, C, D]``.
    stride: 1 or more.
    padding: As :func:`cawe_jax.classifiers.windows.resolve_padding` reads it.

  Returns:
    ``[N, ceil(H / stride), ceil(W / stride), D]`` with padding "SAME".
  """
  size = (x.shape[1], x.shape[2])
  pixels = windows.resolve_padding(padding, size, kernel.shape[0], stride)
  if stride == 1:
    return _native(x, kernel, stride, pixels, groups=1)
  return _strided(x, kernel, stride, pixels)


def patches(x: Array, kernel: Array) -> Array:
  """Convolution whose windows do not overlap: the stride is the kernel's side.

  Rows and columns that do not fill a window are left out, as with PyTorch's
  convolution without padding.

  Args:
    x: ``[N, H, W, C]``.
    kernel: ``[k, k, C, D]``.

  Returns:
    ``[N, H // k, W // k, D]``.

  Raises:
    ValueError: The image is smaller than one window.

  Example:
    >>> patches(jnp.ones((1, 5, 4, 3)), jnp.ones((2, 2, 3, 1)))[0, :, :, 0].tolist()
    [[12.0, 12.0], [12.0, 12.0]]
  """
  k, _, channels, features = kernel.shape
  windows.resolve_padding(0, (x.shape[1], x.shape[2]), k, k)
  n, height, width = len(x), x.shape[1] // k, x.shape[2] // k
  blocks = x[:, : k * height, : k * width].reshape(n, height, k, width, k, channels)
  rows = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(n, height, width, k * k * channels)
  return rows @ kernel.reshape(-1, features)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x: Array, kernel: Array, stride: int, padding: Padding) -> Array:
  def shifted(x: Array, kernel: Array) -> Array:
    taps = windows.taps(x, kernel.shape[0], stride, padding)
    weights = kernel[:, :, None, None, None]
    return functools.reduce(
      jnp.add, [tap * weights[i, j] for (i, j), tap in taps.items()]
    )

  def native(x: Array, kernel: Array) -> Array:
    return _depthwise_native(x, kernel, stride, padding)

  return _where_faster(shifted, native, kernel)(x, kernel)


def _depthwise_forward(x: Array, kernel: Array, stride: int, padding: Padding):
  return _depthwise(x, kernel, stride, padding), (x, kernel)


def _depthwise_backward(stride: int, padding: Padding, residuals, gradient: Array):
  x, kernel = residuals

  def gathered(gradient: Array, kernel: Array) -> Array:
    weights = kernel[:, :, None, None, None]

    def contribution(i: int, j: int, shifted: Array) -> Array:
      return shifted * weights[i, j]

    size = (x.shape[1], x.shape[2])
    return windows.gather_taps(
      (gradient,), contribution, kernel.shape[0], stride, padding, size
    )

  def native(gradient: Array, kernel: Array) -> Array:
    def convolve(y: Array) -> Array:
      return _depthwise_native(y, kernel, stride, padding)

    return jax.linear_transpose(convolve, x)(gradient)[0]

  # Dropped by the compiler where, as in an explanation, nobody asks for it.
  _, kernel_vjp = jax.vjp(lambda w: _depthwise_native(x, w, stride, padding), kernel)
  input_gradient = _where_faster(gathered, native, kernel)(gradient, kernel)
  return input_gradient, kernel_vjp(gradient)[0]


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _strided(x: Array, kernel: Array, stride: int, padding: Padding) -> Array:
  return _native(x, kernel, stride, padding, groups=1)


def _strided_forward(x: Array, kernel: Array, stride: int, padding: Padding):
  return _strided(x, kernel, stride, padding), (x, kernel)


def _strided_backward(stride: int, padding: Padding, residuals, gradient: Array):
  x, kernel = residuals
  k, _, channels, features = kernel.shape

  def gathered(gradient: Array, kernel: Array) -> Array:
    columns = gradient @ kernel.reshape(-1, features).T

    def contribution(i: int, j: int, shifted: Array) -> Array:
      start = (i * k + j) * channels
      return shifted[..., start : start + channels]

    size = (x.shape[1], x.shape[2])
    return windows.gather_taps((columns,), contribution, k, stride, padding, size)

  def convolve(x: Array, kernel: Array) -> Array:
    return _native(x, kernel, stride, padding, groups=1)

  def native(gradient: Array, kernel: Array) -> Array:
    return jax.linear_transpose(lambda y: convolve(y, kernel), x)(gradient)[0]

  # Dropped by the compiler where nobody asks for it, as above.
  kernel_gradient = jax.linear_transpose(lambda w: convolve(x, w), kernel)(gradient)[0]
  input_gradient = _where_faster(gathered, native, kernel)(gradient, kernel)
  return input_gradient, kernel_gradient


_strided.defvjp(_strided_forward, _strided_backward)


def _where_faster(shifted: Callable, native: Callable, kernel: Array) -> Callable:
  small = kernel.shape[0] <= _LARGEST_ON_GPU
  return windows.by_platform(shifted, native, cuda_fn=shifted if small else None)


def _depthwise_native(x: Array, kernel: Array, stride: int, padding: Padding) -> Array:
  return _native(x, kernel[:, :, None, :], stride, padding, groups=x.shape[-1])


def _native(
  x: Array, kernel: Array, stride: int, padding: Padding, groups: int
) -> Array:
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )
