"""Networks of Flax and plain functions give what they give, and gradients flow."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cawe_jax import Classifier, attribution, explain, pixel_rde
from cawe_jax.classifiers import (
  check_classifier,
  from_function,
  from_linen,
  from_nnx,
  regression,
  sigmoid,
)
from cawe_jax.engine.programs import segment
from cawe_jax.recipes import fast

SIZE = 8
IMAGES = np.random.default_rng(0).random((3, SIZE, SIZE, 3), np.float32)
KEY = jax.random.key(0)
METHOD = pixel_rde(0.1, recipe=fast()._replace(num_steps=2))


class LinenNetwork(nn.Module):
  features: int = 3

  @nn.compact
  def __call__(self, images, *, train=True):
    x = nn.Conv(4, (3, 3), strides=2)(images)
    x = nn.BatchNorm(use_running_average=not train)(x)
    x = nn.Dropout(0.5, deterministic=not train)(nn.relu(x))
    return nn.Dense(self.features)(x.mean((1, 2)))


class NnxNetwork(nnx.Module):
  def __init__(self, rngs):
    self.conv = nnx.Conv(3, 4, (3, 3), strides=2, rngs=rngs)
    self.norm = nnx.BatchNorm(4, rngs=rngs)
    self.dropout = nnx.Dropout(0.5, rngs=rngs)
    self.head = nnx.Linear(4, 3, rngs=rngs)

  def __call__(self, images):
    x = self.dropout(nnx.relu(self.norm(self.conv(images))))
    return self.head(x.mean((1, 2)))


MEAN = np.array([0.5, -0.2, 0.1, 0.3], np.float32)
VARIANCE = np.array([0.5, 2.0, 0.25, 1.5], np.float32)


@functools.cache
def linen_parts():
  module = LinenNetwork()
  variables = module.init(jax.random.key(0), IMAGES, train=False)
  statistics = {"mean": jnp.asarray(MEAN), "var": jnp.asarray(VARIANCE)}
  return module, {**variables, "batch_stats": {"BatchNorm_0": statistics}}


@functools.cache
def nnx_model():
  model = NnxNetwork(nnx.Rngs(0))
  model.norm.mean[...], model.norm.var[...] = MEAN, VARIANCE
  return model


def by_hand(conv, norm_scale, norm_bias, head):
  """The network in NumPy, one window after the other, from its arrays."""
  (kernel, bias), norm_scale, norm_bias, head = jax.tree.map(
    lambda x: np.asarray(x, np.float64), (conv, norm_scale, norm_bias, head)
  )
  padded = np.pad(np.float64(IMAGES), ((0, 0), (0, 1), (0, 1), (0, 0)))
  x = np.stack(
    [
      [
        np.einsum("nhwc,hwcd->nd", padded[:, i : i + 3, j : j + 3], kernel) + bias
        for j in range(0, SIZE, 2)
      ]
      for i in range(0, SIZE, 2)
    ]
  )
  x = norm_scale * (x - MEAN) / np.sqrt(VARIANCE + 1e-5) + norm_bias
  return np.maximum(x, 0).mean((0, 1)) @ head[0] + head[1]


def expected_linen():
  p = linen_parts()[1]["params"]
  conv, norm, head = p["Conv_0"], p["BatchNorm_0"], p["Dense_0"]
  return by_hand(
    (conv["kernel"], conv["bias"]),
    norm["scale"],
    norm["bias"],
    (head["kernel"], head["bias"]),
  )


def expected_nnx():
  m = nnx_model()
  return by_hand(
    (m.conv.kernel[...], m.conv.bias[...]),
    m.norm.scale[...],
    m.norm.bias[...],
    (m.head.kernel[...], m.head.bias[...]),
  )


def linen(**changes):
  return from_linen(*linen_parts(), SIZE, arguments={"train": False}, **changes)


def function(images):
  return images.mean((1, 2)) @ jnp.eye(3)


CASES = {
  "function": (
    lambda **c: from_function(function, SIZE, **c),
    lambda: IMAGES.mean((1, 2)),
  ),
  "linen": (linen, expected_linen),
  "nnx": (lambda **c: from_nnx(nnx_model(), SIZE, **c), expected_nnx),
}


@pytest.mark.parametrize("name", CASES)
def test_an_adapted_network_computes_what_it_computed(name):
  make, expected = CASES[name]
  classifier = make()
  # linen's epsilon is 1e-5, the network has some hundred operations.
  np.testing.assert_allclose(classifier(IMAGES), expected(), rtol=1e-4, atol=1e-5)
  assert isinstance(classifier, Classifier)
  assert classifier.input_size == SIZE
  check_classifier(classifier, IMAGES)


def test_an_adapted_network_is_explained():
  # The one with the most machinery; the guide's tests explain them all.
  make, _ = CASES["nnx"]
  classifier = make(class_names=["a", "b", "c"], name="mine", output=sigmoid())
  found = explain(classifier, IMAGES[0], METHOD, key=jax.random.key(0), targets=1)
  expected = jax.nn.sigmoid(make()(IMAGES[:1]))[0, 1]
  np.testing.assert_allclose(found.probability, expected, rtol=1e-5)
  # The mask moved away from ones, and the network saw it.
  assert found.history.rate[1] < 1
  assert found.history.distortion[1] != found.history.distortion[0]
  assert (classifier.name, classifier.class_names) == ("mine", ("a", "b", "c"))


@pytest.mark.parametrize("name", CASES)
def test_adapting_again_needs_no_other_program(name):
  num_traces = 0

  @jax.jit
  def run(classifier, images):
    nonlocal num_traces
    num_traces += 1
    return classifier(images)

  make, _ = CASES[name]
  first = run(make(), IMAGES)
  np.testing.assert_array_equal(run(make(), IMAGES), first)
  assert num_traces == 1
  run(make(output=regression(2.0)), IMAGES)
  assert num_traces == 2


@pytest.mark.parametrize("name", ["linen", "nnx"])
def test_weights_are_data(name):
  classifier = CASES[name][0]()
  text = jax.jit(lambda c, x: c(x)).lower(classifier, IMAGES).as_text()
  num_arguments = text.split("public @main(")[1].split("{\n")[0].count("%arg")
  # Kernel, bias, scale, shift, mean, variance, kernel and bias; the images.
  assert num_arguments >= 9
  others = jax.tree.map(lambda x: 2 * x if x.dtype == "float32" else x, classifier)
  assert not np.allclose(others(IMAGES), classifier(IMAGES))


def test_the_nnx_model_is_not_touched():
  model = nnx_model()
  assert not model.norm.use_running_average
  assert not model.dropout.deterministic
  from_nnx(model, SIZE)
  assert not model.norm.use_running_average
  assert not model.dropout.deterministic
  np.testing.assert_array_equal(model.norm.mean[...], MEAN)


@pytest.mark.parametrize("name", ["linen", "nnx"])
def test_a_donated_training_step_leaves_the_classifier(name):
  """As optax's examples train: the old parameters' memory becomes the new ones'."""
  if name == "nnx":
    model = NnxNetwork(nnx.Rngs(0))
    classifier, trained = from_nnx(model, SIZE), nnx.state(model)
  else:
    module, variables = linen_parts()
    trained = jax.tree.map(jnp.copy, variables)
    classifier = from_linen(module, trained, SIZE, arguments={"train": False})
  before = np.asarray(classifier(IMAGES))
  for leaf in jax.tree.leaves(trained):
    leaf.delete()  # what donation does to the arrays
  np.testing.assert_array_equal(classifier(IMAGES), before)


NAMES = {"a dict": {0: "a", 1: "b", 2: "c"}, "a str": "abc", "a set": {"a", "b", "c"}}


@pytest.mark.parametrize("name", CASES)
def test_class_names_are_one_text_per_output_in_order(name):
  make, _ = CASES[name]
  for what, names in NAMES.items():
    with pytest.raises(ValueError, match=f"^class_names is {what}; it must be a list"):
      make(class_names=names)
  with pytest.raises(
    ValueError, match=r"^class_names has the entry 7; names must be text"
  ):
    make(class_names=["a", 7, "c"])
  with pytest.raises(ValueError, match=r"^class_names has the entry None"):
    make(class_names=["a", None, "c"])
  for names in (np.array(["a", "b", "c"]), iter("abc")):
    assert make(class_names=names).class_names == ("a", "b", "c")
  for names in (["a"], list("abcd")):
    classifier = make(class_names=names, name="mine")
    with pytest.raises(
      ValueError, match=f"^classifier 'mine' has {len(names)} class_n"
    ):
      classifier(IMAGES)


def test_linen_in_training_mode_is_refused():
  module, variables = linen_parts()
  training = from_linen(module, variables, SIZE)
  # Dropout has no key and the running statistics are not mutable: Flax says so.
  with pytest.raises(Exception, match=r"batch_stats|dropout"):
    training(IMAGES)


def test_parameters_without_their_collection():
  module, variables = linen_parts()
  with pytest.raises(ValueError, match=r"Conv_0.*; it must have params"):
    from_linen(module, variables["params"], SIZE)


# ---- What networks must not return ----


@pytest.mark.parametrize(
  ("fn", "got"),
  [
    (lambda images: images.mean((1, 2, 3)), r"shape \(3,\)"),
    (lambda images: images.mean(1), r"shape \(3, 8, 3\)"),
    (lambda images: images.mean((0, 1)), r"shape \(8, 3\)"),
    (lambda images: (images.mean((1, 2)),), "a tuple"),
    (lambda images: images.argmax(1)[:, 0], "type int32"),
  ],
)
def test_wrong_outputs_are_one_line(fn, got):
  classifier = from_function(fn, SIZE, name="wrong")
  with pytest.raises(
    ValueError, match=f"^classifier 'wrong' returned {got} for 3"
  ) as e:
    classifier(jnp.asarray(IMAGES))
  assert str(e.value).endswith("it must be floating-point numbers [3, K]")
  with pytest.raises(ValueError, match=r"^classifier 'wrong' returned"):
    explain(classifier, IMAGES, METHOD, key=jax.random.key(0))


@pytest.mark.parametrize(
  ("fn", "message"),
  [
    (lambda x: function(x - x.mean(0, keepdims=True)), "alone than among others"),
    (lambda x: 0 * function(x), "the same outputs for all 3 images"),
    (lambda x: function(x) / 0, "NaN or infinite"),
  ],
)
def test_networks_that_cannot_be_explained(fn, message):
  with pytest.raises(ValueError, match=f"classifier 'function' returned.*{message}"):
    check_classifier(from_function(fn, SIZE), IMAGES)


def test_parameters_that_are_no_numbers_are_found_also_where_outputs_are():
  """Compiled, the largest of NaN and 0 may be 0."""
  lost = Classifier(
    lambda params, images: function(images) + 0 * jnp.where(params["b"] > 0, 1, 0),
    {"a": jnp.arange(3), "b": jnp.array(jnp.nan)},
    SIZE,
    name="lost",
  )
  with pytest.raises(ValueError, match=r"'lost' has NaN or infinite .* \['b'\]"):
    check_classifier(lost, IMAGES)


def test_two_images_are_needed():
  with pytest.raises(ValueError, match=r"images has shape \(1, 8, 8, 3\)"):
    check_classifier(from_function(function, SIZE), IMAGES[:1])
  with pytest.raises(ValueError, match=r"images of shapes .* must have one shape"):
    check_classifier(from_function(function, SIZE), [IMAGES[0], IMAGES[1][:-1]])


class Training:
  """A network whose weights change while it stays the same object."""

  def __init__(self):
    self.weights = np.random.default_rng(0).normal(size=(SIZE * SIZE * 3, 4))
    self.weights = self.weights.astype(np.float32)
    self.scale = 0.01

  def logits(self, images):
    return self.scale * images.reshape(len(images), -1) @ self.weights

  def in_place(self):
    self.weights *= -1

  def another_array(self):
    self.weights = -self.weights

  def another_number(self):
    self.scale = -self.scale


@pytest.mark.parametrize("change", ["in_place", "another_array", "another_number"])
def test_a_network_that_changes_is_explained_as_it_is_now(change):
  network = Training()
  classifier = from_function(network.logits, SIZE)
  image = IMAGES[0]
  gradient = attribution.gradient_x_input()
  before = explain(classifier, image, METHOD, key=KEY)
  (slope,) = gradient(classifier, image, 1)
  getattr(network, change)()
  # The same classifier, and one of the same method of the same object.
  for again in (classifier, from_function(network.logits, SIZE)):
    after = explain(again, image, METHOD, key=KEY)
    assert after.target != before.target
    clean = jax.nn.softmax(network.logits(image[None]))[0]
    np.testing.assert_allclose(after.probability, clean.max(), rtol=1e-5)
    np.testing.assert_allclose(gradient(again, image, 1)[0], -slope, rtol=1e-5)


def test_a_network_that_stays_compiles_nothing_twice():
  network = Training()
  network.rule = jax.custom_jvp(lambda x: x)
  network.rule.defjvp(lambda primals, tangents: (primals[0], tangents[0]))

  def logits(images):
    return network.rule(network.logits(images))

  explain(from_function(logits, SIZE), IMAGES[0], METHOD, key=KEY)
  sizes = segment._cache_size()
  explain(from_function(logits, SIZE), IMAGES[1], METHOD, key=KEY)
  assert segment._cache_size() == sizes
