"""What every attribution keeps: one table, the same tests for all."""

import dataclasses
import importlib.util
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_networks import make_network

from cawe_jax import Classifier, attribution, classifiers
from cawe_jax.classifiers import from_function, layers
from cawe_jax.representations import pixel, wavelet

# Numbers of samples that no number of rows divides.
TABLE = {
  "gradient_x_input": attribution.gradient_x_input,
  "integrated_gradients": lambda: attribution.integrated_gradients(5),
  "smooth_grad": lambda: attribution.smooth_grad(5),
  "var_grad": lambda: attribution.var_grad(5),
  "guided_backprop": attribution.guided_backprop,
  "lrp": attribution.lrp,
  "grad_cam": attribution.grad_cam,
  "guided_grad_cam": attribution.guided_grad_cam,
  "lime": lambda: attribution.lime(num_samples=23, num_segments=6),
  "rise": lambda: attribution.rise(num_masks=23, num_cells=3),
  "random_ranking": lambda: attribution.random_ranking(wavelet("haar", levels=1)),
}
RANDOM = {"smooth_grad", "var_grad", "lime", "rise", "random_ranking"}
TARGETS = [1, 4, 2]


def test_the_table_is_complete():
  classes = {"Attribution", "Relevance"}
  assert TABLE.keys() == set(attribution.__all__) - classes - {"completeness"}


@pytest.mark.parametrize("name", TABLE)
def test_equal_settings_are_equal_structure(name):
  made = TABLE[name]()
  assert made == TABLE[name]()
  assert hash(made) == hash(TABLE[name]())
  # The name is a call that makes the same again.
  names = {name: getattr(attribution, name), "pixel": pixel, "wavelet": wavelet}
  assert eval(made.name, names) == made
  assert jax.tree.leaves(made) == []


def test_other_settings_are_other_structure():
  assert attribution.rise(3) != attribution.rise(4)
  assert attribution.smooth_grad(3) != attribution.var_grad(3)
  assert attribution.integrated_gradients(baseline=0.5) != (
    attribution.integrated_gradients()
  )
  assert attribution.integrated_gradients(baseline=1) == (
    attribution.integrated_gradients(baseline=1.0)
  )


@pytest.mark.parametrize("name", TABLE)
def test_contract(name, tiny, images, key):
  num_traces = 0

  def counted(params, images):
    nonlocal num_traces
    num_traces += 1
    return tiny.apply(params, images)

  classifier = Classifier(counted, tiny.params, 12)
  method = TABLE[name]()
  together = method(classifier, images, TARGETS, key)

  shapes = method.transform(images.shape[1:]).mask_shapes
  assert [leaf.shape for leaf in together] == [(3, *shape) for shape in shapes]
  for leaf in together:
    assert leaf.dtype == jnp.float32
    assert not leaf.weak_type
    assert np.ptp(leaf[0]) > 0  # something is ranked

  before = num_traces
  again = TABLE[name]()(classifier, images[::-1], TARGETS[::-1], key)
  assert num_traces == before, "a second call traced the network again"
  for leaf, other in zip(together, again, strict=True):
    assert_same_sums(other[::-1], leaf)

  other = method(classifier, images, TARGETS, jax.random.key(1))
  same = all(np.array_equal(a, b) for a, b in zip(together, other, strict=True))
  assert same != (name in RANDOM)
  if name != "random_ranking":
    (leaf,) = method(classifier, images, [0, 4, 2], key)
    # Another target is no matter of rounding, which is below 1e-5 of the largest.
    assert not np.allclose(leaf[0], together[0][0], atol=1e-3 * np.abs(leaf[0]).max())
    np.testing.assert_array_equal(leaf[1:], together[0][1:])


def assert_same_sums(actual, expected):
  # Place and company of an image change at most the order of sums of tens of float32
  # numbers; LIME solves equations with these sums.
  scale = np.abs(expected).max()
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("name", ["smooth_grad", "lime"])
def test_an_image_alone_is_as_in_a_batch(name, tiny, images, key):
  # Its superpixels are fewer, and its samples lie elsewhere in the rows of a call.
  flat = images.copy()
  flat[1] = 0.5
  flat[1, :6] = 0.2
  together = TABLE[name]()(tiny, flat, TARGETS, key)
  alone = TABLE[name]()(tiny, flat[1:2], TARGETS[1:2], key)
  for leaf, one in zip(together, alone, strict=True):
    assert_same_sums(one[0], leaf[1])


def test_one_target_for_all_images(tiny, images, key):
  method = attribution.gradient_x_input()
  (one,) = method(tiny, images, 2, key)
  (each,) = method(tiny, images, [2, 2, 2], key)
  np.testing.assert_array_equal(one, each)


# The others reach into layers, which do not know how many colours there are.
@pytest.mark.parametrize("name", ["integrated_gradients", "var_grad", "lime", "rise"])
def test_grey_images(name, key):
  def apply(params, images):
    return jnp.stack([images.sum((1, 2, 3)), (images[:, 0] ** 2).sum((1, 2))], 1)

  images = np.random.default_rng(0).random((1, 9, 8, 1), np.float32)
  (leaf,) = TABLE[name]()(Classifier(apply, (), 8), images, 1, key)
  assert leaf.shape == (1, 1, 9, 8, 1)


@pytest.mark.parametrize("name", ["gradient_x_input", "rise", "random_ranking"])
def test_one_image_is_that_image_in_a_batch(name, tiny, images, key):
  batch = TABLE[name]()(tiny, images, TARGETS, key)
  one = TABLE[name]()(tiny, images[1], TARGETS[1], key)
  for leaf, leaves in zip(one, batch, strict=True):
    assert leaf.shape == leaves.shape[1:]
    # 32-bit sums in another order.
    np.testing.assert_allclose(leaf, leaves[1], rtol=1e-4, atol=1e-5)


def test_by_default_the_predicted_class_is_explained(tiny, images, key):
  predicted = np.asarray(tiny(images)).argmax(1)
  found = attribution.rise(23, num_cells=3)(tiny, images)
  asked = attribution.rise(23, num_cells=3)(tiny, images, predicted, jax.random.key(0))
  np.testing.assert_array_equal(found[0], asked[0])
  other = attribution.rise(23, num_cells=3)(tiny, images, (predicted + 1) % 5)
  assert np.abs(other[0] - found[0]).max() > 1e-3


def test_targets_may_be_names(tiny, images):
  named = dataclasses.replace(tiny, class_names=("ant", "bee", "cat", "dog", "eel"))
  method = attribution.gradient_x_input()
  (found,) = method(named, images, ["bee", "eel", 2])
  np.testing.assert_array_equal(found, method(tiny, images, TARGETS)[0])
  (one,) = method(named, images[0], "Bee")
  np.testing.assert_array_equal(one, method(tiny, images[0], 1)[0])
  with pytest.raises(ValueError, match="target 'fox' is no class"):
    method(named, images, "fox")


def test_the_output_of_a_regression_must_not_be_left_open(tiny, images):
  values = dataclasses.replace(tiny, output=classifiers.regression(1.0))
  with pytest.raises(ValueError, match=r"say which of its outputs 0 to 4 is explained"):
    attribution.gradient_x_input()(values, images)


def test_completeness_of_one_image(tiny, images):
  relevance = attribution.integrated_gradients(5)(tiny, images[0], 1)
  found = attribution.completeness(tiny, images[0], 1, relevance)
  batch = tuple(leaf[None] for leaf in relevance)
  assert found.shape == ()
  np.testing.assert_allclose(
    found, attribution.completeness(tiny, images[:1], 1, batch)[0], rtol=1e-6
  )


BAD_CALLS = {
  "images has shape (12, 10); it must be": {"images": lambda x: x[0, ..., 0]},
  "images has values in [-1.0, -1.0]": {"images": lambda x: 0 * x - 1},
  "images has type int32": {"images": lambda x: x.astype(np.int32)},
  "targets is [1, 2]; it must be one integer": {"targets": lambda _: [1, 2]},
  "target is 5; allowed are 0 to 4": {"targets": lambda _: [0, 5, 0]},
  "it must be a typed key": {"key": lambda _: np.zeros(2, np.uint32)},
}


@pytest.mark.parametrize("message", BAD_CALLS)
def test_bad_calls_are_refused_in_one_line(message, tiny, images, key):
  arguments = {"images": images, "targets": TARGETS, "key": key}
  for name, change in BAD_CALLS[message].items():
    arguments[name] = change(arguments[name])
  with pytest.raises(ValueError) as error:  # noqa: PT011
    attribution.gradient_x_input()(tiny, **arguments)
  assert message in str(error.value)
  assert "\n" not in str(error.value)


BAD_FACTORIES = {
  "num_steps is 0": lambda: attribution.integrated_gradients(0),
  "baseline is 1.5": lambda: attribution.integrated_gradients(baseline=1.5),
  "baseline has shape (2, 2) and values in": lambda: attribution.integrated_gradients(
    baseline=np.zeros((2, 2))
  ),
  "baseline has shape (2, 2, 1) and values in [2.0, 2.0]": lambda: (
    attribution.integrated_gradients(baseline=np.full((2, 2, 1), 2.0))
  ),
  "baseline is nan": lambda: attribution.integrated_gradients(baseline=float("nan")),
  "num_samples is 2.5": lambda: attribution.smooth_grad(2.5),
  "sigma is -0.1": lambda: attribution.smooth_grad(sigma=-0.1),
  "num_samples is 1; it must be an integer from 2 to": lambda: attribution.var_grad(1),
  "epsilon is -1": lambda: attribution.lrp(epsilon=-1),
  "gamma is inf": lambda: attribution.lrp(gamma=float("inf")),
  "num_samples is 0": lambda: attribution.lime(0),
  "num_segments is 0": lambda: attribution.lime(num_segments=0),
  "kernel_width is 0": lambda: attribution.lime(kernel_width=0),
  "ridge is 0": lambda: attribution.lime(ridge=0),
  "num_masks is 0": lambda: attribution.rise(0),
  "num_cells is 0": lambda: attribution.rise(num_cells=0),
  "keep_probability is 1": lambda: attribution.rise(keep_probability=1),
}


@pytest.mark.parametrize("message", BAD_FACTORIES)
def test_bad_settings_are_refused(message):
  with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
    BAD_FACTORIES[message]()


def test_lime_without_scikit_image(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ValueError, match=r"needs scikit-image: pip install 'cawe-jax\["):
    attribution.lime(num_samples=7)


class Transformer(nn.Module):
  @nn.compact
  def __call__(self, images):
    tokens = layers.PatchConvolution(4, 2)(images).reshape(len(images), -1, 4)
    tokens = layers.Attention(2)(layers.LayerNorm()(tokens))
    return layers.Dense(5)(tokens.mean(1))


class Swish(nn.Module):
  @nn.compact
  def __call__(self, images):
    x = layers.Activation(layers.hard_swish)(layers.Convolution(4, 3)(images))
    return layers.Dense(5)(layers.GlobalAveragePool()(x))


class Foreign(nn.Module):
  """Flax's own convolution, whose relevance nobody would rule."""

  @nn.compact
  def __call__(self, images):
    x = layers.Activation(layers.relu)(nn.Conv(4, (3, 3))(images))
    return layers.Dense(5)(layers.GlobalAveragePool()(x))


class Flat(nn.Module):
  @nn.compact
  def __call__(self, images):
    x = layers.Dense(4)(images.reshape(len(images), -1))
    return layers.Dense(5)(layers.Activation(layers.relu)(x))


def plain_function():
  return from_function(lambda images: images.sum((1, 2)), 12, name="plain")


RELU_ONLY = ("guided_backprop", "lrp", "guided_grad_cam")
UNSUITABLE = [
  *(
    (name, Transformer, "'Transformer' has LayerNorm, MatrixProduct, Softmax")
    for name in RELU_ONLY
  ),
  *((name, Swish, "'Swish' has hard_swish") for name in RELU_ONLY),
  *((name, Foreign, "'Foreign' has Conv") for name in RELU_ONLY),
  *((name, plain_function, "'plain' shows no layers of") for name in RELU_ONLY),
  ("grad_cam", Transformer, "'Transformer' has none"),
  ("grad_cam", plain_function, "'plain' has none"),
  ("guided_grad_cam", Flat, "'Flat' has none"),
  ("lrp", Flat, "'Flat' does something else before"),
]


@pytest.mark.parametrize(("name", "make", "message"), UNSUITABLE)
def test_networks_that_a_method_is_not_for(name, make, message, images, key):
  made = make()
  classifier = make_network(made) if isinstance(made, nn.Module) else made
  with pytest.raises(ValueError, match=message) as error:
    TABLE[name]()(classifier, images, 0, key)
  assert str(error.value).startswith(name)
  assert "\n" not in str(error.value)


def test_grad_cam_needs_no_relu(images, key):
  (leaf,) = attribution.grad_cam()(make_network(Swish()), images, 0, key)
  assert leaf.max() > 0


def test_not_a_number_is_an_error(images, key):
  broken = from_function(lambda x: jnp.sqrt(x.sum((1, 2)) - 1e6), 12, name="broken")
  with pytest.raises(ValueError, match=r"found NaN .* classifier 'broken'"):
    attribution.gradient_x_input()(broken, images, 0, key)


def test_a_network_that_was_compiled_before(tiny, images, key):
  """Its program must not be used where layers are replaced."""
  compiled = Classifier(jax.jit(tiny.apply), tiny.params, 12)
  plain = attribution.gradient_x_input()
  np.testing.assert_allclose(
    plain(compiled, images, TARGETS, key)[0], plain(tiny, images, TARGETS, key)[0],
    rtol=1e-5, atol=1e-5,
  )  # fmt: skip
  with pytest.raises(ValueError, match=r"cannot take .* jax\.jit"):
    attribution.grad_cam()(compiled, images, TARGETS, key)
  guided = attribution.guided_backprop()
  for _ in range(2):
    np.testing.assert_allclose(
      guided(compiled, images, TARGETS, key)[0],
      guided(tiny, images, TARGETS, key)[0],
      rtol=1e-5,
      atol=1e-5,
    )
