"""A network in bfloat16: half the bits inside, float32 outside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from jax.extend.core import jaxprs_in_params

from cawe_jax import Classifier, explain, pixel_rde
from cawe_jax.classifiers import in_bfloat16, registry, sigmoid
from cawe_jax.recipes import eccv2022


def two_layers(params, images):
  first, second, steps = params
  assert steps.dtype == jnp.int32
  hidden = jnp.tanh(images.reshape(len(images), -1) @ first)
  assert hidden.dtype == first.dtype == images.dtype
  return hidden @ second


RNG = np.random.default_rng(0)
PARAMS = (
  jnp.asarray(RNG.normal(0, 0.2, (192, 16)), jnp.float32),
  jnp.asarray(RNG.normal(0, 1, (16, 3)), jnp.float32),
  jnp.int32(70_001),
)
NETWORK = Classifier(two_layers, PARAMS, 8, ("a", "b", "c"), "two", sigmoid())
IMAGES = RNG.random((4, 8, 8, 3), np.float32)


def test_parameters_and_activations_are_halved():
  half = in_bfloat16(NETWORK)
  assert [x.dtype for x in half.params] == ["bfloat16", "bfloat16", "int32"]
  assert half.params[2] == 70_001
  assert (half.name, half.class_names) == ("two (bfloat16)", ("a", "b", "c"))
  assert half.output == sigmoid()
  full, outputs = NETWORK(IMAGES), half(jnp.asarray(IMAGES))
  assert outputs.dtype == jnp.float32
  # 8 bits: the result is one of bfloat16, and a sum of 192 terms of order 1 differs by
  # about its square root of rounding errors of 2^-9.
  assert (outputs == outputs.astype(jnp.bfloat16).astype(jnp.float32)).all()
  error = np.abs(np.asarray(outputs - full)).max()
  assert 0 < error < 192**0.5 * 2**-9 * np.abs(full).max()


def products(jaxpr):
  """Element types of what every product in a program makes."""
  for equation in jaxpr.eqns:
    if equation.primitive.name in ("dot_general", "conv_general_dilated"):
      yield equation.outvars[0].aval.dtype.name
    for inner in jaxprs_in_params(equation.params):
      yield from products(inner)


# One of each family.
@pytest.mark.parametrize(
  "name",
  [
    *("efficientnet-lite0", "mobilenet_v3_small", "vgg16_bn"),
    *("resnet18", "vit_tiny", "convnext_tiny"),
  ],
)
def test_the_networks_of_the_library_compute_in_it(name):
  shapes = registry.parameter_shapes(name)
  params = unflatten_dict(
    {path: jax.ShapeDtypeStruct(s, jnp.float32) for path, s in shapes.items()}, sep="/"
  )
  size = registry.classifier_info(name).input_size
  images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
  module = registry.classifier_info(name).module

  def run(params, images):
    network = Classifier(lambda p, x: module.apply({"params": p}, x), params, size)
    return in_bfloat16(network)(images)

  program = jax.make_jaxpr(run)(params, images)
  found = list(products(program.jaxpr))
  assert len(found) >= 10
  assert set(found) == {"bfloat16"}
  assert program.out_avals[0].dtype == jnp.float32


def test_halving_again_needs_no_other_program():
  assert in_bfloat16(NETWORK).apply == in_bfloat16(NETWORK).apply
  assert hash(in_bfloat16(NETWORK).apply) == hash(in_bfloat16(NETWORK).apply)
  assert in_bfloat16(NETWORK).apply != NETWORK.apply


def test_the_mask_stays_in_float32():
  recipe = eccv2022()._replace(num_steps=2, num_draws=2)
  seen = []
  found = explain(
    in_bfloat16(NETWORK),
    IMAGES[0],
    pixel_rde(1.0, recipe=recipe),
    key=jax.random.key(0),
    callback=lambda progress: seen.append(progress.masks[0]),
  )
  types = {np.asarray(leaf).dtype.name for leaf in jax.tree.leaves(found)}
  assert types == {"float32", "int32"}
  # Two steps of 1e-3 from 1, where the numbers of bfloat16 are 4e-3 apart.
  assert seen[-1].dtype == np.float32
  assert seen[-1].min() > 0.997
  assert np.mean(seen[-1] < 1) > 0.5
