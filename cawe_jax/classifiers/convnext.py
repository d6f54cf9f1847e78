"""ConvNeXt-tiny (Liu et al., A ConvNet for the 2020s, CVPR 2022).

The published networks multiply each block's output by a learned scale per channel; it
is folded into the dense layer before it.
"""

from __future__ import annotations

import flax.linen as nn

from cawe_jax.classifiers import layers
from cawe_jax.classifiers.conversion import Layout, plain
from cawe_jax.types import Array

_EPSILON = 1e-6


class Block(nn.Module):
  """Filter each channel, normalise, two dense layers; added to the input."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[N, H, W, C]`` to the same shape."""
    channels = x.shape[-1]
    y = layers.DepthwiseConvolution(7, 1, 3, name="depthwise")(x)
    y = layers.LayerNorm(_EPSILON, name="norm")(y)
    y = layers.Dense(4 * channels, name="expand")(y)
    y = layers.Dense(channels, name="project")(layers.Activation(layers.gelu)(y))
    return layers.Add()(x, y)


class ConvNeXt(nn.Module):
  """Four stages of blocks; between them the sides are halved.

  Attributes:
    repeats: Blocks of each stage.
    features: Channels of each stage.
    num_classes: Number K of classes.
  """

  repeats: tuple[int, int, int, int] = (3, 3, 9, 3)
  features: tuple[int, int, int, int] = (96, 192, 384, 768)
  num_classes: int = 1000

  @nn.compact
  def __call__(self, images: Array) -> Array:
    """Images ``[N, H, W, 3]`` in [0, 1] to logits ``[N, K]``."""
    x = layers.Normalisation(layers.IMAGENET_MEAN, layers.IMAGENET_DEVIATION)(images)
    x = layers.PatchConvolution(self.features[0], 4, name="stem")(x)
    x = layers.LayerNorm(_EPSILON, name="stem_norm")(x)
    for stage, (repeats, features) in enumerate(
      zip(self.repeats, self.features, strict=True)
    ):
      if stage > 0:
        x = layers.LayerNorm(_EPSILON, name=f"stage_{stage}_norm")(x)
        x = layers.PatchConvolution(features, 2, name=f"stage_{stage}_downsample")(x)
      for repeat in range(repeats):
        x = Block(name=f"stage_{stage}_block_{repeat}")(x)
    x = layers.GlobalAveragePool()(x)
    x = layers.LayerNorm(_EPSILON, name="norm")(x)
    return layers.Dense(self.num_classes, name="classifier")(x)


def torchvision(module: ConvNeXt) -> Layout:
  """Names of torchvision's tensors: the stages have the odd places."""
  layout = {
    "stem": plain("features.0.0"),
    "stem_norm": plain("features.0.1"),
    "norm": plain("classifier.0"),
    "classifier": plain("classifier.2"),
  }
  for stage, repeats in enumerate(module.repeats):
    if stage > 0:
      layout[f"stage_{stage}_norm"] = plain(f"features.{2 * stage}.0")
      layout[f"stage_{stage}_downsample"] = plain(f"features.{2 * stage}.1")
    for repeat in range(repeats):
      ours = f"stage_{stage}_block_{repeat}"
      theirs = f"features.{2 * stage + 1}.{repeat}"
      layout |= {
        f"{ours}/depthwise": plain(f"{theirs}.block.0"),
        f"{ours}/norm": plain(f"{theirs}.block.2"),
        f"{ours}/expand": plain(f"{theirs}.block.3"),
        f"{ours}/project": plain(f"{theirs}.block.5", scale=f"{theirs}.layer_scale"),
      }
  return layout


def timm(module: ConvNeXt) -> Layout:
  """Names of timm's tensors."""
  layout = {
    "stem": plain("stem.0"),
    "stem_norm": plain("stem.1"),
    "norm": plain("head.norm"),
    "classifier": plain("head.fc"),
  }
  for stage, repeats in enumerate(module.repeats):
    if stage > 0:
      layout[f"stage_{stage}_norm"] = plain(f"stages.{stage}.downsample.0")
      layout[f"stage_{stage}_downsample"] = plain(f"stages.{stage}.downsample.1")
    for repeat in range(repeats):
      ours = f"stage_{stage}_block_{repeat}"
      theirs = f"stages.{stage}.blocks.{repeat}"
      layout |= {
        f"{ours}/depthwise": plain(f"{theirs}.conv_dw"),
        f"{ours}/norm": plain(f"{theirs}.norm"),
        f"{ours}/expand": plain(f"{theirs}.mlp.fc1"),
        f"{ours}/project": plain(f"{theirs}.mlp.fc2", scale=f"{theirs}.gamma"),
      }
  return layout


LAYOUTS = {"torchvision": torchvision, "timm": timm}
