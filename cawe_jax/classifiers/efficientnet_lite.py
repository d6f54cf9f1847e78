"""EfficientNet-Lite 0, 1 and 2 with their ImageNet weights.

They are EfficientNets without squeeze-and-excitation and with ReLU6. Padding is
TensorFlow's "SAME", and images are scaled to ``(255 x - 127) / 128``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import flax.linen as nn

from cawe_jax.classifiers import layers
from cawe_jax.classifiers.conversion import Layout, folded, plain
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


class InvertedResidual(nn.Module):
  """Expand, filter each channel, project; added to the input where shapes allow."""

  kernel_size: int
  stride: int
  expansion: int
  features: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[N, H, W, C]`` to ``[N, ceil(H / stride), ceil(W / stride), features]``."""
    relu6 = layers.Activation(layers.relu6)
    y = x
    if self.expansion != 1:
      y = relu6(layers.Dense(self.expansion * x.shape[-1], name="expand")(y))
    y = layers.DepthwiseConvolution(self.kernel_size, self.stride, name="depthwise")(y)
    y = layers.Dense(self.features, name="project")(relu6(y))
    return layers.Add()(x, y) if y.shape == x.shape else y


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
        features=layers.round_features(stage.features * self.width),
        repeats=stage.repeats
        if i in (0, last)
        else math.ceil(self.depth * stage.repeats),
      )
      for i, stage in enumerate(_STAGES)
    )

  @nn.compact
  def __call__(self, images: Array) -> Array:
    """Images ``[N, H, W, 3]`` in [0, 1] to logits ``[N, K]``."""
    relu6 = layers.Activation(layers.relu6)
    x = layers.Normalisation((127 / 255,) * 3, (128 / 255,) * 3)(images)
    x = relu6(layers.Convolution(_STEM_FEATURES, 3, 2, name="stem")(x))
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
    x = relu6(layers.Dense(_HEAD_FEATURES, name="head")(x))
    x = layers.GlobalAveragePool()(x)
    return layers.Dense(self.num_classes, name="classifier")(x)


def published(module: EfficientNetLite) -> Layout:
  """Names of the tensors in the packages with the weights."""

  def with_norm(convolution: str, norm: str):
    return folded(convolution, norm, _BATCH_NORM_EPSILON)

  layout = {
    "stem": with_norm("_conv_stem", "_bn0"),
    "head": with_norm("_conv_head", "_bn1"),
    "classifier": plain("_fc"),
  }
  expansions = [
    stage.expansion for stage in module.stages for _ in range(stage.repeats)
  ]
  for index, expansion in enumerate(expansions):
    ours, theirs = f"block_{index}", f"_blocks.{index}"
    if expansion != 1:
      layout[f"{ours}/expand"] = with_norm(f"{theirs}._expand_conv", f"{theirs}._bn0")
    layout[f"{ours}/depthwise"] = with_norm(
      f"{theirs}._depthwise_conv", f"{theirs}._bn1"
    )
    layout[f"{ours}/project"] = with_norm(f"{theirs}._project_conv", f"{theirs}._bn2")
  return layout


LAYOUTS = {"efficientnet-lite-pytorch": published}
