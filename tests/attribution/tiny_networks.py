"""Tiny networks of the library's layers with random weights."""

import functools

import flax.linen as nn
import jax
import numpy as np

from cawe_jax import Classifier
from cawe_jax.classifiers import layers

MEAN, DEVIATION = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


class TinyNetwork(nn.Module):
  """Every kind of layer that a convolutional network with ReLU may have."""

  @nn.compact
  def __call__(self, images):
    relu, relu6 = layers.Activation(layers.relu), layers.Activation(layers.relu6)
    x = layers.Normalisation(MEAN, DEVIATION)(images)
    x = relu(layers.Convolution(6, 3, 1, 1, name="stem")(x))
    x = layers.MaxPool(2, 2)(x)
    y = relu6(layers.DepthwiseConvolution(3, name="depthwise")(x))
    x = layers.Add()(x, layers.Dense(6, name="project")(y))
    x = relu(layers.PatchConvolution(8, 2, name="patches")(x))
    return layers.Dense(5, name="head")(layers.GlobalAveragePool()(x))


@functools.cache
def apply_fn(module):
  return lambda params, images: module.apply({"params": params}, images)


def make_network(module, image_shape=(12, 10, 3), bias=0.3, seed=0):
  """A classifier with random kernels of He's scale and biases of the given size."""
  rng = np.random.default_rng(seed)
  shapes = jax.eval_shape(
    module.init, jax.random.key(0), np.zeros((1, *image_shape), np.float32)
  )["params"]

  def draw(path, leaf):
    if path[-1].key == "bias":
      return rng.normal(0, 1, leaf.shape).astype(np.float32) * np.float32(bias)
    scale = (2 / max(np.prod(leaf.shape[:-1]), 9)) ** 0.5
    return rng.normal(0, scale, leaf.shape).astype(np.float32)

  params = jax.tree_util.tree_map_with_path(draw, shapes)
  name = type(module).__name__
  return Classifier(apply_fn(module), params, image_shape[:2], name=name)
