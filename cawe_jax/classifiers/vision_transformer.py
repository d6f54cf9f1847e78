"""Vision transformers: ViT (Dosovitskiy et al., ICLR 2021) and DeiT (ICML 2021).

The two differ in training and in what they subtract from an image. A network takes
images of its own size alone, since each patch has a learned position; others are told
to resize.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax.numpy as jnp

from cawe_jax.classifiers import layers
from cawe_jax.classifiers.conversion import Layout, Source, plain
from cawe_jax.types import Array

_PATCH_SIZE = 16
_EPSILON = 1e-6
_HALF = (0.5, 0.5, 0.5)


class EncoderBlock(nn.Module):
  """Attention, then two dense layers; each normalised before and added."""

  num_heads: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """``[N, L, C]`` to the same shape."""
    channels = x.shape[-1]
    y = layers.LayerNorm(_EPSILON, name="norm_1")(x)
    y = layers.Attention(self.num_heads, name="attention")(y)
    x = layers.Add()(x, y)
    y = layers.LayerNorm(_EPSILON, name="norm_2")(x)
    y = layers.Dense(4 * channels, name="expand")(y)
    y = layers.Dense(channels, name="project")(layers.Activation(layers.gelu)(y))
    return layers.Add()(x, y)


class VisionTransformer(nn.Module):
  """A transformer over patches of 16 x 16 pixels, read out at a class token.

  Attributes:
    features: Channels of a token.
    num_heads: Heads of attention.
    depth: Number of blocks.
    input_size: Side of the images in pixels.
    mean: Subtracted from each colour.
    deviation: Divides each colour.
    num_classes: Number K of classes.
  """

  features: int
  num_heads: int
  depth: int = 12
  input_size: int = 224
  mean: tuple[float, float, float] = _HALF
  deviation: tuple[float, float, float] = _HALF
  num_classes: int = 1000

  @nn.compact
  def __call__(self, images: Array) -> Array:
    """Images ``[N, H, W, 3]`` in [0, 1] to logits ``[N, K]``.

    Raises:
      ValueError: Images of another size.
    """
    n, height, width, _ = images.shape
    if (height, width) != (self.input_size, self.input_size):
      raise ValueError(
        f"images are {height} x {width}; this vision transformer takes "
        f"{self.input_size} x {self.input_size} alone"
      )
    x = layers.Normalisation(self.mean, self.deviation)(images)
    x = layers.PatchConvolution(self.features, _PATCH_SIZE, name="patches")(x)
    x = x.reshape(n, -1, self.features)
    small = nn.initializers.normal(0.02)
    token = self.param("class_token", small, (1, 1, self.features))
    x = jnp.concatenate([jnp.tile(token, (n, 1, 1)), x], axis=1)
    position = self.param("position", small, (1, x.shape[1], self.features))
    x = layers.Add()(x, position)
    for index in range(self.depth):
      x = EncoderBlock(self.num_heads, name=f"block_{index}")(x)
    x = layers.LayerNorm(_EPSILON, name="norm")(x)
    return layers.Dense(self.num_classes, name="classifier")(x[:, 0])


def timm(module: VisionTransformer) -> Layout:
  """Names of timm's tensors, which the DeiT authors' files share."""
  layout = {
    "patches": plain("patch_embed.proj"),
    "class_token": Source("cls_token"),
    "position": Source("pos_embed"),
    "norm": plain("norm"),
    "classifier": plain("head"),
  }
  for index in range(module.depth):
    ours, theirs = f"block_{index}", f"blocks.{index}"
    layout |= {
      f"{ours}/norm_1": plain(f"{theirs}.norm1"),
      f"{ours}/attention/query_key_value": plain(f"{theirs}.attn.qkv"),
      f"{ours}/attention/projection": plain(f"{theirs}.attn.proj"),
      f"{ours}/norm_2": plain(f"{theirs}.norm2"),
      f"{ours}/expand": plain(f"{theirs}.mlp.fc1"),
      f"{ours}/project": plain(f"{theirs}.mlp.fc2"),
    }
  return layout


def torchvision(hidden: tuple[str, str], module: VisionTransformer) -> Layout:
  """Names of torchvision's tensors; ``hidden`` those of a block's two dense layers."""
  layout = {
    "patches": plain("conv_proj"),
    "class_token": Source("class_token"),
    "position": Source("encoder.pos_embedding"),
    "norm": plain("encoder.ln"),
    "classifier": plain("heads.head"),
  }
  for index in range(module.depth):
    ours, theirs = f"block_{index}", f"encoder.layers.encoder_layer_{index}"
    attention = f"{theirs}.self_attention"
    layout |= {
      f"{ours}/norm_1": plain(f"{theirs}.ln_1"),
      f"{ours}/attention/query_key_value": Source(
        f"{attention}.in_proj_weight", f"{attention}.in_proj_bias"
      ),
      f"{ours}/attention/projection": plain(f"{attention}.out_proj"),
      f"{ours}/norm_2": plain(f"{theirs}.ln_2"),
      f"{ours}/expand": plain(f"{theirs}.mlp.{hidden[0]}"),
      f"{ours}/project": plain(f"{theirs}.mlp.{hidden[1]}"),
    }
  return layout


TIMM_LAYOUTS = {"timm": timm}
TORCHVISION_LAYOUTS = {
  "torchvision": functools.partial(torchvision, ("0", "3")),
  # The published file is from before the layers were renamed.
  "torchvision 0.12": functools.partial(torchvision, ("linear_1", "linear_2")),
}
