"""Relevance propagation: conservation, and a twin that follows the textbook's sums."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest
from tiny_networks import DEVIATION, MEAN, TinyNetwork, make_network

from cawe_jax.attribution import lrp
from cawe_jax.classifiers import layers
from cawe_jax.classifiers.efficientnet_lite import EfficientNetLite
from cawe_jax.classifiers.resnet import BasicBlock, Bottleneck, ResNet

KEY = jax.random.key(0)


class VggHead(nn.Module):
  """As VGG ends: a pooled map, read whole by a dense layer."""

  @nn.compact
  def __call__(self, images):
    relu = layers.Activation(layers.relu)
    x = relu(layers.Convolution(6, 3, 1, 1, name="stem")(images))
    x = layers.AdaptiveAveragePool(3)(x)
    x = relu(layers.PatchConvolution(7, 3, name="hidden")(x)[:, 0, 0])
    return layers.Dense(5, name="head")(x)


NETWORKS = {
  "tiny": (TinyNetwork(), (12, 10, 3)),
  "vgg head": (VggHead(), (8, 7, 3)),
  "resnet": (ResNet(BasicBlock, (1, 1, 1, 1), num_classes=5), (33, 32, 3)),
  "bottlenecks": (ResNet(Bottleneck, (1, 1, 1, 1), num_classes=5), (33, 32, 3)),
  "lite": (EfficientNetLite(0.25, 0.3, num_classes=5), (33, 32, 3)),
}


# The rules of the large ones are those of the tiny ones; they compile for up to 10 s.
CASES = ["tiny", "vgg head"] + [
  pytest.param(name, marks=pytest.mark.slow)
  for name in ("resnet", "bottlenecks", "lite")
]


@pytest.mark.parametrize("name", CASES)
def test_conservation_without_biases(name):
  module, shape = NETWORKS[name]
  classifier = make_network(module, shape, bias=0)
  images = np.random.default_rng(2).random((2, *shape), np.float32)
  targets = np.array([3, 1])
  (leaf,) = lrp()(classifier, images, targets, KEY)
  outputs = np.asarray(classifier(images))[np.arange(2), targets]
  # Epsilon takes up to 1e-6 of each layer's weak outputs, and rounding adds up over
  # tens of layers.
  np.testing.assert_allclose(leaf.sum((1, 2, 3, 4)), outputs, rtol=1e-3)
  assert np.abs(outputs).min() > 1e-4


def test_a_saturated_relu6_passes_all_relevance():
  module, shape = NETWORKS["tiny"]
  classifier = make_network(module, shape, bias=0)
  params = jax.tree.map(np.copy, classifier.params)
  params["depthwise"]["kernel"] *= 30
  classifier = dataclasses.replace(classifier, params=params)
  images = np.random.default_rng(2).random((2, *shape), np.float32)
  outputs = classifier(images)
  (leaf,) = lrp()(classifier, images, 0, KEY)
  np.testing.assert_allclose(leaf.sum((1, 2, 3, 4)), outputs[:, 0], rtol=1e-3)
  # It did saturate: ten times the kernel is no ten times the branch.
  before, after = jax.tree.map(np.copy, params), jax.tree.map(np.copy, params)
  before["depthwise"]["kernel"] *= 10
  after["project"]["kernel"] *= 10
  before, after = (
    dataclasses.replace(classifier, params=scaled) for scaled in (before, after)
  )
  assert not np.allclose(before(images), after(images), rtol=0.1)


def test_biases_keep_their_share():
  module, shape = NETWORKS["tiny"]
  classifier = make_network(module, shape)
  images = np.random.default_rng(2).random((2, *shape), np.float32)
  outputs = classifier(images)[:, 0]
  (leaf,) = lrp()(classifier, images, 0, KEY)
  assert np.all(np.abs(leaf.sum((1, 2, 3, 4)) - outputs) > 0.01 * np.abs(outputs))


class Twin(nn.Module):
  """All three rules, and outputs of convolutions of either sign behind a sum."""

  @nn.compact
  def __call__(self, images):
    relu = layers.Activation(layers.relu)
    x = layers.Normalisation(MEAN, DEVIATION)(images)
    x = relu(layers.Convolution(4, 3, 2, 1, name="stem")(x))
    y = layers.DepthwiseConvolution(3, 1, 1, name="depthwise")(x)
    x = layers.Add()(x, layers.Dense(4, name="project")(y))
    x = layers.Activation(layers.relu6)(x)
    x = layers.Dense(6, name="hidden")(layers.GlobalAveragePool()(x))
    return layers.Dense(3, name="head")(relu(x))


@pytest.mark.parametrize(("epsilon", "gamma"), [(1e-6, 0.25), (0.1, 2.0), (0.0, 0.0)])
def test_textbook_sums(epsilon, gamma):
  """Every layer as a matrix of contributions, shared out as the papers print it."""
  classifier = make_network(Twin(), (6, 5, 3), bias=0.5, seed=3)
  images = np.random.default_rng(4).random((1, 6, 5, 3), np.float32)
  (leaf,) = lrp(epsilon, gamma)(classifier, images, 2, KEY)
  expected = twin(classifier.params, images[0], 2, epsilon, gamma)
  # Some hundred float32 operations; the twin computes in float64.
  np.testing.assert_allclose(
    leaf[0, 0, :, :, 0], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max()
  )


def matrix(module, params, shape):
  """The layer's matrix [outputs, inputs] and bias [outputs], read off the identity."""
  size = int(np.prod(shape))
  rows = np.concatenate([np.zeros((1, size)), np.eye(size)]).astype(np.float32)
  outputs = module.apply({"params": params}, rows.reshape(-1, *shape))
  flat = np.asarray(outputs, np.float64).reshape(size + 1, -1)
  return (flat[1:] - flat[0]).T, flat[0], outputs.shape[1:]


def share_out(contributions, bias, relevance, epsilon, gamma):
  """Generalised gamma: contributions of the output's sign count 1 + gamma times."""
  z = contributions.sum(1) + bias
  received = np.zeros(contributions.shape[1])
  for k, total in enumerate(z):
    sign = np.sign(total)
    factors = np.where(sign * contributions[k] > 0, 1 + gamma, 1)
    shares = factors * contributions[k]
    own = bias[k] * (1 + gamma if sign * bias[k] > 0 else 1)
    received += shares / (shares.sum() + own + epsilon * sign) * relevance[k]
  return received


def twin(params, image, target, epsilon, gamma):
  stem = layers.Convolution(4, 3, 2, 1)
  stem_matrix, stem_bias, shape = matrix(stem, params["stem"], image.shape)
  depthwise = layers.DepthwiseConvolution(3, 1, 1)
  depthwise_matrix, depthwise_bias, _ = matrix(depthwise, params["depthwise"], shape)
  project_matrix, project_bias, _ = matrix(layers.Dense(4), params["project"], shape)
  mean_matrix, _, _ = matrix(layers.GlobalAveragePool(), {}, shape)
  hidden, head = params["hidden"], params["head"]
  # Forward.
  normalised = ((image - np.array(MEAN)) / np.array(DEVIATION)).ravel()
  low = np.broadcast_to((0 - np.array(MEAN)) / DEVIATION, image.shape).ravel()
  high = np.broadcast_to((1 - np.array(MEAN)) / DEVIATION, image.shape).ravel()
  a = np.maximum(stem_matrix @ normalised + stem_bias, 0)
  b = depthwise_matrix @ a + depthwise_bias
  c = project_matrix @ b + project_bias
  d = np.clip(a + c, 0, 6)
  pooled = mean_matrix @ d
  e = np.maximum(hidden["kernel"].T @ pooled + hidden["bias"], 0)
  output = head["kernel"].T @ e + head["bias"]
  # Backward: head and hidden layer by epsilon, the mean and the sum by contribution.
  relevance = np.where(np.arange(len(output)) == target, output, 0)
  relevance = share_out(head["kernel"].T * e, head["bias"], relevance, epsilon, 0)
  relevance = share_out(
    hidden["kernel"].T * pooled, hidden["bias"], relevance, epsilon, 0
  )
  relevance = share_out(mean_matrix * d, np.zeros(len(pooled)), relevance, 0, 0)
  sums = np.where(a + c != 0, a + c, 1)
  of_a, of_c = relevance * a / sums, relevance * c / sums
  of_b = share_out(project_matrix * b, project_bias, of_c, epsilon, gamma)
  of_a += share_out(depthwise_matrix * a, depthwise_bias, of_b, epsilon, gamma)
  # z-box.
  positive, negative = np.maximum(stem_matrix, 0), np.minimum(stem_matrix, 0)
  parts = stem_matrix * normalised - positive * low - negative * high
  shares = parts / (parts.sum(1, keepdims=True) + epsilon)
  return (of_a @ shares).reshape(image.shape).sum(-1)
