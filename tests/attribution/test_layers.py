"""Methods that look inside: Grad-CAM and guided backpropagation in closed form."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from tiny_networks import make_network

from cawe_jax.attribution import grad_cam, guided_backprop, guided_grad_cam
from cawe_jax.classifiers import layers

KEY = jax.random.key(0)
SHAPE = (6, 5, 3)


class OneMap(nn.Module):
  """A map as large as the image, of which the outputs are weighted means."""

  function: object = layers.relu

  @nn.compact
  def __call__(self, images):
    x = layers.Activation(self.function)(layers.Dense(4, name="map")(images))
    return layers.Dense(3, name="head")(layers.GlobalAveragePool()(x))


class TwoLayers(nn.Module):
  """Fully connected, through a map of one pixel."""

  function: object = layers.relu

  @nn.compact
  def __call__(self, images):
    act = layers.Activation(self.function)
    x = act(layers.PatchConvolution(8, 4, name="first")(images))
    x = act(layers.Dense(6, name="second")(x))
    return layers.Dense(3, name="head")(layers.GlobalAveragePool()(x))


def test_grad_cam_of_a_network_that_ends_in_means():
  """There it is the older CAM: channels weighted by the dense layer's weights."""
  classifier = make_network(OneMap(), SHAPE)
  images = np.random.default_rng(0).random((2, *SHAPE), np.float32)
  targets = np.array([2, 0])
  feature_map = np.maximum(
    images @ classifier.params["map"]["kernel"] + classifier.params["map"]["bias"], 0
  )
  weights = classifier.params["head"]["kernel"].T[targets] / (SHAPE[0] * SHAPE[1])
  expected = np.maximum(np.einsum("nhwc,nc->nhw", feature_map, weights), 0)
  assert 0 < (expected == 0).mean() < 1
  (leaf,) = grad_cam()(classifier, images, targets, KEY)
  # A handful of float32 operations.
  np.testing.assert_allclose(leaf[:, 0, :, :, 0], expected, rtol=1e-4, atol=1e-6)
  # And with the guided gradient, which is tested below.
  (guided,) = guided_backprop()(classifier, images, targets, KEY)
  (both,) = guided_grad_cam()(classifier, images, targets, KEY)
  np.testing.assert_allclose(both, guided * leaf, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("function", [layers.relu, layers.relu6])
def test_guided_backprop_of_two_layers(function):
  classifier = make_network(TwoLayers(function), (4, 4, 3), bias=2.0, seed=1)
  params = classifier.params
  params["first"]["bias"][:2] = 9  # where ReLU6 saturates
  images = np.random.default_rng(0).random((1, 4, 4, 3), np.float32)
  upper = 6 if function is layers.relu6 else np.inf
  first, second, head = params["first"], params["second"], params["head"]
  kernel = first["kernel"].reshape(-1, 8)
  z1 = images.reshape(-1) @ kernel + first["bias"]
  z2 = np.clip(z1, 0, upper) @ second["kernel"] + second["bias"]
  g = np.maximum(head["kernel"][:, 1], 0) * ((z2 > 0) & (z2 < upper))
  g = np.maximum(second["kernel"] @ g, 0) * ((z1 > 0) & (z1 < upper))
  assert (z1 > 6).any()
  expected = (kernel @ g).reshape(4, 4, 3).sum(-1)
  assert np.abs(expected).max() > 0.01
  (leaf,) = guided_backprop()(classifier, images, 1, KEY)
  np.testing.assert_allclose(leaf[0, 0, :, :, 0], expected, rtol=1e-4, atol=1e-4)
