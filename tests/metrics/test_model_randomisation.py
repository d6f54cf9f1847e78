"""The order of layers against networks written down by hand; what shuffling keeps."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax import Classifier
from cawe_jax.metrics import model_randomisation
from cawe_jax.metrics.parameter_randomisation import parameter_layers

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
SHAPE = (6, 5, 2)
IMAGES = RNG.random((2, *SHAPE)).astype(np.float32)


def array(*shape):
  return jnp.asarray(RNG.normal(size=shape), jnp.float32)


# Names in an order of their own, and one parameter that nothing reads.
PARAMS = {
  "c_first": {"kernel": array(60, 7), "bias": array(7)},
  "a_middle": {"kernel": array(7, 8), "scale": array(8)},
  "b_last": {"kernel": array(8, 20), "bias": array(20)},
  "unused": array(4, 4),
}
# Leaves in JAX's order: a_middle/kernel, a_middle/scale, b_last/bias, b_last/kernel,
# c_first/bias, c_first/kernel, unused.
LAYERS = [[5, 4], [0, 1], [3, 2]]


def plain(params, images):
  x = images.reshape(len(images), -1)
  first, middle, last = (params[k] for k in ("c_first", "a_middle", "b_last"))
  x = jax.nn.relu(x @ first["kernel"] + first["bias"][None])
  x = jnp.tanh(x @ middle["kernel"] * middle["scale"][None])
  return x @ last["kernel"] + last["bias"][None]


def cast_first(params, images):
  """All parameters are read at the start, but nothing of the image is with them."""
  halves = jax.tree.map(lambda x: 1.0 * x.astype(jnp.float16), params)
  return plain(halves, images.astype(jnp.float16))


def in_programs(params, images):
  @jax.custom_vjp
  def inner(params, images):
    return jax.checkpoint(jax.jit(plain))(params, images)

  inner.defvjp(lambda *args: (inner(*args), args), lambda args, g: (None, g))
  return jax.jit(inner)(params, images)


@pytest.mark.parametrize("apply", [plain, cast_first, in_programs])
def test_layers_are_found_in_the_order_of_the_computation(apply):
  found = parameter_layers(Classifier(apply, PARAMS, SHAPE[:2]), SHAPE)
  assert found == LAYERS


def test_layers_of_a_flax_network():
  class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
      x = nn.relu(nn.Conv(4, (3, 3), name="z")(x))
      x = nn.LayerNorm(name="y")(x)
      return nn.Dense(3, name="x")(x.mean((1, 2)))

  variables = Network().init(KEY, IMAGES)
  network = Classifier(Network().apply, variables, SHAPE[:2])
  paths = [
    jax.tree_util.keystr(path, simple=True, separator="/")
    for path, _ in jax.tree.flatten_with_path(variables)[0]
  ]
  found = [[paths[i] for i in layer] for layer in parameter_layers(network, SHAPE)]
  assert [layer[0] for layer in found] == ["params/z/kernel", "params/x/kernel"]
  assert set(found[0][1:]) == {"params/z/bias", "params/y/scale", "params/y/bias"}
  assert found[1][1:] == ["params/x/bias"]


@jax.jit
def gradient(classifier, images, targets, key):
  of_target = jax.grad(lambda x: classifier(x)[:, targets].sum())(images)
  return (of_target.sum(-1, keepdims=True)[:, None],)


NETWORK = Classifier(plain, PARAMS, SHAPE[:2])


def test_stages_add_up_from_the_output_back():
  seen = []

  def attribute(classifier, images, targets, key):
    seen.append((classifier.params, key))
    return gradient(classifier, images, targets, key)

  found = model_randomisation(attribute, NETWORK, IMAGES, 1, KEY)
  assert found.stages == ("b_last/kernel", "a_middle/kernel", "c_first/kernel")
  assert found.correlation.shape == (2, 3)
  original = jax.tree.leaves(seen[0][0])
  changed_so_far = set()
  for layer, (params, key) in zip(LAYERS[::-1], seen[1:], strict=True):
    changed_so_far |= set(layer)
    leaves = jax.tree.leaves(params)
    for i, (before, after) in enumerate(zip(original, leaves, strict=True)):
      assert np.any(before != after) == (i in changed_so_far)
      # Every moment stays.
      np.testing.assert_array_equal(np.sort(before.ravel()), np.sort(after.ravel()))
    np.testing.assert_array_equal(*map(jax.random.key_data, (key, seen[0][1])))


def test_few_stages_share_the_layers():
  found = model_randomisation(gradient, NETWORK, IMAGES, 1, KEY, num_stages=2)
  assert found.stages == ("a_middle/kernel", "c_first/kernel")
  whole = model_randomisation(gradient, NETWORK, IMAGES, 1, KEY)
  # Which layers are randomised decides, not on how many stages before.
  np.testing.assert_array_equal(found.correlation, whole.correlation[:, 1:])


def test_what_ignores_the_network_stays_and_what_reads_it_does_not():
  def edges(classifier, images, targets, key):
    return (np.abs(np.diff(images, axis=1, append=0)).sum(-1, keepdims=True)[:, None],)

  images = RNG.random((4, 20, 20, 2)).astype(np.float32)
  params = PARAMS | {"c_first": {"kernel": array(800, 7), "bias": array(7)}}
  network = Classifier(plain, params, (20, 20))
  ignorant = model_randomisation(edges, network, images, 1, KEY)
  np.testing.assert_allclose(ignorant.correlation, 1, rtol=1e-6)
  honest = model_randomisation(gradient, network, images, 1, KEY)
  # Independent ranks of 400 entries have correlation 0 with standard error 1/20.
  assert np.all(np.abs(honest.correlation[:, -1]) < 0.25)


def test_the_sign_of_the_relevance_does_not_matter():
  calls = []

  def flipped(classifier, images, targets, key):
    calls.append(0)
    (relevance,) = gradient(NETWORK, images, targets, key)
    return (relevance * (-1) ** len(calls),)

  found = model_randomisation(flipped, NETWORK, IMAGES, 1, KEY)
  np.testing.assert_allclose(found.correlation, 1, rtol=1e-6)


def test_an_image_alone_equals_the_image_in_a_batch():
  together = model_randomisation(gradient, NETWORK, IMAGES, 1, KEY)
  alone = model_randomisation(gradient, NETWORK, IMAGES[1:], 1, KEY)
  np.testing.assert_allclose(alone.correlation[0], together.correlation[1], atol=1e-5)


def test_a_relevance_of_one_image_without_an_axis_is_refused():
  single = (np.zeros((1, 3, 3, 1)), np.zeros((3, 3, 3, 1)))
  line = r"^relevance: got .*; for one image add an axis"
  with pytest.raises(ValueError, match=line):
    model_randomisation(lambda *_: single, NETWORK, IMAGES[:1], 1, KEY)


def test_bad_arguments_are_refused():
  with pytest.raises(ValueError, match="num_stages is 0; it must be at least 1"):
    model_randomisation(gradient, NETWORK, IMAGES, 1, KEY, num_stages=0)
  closed = Classifier(lambda params, x: plain(PARAMS, x), None, SHAPE[:2], name="mine")
  with pytest.raises(ValueError, match="'mine' has no parameters in params"):
    model_randomisation(gradient, closed, IMAGES, 1, KEY)
  with pytest.raises(ValueError, match="key is 3; it must be a typed key"):
    model_randomisation(gradient, NETWORK, IMAGES, 1, 3)
