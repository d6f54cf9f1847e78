"""ResNet 18, 34 and 50 (He et al., Deep Residual Learning, CVPR 2016).

As in the published weights a bottleneck block strides in its 3 x 3 convolution
(torchvision's "version 1.5", which timm shares).
"""

from __future__ import annotations

import flax.linen as nn

from cawe_jax.classifiers import layers
from cawe_jax.classifiers.conversion import Layout, folded, plain
from cawe_jax.types import Array

_STAGE_FEATURES = (64, 128, 256, 512)
_EXPANSION = 4


class BasicBlock(nn.Module):
  """Two 3 x 3 convolutions, added to the input."""

  features: int
  stride: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[N, H, W, C]`` to ``[N, H', W', features]``."""
    relu = layers.Activation(layers.relu)
    y = layers.Convolution(self.features, 3, self.stride, 1, name="conv1")(x)
    y = layers.Convolution(self.features, 3, 1, 1, name="conv2")(relu(y))
    return relu(layers.Add()(_shortcut(x, self.features, self.stride), y))


class Bottleneck(nn.Module):
  """A 3 x 3 convolution between two of 1 x 1, added to the input."""

  features: int
  stride: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[N, H, W, C]`` to ``[N, H', W', 4 * features]``."""
    relu = layers.Activation(layers.relu)
    out = _EXPANSION * self.features
    y = layers.Dense(self.features, name="conv1")(x)
    y = layers.Convolution(self.features, 3, self.stride, 1, name="conv2")(relu(y))
    y = layers.Dense(out, name="conv3")(relu(y))
    return relu(layers.Add()(_shortcut(x, out, self.stride), y))


def _shortcut(x: Array, features: int, stride: int) -> Array:
  if stride == 1 and x.shape[-1] == features:
    return x
  return layers.Convolution(features, 1, stride, 0, name="downsample")(x)


class ResNet(nn.Module):
  """A residual network.

  Attributes:
    block: :class:`BasicBlock` or :class:`Bottleneck`.
    repeats: Blocks of each of the four stages.
    num_classes: Number K of classes.
  """

  block: type[BasicBlock] | type[Bottleneck]
  repeats: tuple[int, int, int, int]
  num_classes: int = 1000

  @nn.compact
  def __call__(self, images: Array) -> Array:
    """Images ``[N, H, W, 3]`` in [0, 1] to logits ``[N, K]``."""
    x = layers.Normalisation(layers.IMAGENET_MEAN, layers.IMAGENET_DEVIATION)(images)
    x = layers.Convolution(64, 7, 2, 3, name="stem")(x)
    x = layers.MaxPool(3, 2, 1)(layers.Activation(layers.relu)(x))
    for stage, features in enumerate(_STAGE_FEATURES):
      for repeat in range(self.repeats[stage]):
        stride = 2 if stage > 0 and repeat == 0 else 1
        x = self.block(features, stride, name=f"stage_{stage}_block_{repeat}")(x)
    return layers.Dense(self.num_classes, name="classifier")(
      layers.GlobalAveragePool()(x)
    )


def published(module: ResNet) -> Layout:
  """Names of torchvision's tensors, which timm shares."""
  layout = {"stem": folded("conv1", "bn1"), "classifier": plain("fc")}
  num_convolutions = 2 if module.block is BasicBlock else 3
  for stage, repeats in enumerate(module.repeats):
    for repeat in range(repeats):
      ours, theirs = f"stage_{stage}_block_{repeat}", f"layer{stage + 1}.{repeat}"
      for i in range(1, num_convolutions + 1):
        layout[f"{ours}/conv{i}"] = folded(f"{theirs}.conv{i}", f"{theirs}.bn{i}")
      if repeat == 0 and (stage > 0 or module.block is Bottleneck):
        layout[f"{ours}/downsample"] = folded(
          f"{theirs}.downsample.0", f"{theirs}.downsample.1"
        )
  return layout


LAYOUTS = {"torchvision": published}
