"""EfficientNet-Lite 0, 1 and 2 with their ImageNet weights.

The module has no batch normalisation: the weights are folded when they are converted,
which is exact at inference, saves a third of the elementwise work and is what relevance
propagation needs.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from cawe_jax.classifiers import convolution
from cawe_jax.types import Array

_BATCH_NORM_EPSILON = 1e-3


class Stage(NamedTuple):
  """A run of inverted residual blocks; the stride is the first block's."""

  repeats: int
  kernel_size: int
  stride: int
  expansion: int
  features: int


# Tan and Le, EfficientNet, ICML 2019, Table 1, without squeeze-and-excitation.
_STAGES = (
  Stage(1, 3, 1, 1, 16),
  Stage(2, 3, 2, 6, 24),
  Stage(2, 5, 2, 6, 40),
  Stage(3, 3, 2, 6, 80),
  Stage(3, 5, 1, 6, 112),
  Stage(4, 5, 2, 6, 192),
  Stage(1, 3, 1, 6, 320),
)
_STEM_FEATURES, _HEAD_FEATURES = 32, 1280


class Convolution(nn.Module):
  """Convolution with "SAME" padding and a bias."""

  features: int
  kernel_size: int
  stride: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[N, H, W, C]`` to ``[N, ceil(H / stride), ceil(W / stride), features]``."""
    k = self.kernel_size
    shape = (k, k, x.shape[-1], self.features)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    return convolution.dense(x, kernel, self.stride) + bias


class DepthwiseConvolution(nn.Module):
  """Depthwise convolution with "SAME" padding and a bias."""

  kernel_size: int
  stride: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[N, H, W, C]`` to ``[N, ceil(H / stride), ceil(W / stride), C]``."""
    k, channels = self.kernel_size, x.shape[-1]
    kernel = self.param("kernel", _depthwise_init, (k, k, channels))
    bias = self.param("bias", nn.initializers.zeros, (channels,))
    return convolution.depthwise(x, kernel, self.stride) + bias


def _depthwise_init(key: Array, shape: tuple[int, ...]) -> Array:
  return jax.random.normal(key, shape) * (2 / (shape[0] * shape[1])) ** 0.5


class InvertedResidual(nn.Module):
  """Expand, filter each channel, project; added to the input where shapes allow."""

  kernel_size: int
  stride: int
  expansion: int
  features: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[N, H, W, C]`` to ``[N, ceil(H / stride), ceil(W / stride), features]``."""
    y = x
    if self.expansion != 1:
      y = jax.nn.relu6(nn.Dense(self.expansion * x.shape[-1], name="expand")(y))
    y = DepthwiseConvolution(self.kernel_size, self.stride, name="depthwise")(y)
    y = nn.Dense(self.features, name="project")(jax.nn.relu6(y))
    return x + y if y.shape == x.shape else y


class EfficientNetLite(nn.Module):
  """EfficientNet without squeeze-and-excitation, with ReLU6.

  Attributes:
    width: Factor on the features of every stage.
    depth: Factor on the repeats of every stage but the first and the last.
    num_classes: Number K of classes.
  """

  width: float
  depth: float
  num_classes: int = 1000

  @property
  def stages(self) -> tuple[Stage, ...]:
    """The stages, scaled."""
    last = len(_STAGES) - 1
    return tuple(
      stage._replace(
        features=_round_features(stage.features * self.width),
        repeats=stage.repeats
        if i in (0, last)
        else math.ceil(self.depth * stage.repeats),
      )
      for i, stage in enumerate(_STAGES)
    )

  @nn.compact
  def __call__(self, images: Array) -> Array:
    """Images ``[N, H, W, 3]`` in [0, 1] to logits ``[N, K]``."""
    x = (255 * images - 127) / 128
    x = jax.nn.relu6(Convolution(_STEM_FEATURES, 3, 2, name="stem")(x))
    index = 0
    for stage in self.stages:
      for repeat in range(stage.repeats):
        x = InvertedResidual(
          stage.kernel_size,
          stage.stride if repeat == 0 else 1,
          stage.expansion,
          stage.features,
          name=f"block_{index}",
        )(x)
        index += 1
    x = jax.nn.relu6(nn.Dense(_HEAD_FEATURES, name="head")(x))
    return nn.Dense(self.num_classes, name="classifier")(x.mean((1, 2)))


def convert(checkpoint: dict[str, np.ndarray]) -> dict[str, Any]:
  """Parameters of :class:`EfficientNetLite` from the published PyTorch tensors.

  Args:
    checkpoint: The packages' state dict; convolutions ``[out, in, k, k]``.

  Returns:
    Nested float32 parameters with the batch normalisations folded in.
  """

  def folded(weight: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
    tensors = {
      part: checkpoint[f"{norm}.{part}"].astype(np.float64)
      for part in ("weight", "bias", "running_mean", "running_var")
    }
    scale = tensors["weight"] / np.sqrt(tensors["running_var"] + _BATCH_NORM_EPSILON)
    kernel = checkpoint[f"{weight}.weight"] * scale[:, None, None, None]
    return kernel, tensors["bias"] - tensors["running_mean"] * scale

  def pointwise(weight: str, norm: str) -> dict[str, np.ndarray]:
    kernel, bias = folded(weight, norm)
    return _float32(kernel=kernel[:, :, 0, 0].T, bias=bias)

  def depthwise(weight: str, norm: str) -> dict[str, np.ndarray]:
    kernel, bias = folded(weight, norm)
    return _float32(kernel=kernel[:, 0].transpose(1, 2, 0), bias=bias)

  stem, stem_bias = folded("_conv_stem", "_bn0")
  params: dict[str, Any] = {
    "stem": _float32(kernel=stem.transpose(2, 3, 1, 0), bias=stem_bias),
    "head": pointwise("_conv_head", "_bn1"),
    "classifier": _float32(
      kernel=checkpoint["_fc.weight"].T, bias=checkpoint["_fc.bias"]
    ),
  }
  num_blocks = 1 + max(
    int(name.split(".")[1]) for name in checkpoint if name.startswith("_blocks.")
  )
  for index in range(num_blocks):
    old = f"_blocks.{index}"
    block = {
      "depthwise": depthwise(f"{old}._depthwise_conv", f"{old}._bn1"),
      "project": pointwise(f"{old}._project_conv", f"{old}._bn2"),
    }
    if f"{old}._expand_conv.weight" in checkpoint:
      block["expand"] = pointwise(f"{old}._expand_conv", f"{old}._bn0")
    params[f"block_{index}"] = block
  return params


def _float32(**arrays: np.ndarray) -> dict[str, np.ndarray]:
  return {name: np.ascontiguousarray(a, np.float32) for name, a in arrays.items()}


def _round_features(features: float, divisor: int = 8) -> int:
  """The nearest multiple of 8 that is not more than a tenth below."""
  rounded = max(divisor, int(features + divisor / 2) // divisor * divisor)
  return rounded + divisor if rounded < 0.9 * features else rounded
