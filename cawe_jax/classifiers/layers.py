"""The layers that all networks are made of.

Explanation methods that look inside a network reach it through Flax's interceptors
(:func:`flax.linen.intercept_methods`): they read activations, or replace what a layer
computes or how its gradient flows, by the layer's *class* and never by its name. So
everything that such a method may treat in its own way is a class of this module, and a
network is put together from these classes alone; a bare ``jax.nn.relu`` in a network
would be invisible. The last feature map, for example, is what
:class:`GlobalAveragePool` is called with::

  def interceptor(layer, args, kwargs, context):
    if isinstance(context.module, layers.GlobalAveragePool):
      feature_maps.append(args[0])
    return layer(*args, **kwargs)

  with nn.intercept_methods(interceptor):
    logits = classifier(images)

Feature maps are ``[N, H, W, C]``, tokens ``[N, L, C]``. There is no batch
normalisation, because weights are folded when they are converted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.classifiers import convolution, pooling
from cawe_jax.classifiers.windows import Padding
from cawe_jax.types import Array

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Means and deviations of red, green and blue that torchvision's weights expect."""

# Weights are read from files. Flax traces a parameter's initialiser at every use, to
# compare the shapes; random ones would be a third of tracing a network.
_ZEROS = nn.initializers.zeros


class Normalisation(nn.Module):
  """Images in [0, 1] to what a network was trained on.

  Attributes:
    mean: Subtracted from each channel.
    deviation: Divides each channel.
  """

  mean: Sequence[float]
  deviation: Sequence[float]

  @nn.compact
  def __call__(self, images: Array) -> Array:
    """``[N, H, W, C]`` to the same shape."""
    mean, deviation = (
      jnp.asarray(values, images.dtype).reshape(1, 1, 1, -1)
      for values in (self.mean, self.deviation)
    )
    return (images - mean) / deviation


class Convolution(nn.Module):
  """Convolution between all channels, with a bias.

  Attributes:
    features: Number D of output channels.
    kernel_size: Side k of the window.
    stride: Step of the window.
    padding: ``"SAME"``, an int for all four sides, or pairs.
  """

  features: int
  kernel_size: int
  stride: int = 1
  padding: str | int | Padding = "SAME"

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[N, H, W, C]`` to ``[N, H', W', D]``."""
    k = self.kernel_size
    shape = (k, k, x.shape[-1], self.features)
    kernel = self.param("kernel", _ZEROS, shape)
    bias = self.param("bias", _ZEROS, (self.features,))
    return _plus(convolution.dense(x, kernel, self.stride, self.padding), bias)


class DepthwiseConvolution(nn.Module):
  """Convolution of each channel by itself, with a bias; attributes as above."""

  kernel_size: int
  stride: int = 1
  padding: str | int | Padding = "SAME"

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[N, H, W, C]`` to ``[N, H', W', C]``."""
    k, channels = self.kernel_size, x.shape[-1]
    kernel = self.param("kernel", _ZEROS, (k, k, channels))
    bias = self.param("bias", _ZEROS, (channels,))
    return _plus(convolution.depthwise(x, kernel, self.stride, self.padding), bias)


class PatchConvolution(nn.Module):
  """Convolution whose windows do not overlap, with a bias.

  Attributes:
    features: Number D of output channels.
    kernel_size: Side k of the window and its step.
  """

  features: int
  kernel_size: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[N, H, W, C]`` to ``[N, H // k, W // k, D]``."""
    k = self.kernel_size
    shape = (k, k, x.shape[-1], self.features)
    kernel = self.param("kernel", _ZEROS, shape)
    bias = self.param("bias", _ZEROS, (self.features,))
    return _plus(convolution.patches(x, kernel), bias)


class Dense(nn.Dense):
  """A matrix product over the last axis, with a bias; on maps a 1 x 1 convolution."""

  kernel_init: Callable = _ZEROS


class LayerNorm(nn.Module):
  """Mean 0 and variance 1 over the last axis, then a scale and a bias per channel.

  Attributes:
    epsilon: Added to the variance.
  """

  epsilon: float = 1e-6

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[..., C]`` to the same shape."""
    scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
    bias = self.param("bias", _ZEROS, (x.shape[-1],))
    # Sums of many squares need the digits that bfloat16 does not have.
    wide = x.astype(np.promote_types(x.dtype, np.float32))
    centred = wide - wide.mean(-1, keepdims=True)
    variance = jnp.mean(centred**2, -1, keepdims=True)
    normalised = centred * jax.lax.rsqrt(variance + self.epsilon)
    return _plus(normalised.astype(x.dtype) * _per_channel(scale, x), bias)


class Activation(nn.Module):
  """A function of each value by itself.

  Attributes:
    function: One of ``jax.nn``; :func:`relu` and the others below.
  """

  function: Callable[[Array], Array]

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Any shape to the same shape."""
    return self.function(x)


relu = jax.nn.relu
relu6 = jax.nn.relu6
hard_swish = jax.nn.hard_swish
hard_sigmoid = jax.nn.hard_sigmoid


def gelu(x: Array) -> Array:
  """The exact one, by the error function."""
  return jax.nn.gelu(x, approximate=False)


class Softmax(nn.Module):
  """Weights that sum to 1 over the last axis."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[..., L]`` to the same shape."""
    return jax.nn.softmax(x)


class Add(nn.Module):
  """The sum of two branches; both get all of the gradient."""

  @nn.compact
  def __call__(self, x: Array, y: Array) -> Array:
    """Shapes that broadcast."""
    return x + y


class Gate(nn.Module):
  """A signal times a gate that was computed from it."""

  @nn.compact
  def __call__(self, x: Array, gate: Array) -> Array:
    """``[N, H, W, C]`` and ``[N, 1, 1, C]`` to ``[N, H, W, C]``."""
    return x * gate


class MatrixProduct(nn.Module):
  """A product of two activations.

  Attributes:
    subscripts: As ``jnp.einsum`` reads them.
  """

  subscripts: str

  @nn.compact
  def __call__(self, x: Array, y: Array) -> Array:
    """Shapes as the subscripts say."""
    return jnp.einsum(self.subscripts, x, y)


class MaxPool(nn.Module):
  """The largest value in each window; attributes as :class:`Convolution` has them."""

  kernel_size: int
  stride: int
  padding: str | int | Padding = 0

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[N, H, W, C]`` to ``[N, H', W', C]``."""
    return pooling.max_pool(x, self.kernel_size, self.stride, self.padding)


class AdaptiveAveragePool(nn.Module):
  """Means over a grid of cells, whatever the input's size.

  Attributes:
    output_size: Number n of cells along either side.
  """

  output_size: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[N, H, W, C]`` to ``[N, n, n, C]``."""
    return pooling.adaptive_average_pool(x, self.output_size)


class SpatialMean(nn.Module):
  """The mean over all pixels, as squeeze-and-excitation takes it."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[N, H, W, C]`` to ``[N, C]``."""
    return x.mean((1, 2))


class GlobalAveragePool(SpatialMean):
  """The mean over all pixels of the last feature map; a network has one at most."""


class Attention(nn.Module):
  """Self-attention with several heads.

  Attributes:
    num_heads: Number of heads, which divides the channels.
  """

  num_heads: int

  @nn.compact
  def __call__(self, tokens: Array) -> Array:
    """``[N, L, C]`` to the same shape."""
    n, length, channels = tokens.shape
    head = channels // self.num_heads
    joint = Dense(3 * channels, name="query_key_value")(tokens)
    query, key, value = jnp.moveaxis(
      joint.reshape(n, length, 3, self.num_heads, head), 2, 0
    )
    scores = MatrixProduct("nqhc,nkhc->nhqk")(query * head**-0.5, key)
    mixed = MatrixProduct("nhqk,nkhc->nqhc")(Softmax()(scores), value)
    return Dense(channels, name="projection")(mixed.reshape(n, length, channels))


def _plus(x: Array, bias: Array) -> Array:
  """``[..., C]`` plus ``[C]``."""
  return x + _per_channel(bias, x)


def _per_channel(values: Array, like: Array) -> Array:
  """``[C]`` as ``[1, ..., C]``, with as many axes as another array has."""
  return jnp.expand_dims(values, range(like.ndim - 1))


def round_features(features: float, divisor: int = 8) -> int:
  """The nearest multiple of 8 that is not more than a tenth below (MobileNet's rule).

  Example:
    >>> round_features(18), round_features(11.9)
    (24, 16)
  """
  rounded = max(divisor, int(features + divisor / 2) // divisor * divisor)
  return rounded + divisor if rounded < 0.9 * features else rounded
