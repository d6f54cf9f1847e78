"""MobileNetV3-Large and -Small (Howard et al., ICCV 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import flax.linen as nn

from cawe_jax.classifiers import layers
from cawe_jax.classifiers.conversion import Layout, folded, plain
from cawe_jax.types import Array

# torchvision's networks were trained with the first, timm's with the second.
_TORCHVISION_EPSILON, _TIMM_EPSILON = 1e-3, 1e-5
_STEM_FEATURES = 16


class Bneck(NamedTuple):
  """One row of the paper's tables: an inverted residual block.

  Attributes:
    kernel_size: Side of the depthwise window.
    expanded: Channels between the two dense layers.
    features: Channels of the output.
    excite: Whether there is squeeze-and-excitation.
    swish: Whether the activation is hard-swish; ReLU otherwise.
    stride: The stride of the depthwise convolution.
  """

  kernel_size: int
  expanded: int
  features: int
  excite: bool
  swish: bool
  stride: int


# Table 1 of the paper.
LARGE = (
  Bneck(3, 16, 16, False, False, 1),
  Bneck(3, 64, 24, False, False, 2),
  Bneck(3, 72, 24, False, False, 1),
  Bneck(5, 72, 40, True, False, 2),
  Bneck(5, 120, 40, True, False, 1),
  Bneck(5, 120, 40, True, False, 1),
  Bneck(3, 240, 80, False, True, 2),
  Bneck(3, 200, 80, False, True, 1),
  Bneck(3, 184, 80, False, True, 1),
  Bneck(3, 184, 80, False, True, 1),
  Bneck(3, 480, 112, True, True, 1),
  Bneck(3, 672, 112, True, True, 1),
  Bneck(5, 672, 160, True, True, 2),
  Bneck(5, 960, 160, True, True, 1),
  Bneck(5, 960, 160, True, True, 1),
)
# Table 2.
SMALL = (
  Bneck(3, 16, 16, True, False, 2),
  Bneck(3, 72, 24, False, False, 2),
  Bneck(3, 88, 24, False, False, 1),
  Bneck(5, 96, 40, True, True, 2),
  Bneck(5, 240, 40, True, True, 1),
  Bneck(5, 240, 40, True, True, 1),
  Bneck(5, 120, 48, True, True, 1),
  Bneck(5, 144, 48, True, True, 1),
  Bneck(5, 288, 96, True, True, 2),
  Bneck(5, 576, 96, True, True, 1),
  Bneck(5, 576, 96, True, True, 1),
)


class SqueezeExcitation(nn.Module):
  """Each channel times a factor in [0, 1] computed from all channels' means."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[N, H, W, C]`` to the same shape."""
    channels = x.shape[-1]
    y = layers.SpatialMean()(x)
    y = layers.Dense(layers.round_features(channels / 4), name="squeeze")(y)
    y = layers.Dense(channels, name="excite")(layers.Activation(layers.relu)(y))
    gate = layers.Activation(layers.hard_sigmoid)(y)
    return layers.Gate()(x, gate[:, None, None])


class InvertedResidual(nn.Module):
  """Expand, filter each channel, weigh the channels, project.

  Attributes:
    row: The block's numbers.
  """

  row: Bneck

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[N, H, W, C]`` to ``[N, ceil(H / stride), ceil(W / stride), features]``."""
    row = self.row
    activation = layers.Activation(layers.hard_swish if row.swish else layers.relu)
    y = x
    if row.expanded != x.shape[-1]:
      y = activation(layers.Dense(row.expanded, name="expand")(y))
    padding = row.kernel_size // 2
    y = layers.DepthwiseConvolution(
      row.kernel_size, row.stride, padding, name="depthwise"
    )(y)
    y = activation(y)
    if row.excite:
      y = SqueezeExcitation(name="excitation")(y)
    y = layers.Dense(row.features, name="project")(y)
    return layers.Add()(x, y) if y.shape == x.shape else y


class MobileNetV3(nn.Module):
  """A mobile network.

  Attributes:
    rows: :data:`LARGE` or :data:`SMALL`.
    head_features: Channels between the two last dense layers.
    num_classes: Number K of classes.
  """

  rows: tuple[Bneck, ...]
  head_features: int
  num_classes: int = 1000

  @nn.compact
  def __call__(self, images: Array) -> Array:
    """Images ``[N, H, W, 3]`` in [0, 1] to logits ``[N, K]``."""
    swish = layers.Activation(layers.hard_swish)
    x = layers.Normalisation(layers.IMAGENET_MEAN, layers.IMAGENET_DEVIATION)(images)
    x = swish(layers.Convolution(_STEM_FEATURES, 3, 2, 1, name="stem")(x))
    for index, row in enumerate(self.rows):
      x = InvertedResidual(row, name=f"block_{index}")(x)
    x = swish(layers.Dense(self.rows[-1].expanded, name="last")(x))
    x = layers.GlobalAveragePool()(x)
    x = swish(layers.Dense(self.head_features, name="head")(x))
    return layers.Dense(self.num_classes, name="classifier")(x)


def torchvision(module: MobileNetV3) -> Layout:
  """Names of torchvision's tensors."""

  def with_norm(prefix: str):
    return folded(f"{prefix}.0", f"{prefix}.1", _TORCHVISION_EPSILON)

  layout = {
    "stem": with_norm("features.0"),
    "last": with_norm(f"features.{len(module.rows) + 1}"),
    "head": plain("classifier.0"),
    "classifier": plain("classifier.3"),
  }
  for index, (row, expands) in enumerate(_rows(module)):
    # A block is a list of those parts that it has.
    parts = ["expand"] * expands + ["depthwise"] + ["excite"] * row.excite + ["project"]
    for place, part in enumerate(parts):
      theirs = f"features.{index + 1}.block.{place}"
      if part == "excite":
        layout[f"block_{index}/excitation/squeeze"] = plain(f"{theirs}.fc1")
        layout[f"block_{index}/excitation/excite"] = plain(f"{theirs}.fc2")
      else:
        layout[f"block_{index}/{part}"] = with_norm(theirs)
  return layout


def timm(module: MobileNetV3) -> Layout:
  """Names of timm's tensors: blocks of the same width make a stage."""
  layout = {
    "stem": folded("conv_stem", "bn1", _TIMM_EPSILON),
    "head": plain("conv_head"),
    "classifier": plain("classifier"),
  }
  stage = place = 0
  for index, (row, expands) in enumerate(_rows(module)):
    if index > 0:
      same = row.features == module.rows[index - 1].features
      stage, place = (stage, place + 1) if same else (stage + 1, 0)
    ours, theirs = f"block_{index}", f"blocks.{stage}.{place}"
    names = {"depthwise": "conv_dw", "project": "conv_pw"}
    if expands:
      names = {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"}
    for number, (part, convolution) in enumerate(names.items(), start=1):
      layout[f"{ours}/{part}"] = folded(
        f"{theirs}.{convolution}", f"{theirs}.bn{number}", _TIMM_EPSILON
      )
    if row.excite:
      layout[f"{ours}/excitation/squeeze"] = plain(f"{theirs}.se.conv_reduce")
      layout[f"{ours}/excitation/excite"] = plain(f"{theirs}.se.conv_expand")
  last = f"blocks.{stage + 1}.0"
  layout["last"] = folded(f"{last}.conv", f"{last}.bn1", _TIMM_EPSILON)
  return layout


def _rows(module: MobileNetV3) -> Iterator[tuple[Bneck, bool]]:
  """Each row, and whether its block has a layer that expands."""
  features = _STEM_FEATURES
  for row in module.rows:
    yield row, row.expanded != features
    features = row.features


LAYOUTS = {"torchvision": torchvision, "timm": timm}
