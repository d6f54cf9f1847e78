"""VGG 16 and 19 (Simonyan and Zisserman, ICLR 2015), with and without BatchNorm.

Where there was a batch normalisation it is folded: the module is the same.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import flax.linen as nn

from cawe_jax.classifiers import layers
from cawe_jax.classifiers.conversion import Layout, folded, plain
from cawe_jax.types import Array

_STAGE_FEATURES = (64, 128, 256, 512, 512)
_HIDDEN_FEATURES = 4096
# Side of the map that the first dense layer reads, whatever the image's size.
_MAP_SIZE = 7


class VGG(nn.Module):
  """Stages of 3 x 3 convolutions, each ended by max pooling, and three dense layers.

  Attributes:
    repeats: Convolutions of each of the five stages.
    num_classes: Number K of classes.
  """

  repeats: tuple[int, int, int, int, int]
  num_classes: int = 1000

  @nn.compact
  def __call__(self, images: Array) -> Array:
    """Images ``[N, H, W, 3]`` in [0, 1] to logits ``[N, K]``."""
    relu = layers.Activation(layers.relu)
    x = layers.Normalisation(layers.IMAGENET_MEAN, layers.IMAGENET_DEVIATION)(images)
    for stage, features in enumerate(_STAGE_FEATURES):
      for repeat in range(self.repeats[stage]):
        x = layers.Convolution(features, 3, 1, 1, name=f"stage_{stage}_conv_{repeat}")(
          x
        )
        x = relu(x)
      x = layers.MaxPool(2, 2)(x)
    x = layers.AdaptiveAveragePool(_MAP_SIZE)(x)
    # One window over the whole map: a dense layer that keeps its kernel's shape.
    x = layers.PatchConvolution(_HIDDEN_FEATURES, _MAP_SIZE, name="hidden_0")(x)
    x = layers.Dense(_HIDDEN_FEATURES, name="hidden_1")(relu(x)[:, 0, 0])
    return layers.Dense(self.num_classes, name="classifier")(relu(x))


def _positions(module: VGG, step: int) -> Iterator[tuple[str, int]]:
  """Our convolutions and their places in the published list of layers.

  Args:
    module: The network.
    step: Entries per convolution: itself, its normalisation if any, its ReLU.
  """
  position = 0
  for stage, repeats in enumerate(module.repeats):
    for repeat in range(repeats):
      yield f"stage_{stage}_conv_{repeat}", position
      position += step
    position += 1  # max pooling


def _features(module: VGG) -> Layout:
  return {ours: plain(f"features.{i}") for ours, i in _positions(module, step=2)}


def _normalised_features(module: VGG) -> Layout:
  return {
    ours: folded(f"features.{i}", f"features.{i + 1}", with_bias=True)
    for ours, i in _positions(module, step=3)
  }


_TORCHVISION_HEAD = {
  "hidden_0": plain("classifier.0"),
  "hidden_1": plain("classifier.3"),
  "classifier": plain("classifier.6"),
}
_TIMM_HEAD = {
  "hidden_0": plain("pre_logits.fc1"),
  "hidden_1": plain("pre_logits.fc2"),
  "classifier": plain("head.fc"),
}


def _with_head(features, head: Layout, module: VGG) -> Layout:
  return features(module) | head


LAYOUTS = {
  "torchvision": functools.partial(_with_head, _features, _TORCHVISION_HEAD),
  "timm": functools.partial(_with_head, _features, _TIMM_HEAD),
}
BATCH_NORM_LAYOUTS = {
  "torchvision": functools.partial(_with_head, _normalised_features, _TORCHVISION_HEAD),
  "timm": functools.partial(_with_head, _normalised_features, _TIMM_HEAD),
}
