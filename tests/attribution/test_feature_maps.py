"""Grad-CAM of a layer of any network, compared with its formula written out."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cawe_jax.attribution import grad_cam
from cawe_jax.classifiers import Classifier, from_function, from_linen, from_nnx
from cawe_jax.part import Part

KEY = jax.random.key(0)
IMAGES = jax.random.uniform(KEY, (2, 8, 8, 3))
TARGETS = np.array([1, 2])
SHAPE = (3, 3, 3, 4)
KERNEL = jax.random.normal(KEY, SHAPE)
MATRIX = jax.random.normal(KEY, (4 * 4 * 4, 3))


def features(params, images):
  """A convolution with stride 2 and a bend: ``[N, 4, 4, 4]``."""
  layout = ("NHWC", "HWIO", "NHWC")
  kernel = params["kernel"]
  maps = jax.lax.conv_general_dilated(
    images, kernel, (2, 2), "SAME", dimension_numbers=layout
  )
  return jnp.tanh(maps)


def head(params, maps):
  """A matrix on all of the map, so that gradients differ from place to place."""
  return maps.reshape(len(maps), -1) ** 2 @ params["matrix"]


def plain():
  params = {"kernel": KERNEL, "matrix": MATRIX}
  return Classifier(lambda p, x: head(p, features(p, x)), params, 8, name="plain")


class Bend(nn.Module):
  @nn.compact
  def __call__(self, images):
    conv = nn.Conv(4, (3, 3), 2, use_bias=False, name="conv")
    return nn.tanh(conv(images))


class Linen(nn.Module):
  @nn.compact
  def __call__(self, images):
    maps = Bend(name="bend")(images)
    return nn.Dense(3, use_bias=False, name="top")(maps.reshape(len(maps), -1) ** 2)


def linen():
  params = {"bend": {"conv": {"kernel": KERNEL}}, "top": {"kernel": MATRIX}}
  return from_linen(Linen(), {"params": params}, 8)


class NnxBend(nnx.Module):
  def __init__(self, rngs):
    self.conv = nnx.Conv(3, 4, (3, 3), 2, use_bias=False, rngs=rngs)
    self.conv.kernel[...] = KERNEL

  def __call__(self, images):
    return jnp.tanh(self.conv(images))


class Nnx(nnx.Module):
  def __init__(self, rngs):
    self.layers = nnx.List([NnxBend(rngs)])
    self.top = nnx.Linear(64, 3, use_bias=False, rngs=rngs)
    self.top.kernel[...] = MATRIX

  def __call__(self, images):
    for layer in self.layers:
      images = layer(images)
    return self.top(images.reshape(len(images), -1) ** 2)


NETWORKS = {
  "linen": (linen, "bend"),
  "nnx": (lambda: from_nnx(Nnx(nnx.Rngs(0)), 8), "layers/0"),
  "pair": (plain, (features, head)),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_grad_cam_of_a_layer_is_its_formula(kind):
  make, layer = NETWORKS[kind]
  (found,) = grad_cam(layer=layer)(make(), IMAGES, TARGETS, KEY)
  params = {"kernel": KERNEL, "matrix": MATRIX}
  for image, target, row in zip(IMAGES, TARGETS, found, strict=True):
    maps = features(params, image[None])
    gradient = jax.grad(lambda maps, t=target: head(params, maps)[0, t])(maps)
    weights = np.asarray(gradient[0]).mean((0, 1))
    coarse = np.maximum((np.asarray(maps[0]) * weights).sum(-1), 0)
    expected = jax.image.resize(coarse, (8, 8), "bilinear")
    assert expected.max() > 0
    np.testing.assert_allclose(row[0, ..., 0], expected, rtol=1e-4, atol=1e-5)


class scaled_features(Part):
  """The first half with an array of its own."""

  scale: Any

  def __call__(self, params, images):
    return self.scale * features(params, images)


def test_arrays_of_a_half_are_data():
  traced = []

  def noted(params, maps):
    traced.append(maps.shape)
    return head(params, maps)

  def run(scale):
    method = grad_cam(layer=(scaled_features(jnp.float32(scale)), noted))
    return np.asarray(method(classifier, IMAGES, TARGETS, KEY)[0])

  classifier = plain()
  one = run(1.0)
  traced.clear()
  two = run(2.0)
  assert traced == []
  # The map and its gradient are both twice as large.
  np.testing.assert_allclose(two, 4 * one, rtol=1e-4, atol=1e-5)


def test_the_model_stays_as_it_was():
  model = Nnx(nnx.Rngs(0))
  classifier = from_nnx(model, 8)
  before = classifier(IMAGES)
  grad_cam(layer="layers/0")(classifier, IMAGES, TARGETS, KEY)
  assert type(model.layers[0]) is NnxBend
  np.testing.assert_array_equal(classifier(IMAGES), before)


class Twice(nn.Module):
  @nn.compact
  def __call__(self, images):
    conv = nn.Conv(3, (3, 3), name="conv")
    return conv(conv(images)).mean((1, 2))


def twice():
  return from_linen(Twice(), Twice().init(KEY, IMAGES), 8)


@pytest.mark.parametrize(
  ("make", "layer", "message"),
  [
    (
      linen,
      "bent",
      r"'bent', which classifier 'Linen' does not have; it has: bend/conv, ",
    ),
    (NETWORKS["nnx"][0], "top/0", r"does not have; it has: .*layers/0.*, top"),
    (plain, "conv", r"'plain' shows no layers of Flax; give a pair \(features, head\)"),
    (twice, "conv", r"is \[N, 8, 8, 3\], \[N, 8, 8, 3\]; it must be made once"),
    (linen, "top", r"grad_cam\(layer='top'\): the map .* is \[N, 3\]; it must be"),
    (linen, None, "give layer, the name of a layer or a pair"),
  ],
)
def test_a_layer_that_has_no_map_is_refused(make, layer, message):
  with pytest.raises(ValueError, match=message) as error:
    grad_cam(layer=layer)(make(), IMAGES, TARGETS, KEY)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("layer", ["", 3, (features,), (features, "head")])
def test_what_is_no_layer_is_refused(layer):
  with pytest.raises(
    ValueError, match=r"layer is .*; it must be a layer's name, a pair"
  ):
    grad_cam(layer=layer)


def test_a_function_under_jit_has_no_named_layers():
  compiled = jax.jit(lambda images: linen()(images))
  with pytest.raises(
    ValueError, match=r"under jax\.jit; give classifier 'function' one"
  ):
    grad_cam(layer="bend")(from_function(compiled, 8), IMAGES, TARGETS, KEY)
