"""Mixtures: every draw is one part's, and strata share the draws out among them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objectives import instance_of

from cawe_jax import explain, pixel_rde, recipes
from cawe_jax.obfuscations import obfuscate
from cawe_jax.perturbations import (
  adaptive_gaussian,
  adaptive_uniform,
  constant,
  infill,
  mixture,
  standard_normal,
  zeros,
)
from cawe_jax.representations import pixel
from cawe_jax.types import Masked

KEY = jax.random.key(0)
SHAPE = (6, 4, 3)
BOUND = pixel()(SHAPE)
IMAGE = np.random.default_rng(0).random(SHAPE).astype(np.float32)
NOTHING = (jnp.zeros((1, 6, 4, 1)),)


@pytest.fixture(scope="module")
def tiny_classifier(make_tiny_classifier):
  return make_tiny_classifier(SHAPE)


@jax.jit
def draw_at(perturbation, stratum):
  state = perturbation.init(instance_of(IMAGE, BOUND))
  kept = tuple(0 * leaf for leaf in BOUND.analysis(IMAGE))
  (drawn,) = perturbation.sample(KEY, state, Masked(NOTHING, kept, BOUND, stratum))
  return drawn


def part_at(stratum, parts, shares):
  """The part whose share of [0, 1) holds the stratum."""
  return parts[int(np.searchsorted(np.cumsum(shares), stratum, side="right"))]


@pytest.mark.parametrize("weights", [None, (1, 2, 1), (0.1, 0.1, 0.2)])
def test_every_draw_is_one_of_a_part(weights):
  parts = adaptive_gaussian(), constant(0.25), adaptive_uniform()
  mixed = mixture(parts, weights)
  shares = mixed.shares
  np.testing.assert_allclose(
    np.asarray(weights or (1, 1, 1)) / sum(weights or [3]), shares
  )
  for stratum in (0.0, 0.24, 0.26, 0.4, 0.6, 0.74, 0.76, 0.99):
    part = part_at(stratum, parts, shares)
    # The draw that the part makes by itself, of the same key.
    np.testing.assert_array_equal(
      draw_at(mixed, np.float32(stratum)), draw_at(part, np.float32(0))
    )


def test_a_mixture_within_a_mixture_is_even_too():
  grey = [constant(value) for value in (0.1, 0.2, 0.3, 0.4)]
  nested = mixture((mixture(tuple(grey[:2])), mixture(tuple(grey[2:]))))
  flat = mixture(tuple(grey))
  for stratum in np.float32([0, 0.2, 0.3, 0.6, 0.9]):
    np.testing.assert_array_equal(draw_at(nested, stratum), draw_at(flat, stratum))


@pytest.mark.parametrize(("weights", "dark"), [(None, 32), ((1, 3), 16), ((5, 3), 40)])
def test_draws_are_shared_out_exactly(tiny_classifier, weights, dark):
  method = pixel_rde(perturbation=mixture((constant(0.0), constant(1.0)), weights))
  images = np.full((3, *SHAPE), 0.5, np.float32)
  nothing = pixel()(images.shape[1:]).mask_shapes
  masks = tuple(np.zeros((3, *shape), np.float32) for shape in nothing)
  seen = obfuscate(tiny_classifier, images, masks, method, key=KEY, draws=64)
  values = seen.images.reshape(3, 64, -1)
  assert np.all((values == 0) | (values == 1))
  assert np.all(values == values[..., :1])
  counts = (values[..., 0] == 0).sum(1)
  assert counts.tolist() == [dark] * 3
  # And of every two draws in a row one is of each of two equal parts.
  if weights is None:
    pairs = (values[..., 0] == 0).reshape(3, 32, 2).sum(2)
    assert np.all(pairs == 1)


def test_weights_of_a_network_inside_stay_data():
  class fill(type(zeros())):
    level: jax.Array

    def sample(self, key, state, masked):
      return jax.tree.map(lambda leaf: jnp.full_like(leaf, self.level), masked.kept)

  mixed = [mixture((zeros(), fill(jnp.float32(level)))) for level in (0.25, 0.75)]
  assert jax.tree.structure(mixed[0]) == jax.tree.structure(mixed[1])
  assert mixed[0] != mixed[1]
  assert [float(draw_at(m, np.float32(0.7))[0, 0, 0, 0]) for m in mixed] == [0.25, 0.75]


def test_a_search_finds_what_holds_under_every_part(tiny_classifier):
  """What is reported is the mean over the parts, each on half of the draws."""
  recipe = recipes.fast()._replace(num_steps=20)
  image = np.random.default_rng(1).random(SHAPE, np.float32)
  parts = zeros(), constant(1.0)
  method = pixel_rde(0.5, perturbation=mixture(parts), recipe=recipe)
  found = explain(tiny_classifier, image, method, key=KEY)
  alone = [
    obfuscate(
      tiny_classifier,
      image,
      found.mask,
      method._replace(perturbation=part),
      key=KEY,
      draws=1,
    )
    for part in parts
  ]
  clean = np.asarray(tiny_classifier(image[None]))[0]
  target = int(found.target)

  def probability(outputs):
    return float(
      jax.nn.softmax(jnp.asarray(outputs).reshape(-1, len(clean)))[0, target]
    )

  shares = [probability(a.outputs) / probability(clean) for a in alone]
  # Means of 32-bit outputs of one network.
  assert float(found.retained_probability) == pytest.approx(np.mean(shares), rel=1e-4)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (((),), "parts is empty"),
    (((zeros(), zeros()), (1.0,)), "weights has 1 numbers; .* one for each of 2 parts"),
    (((zeros(), zeros()), (1.0, 0.0)), "every weight must be above 0"),
    (((zeros(), zeros()), (1.0, np.inf)), "every weight must be above 0"),
  ],
)
def test_what_is_no_mixture_is_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    mixture(*arguments)


def test_names_say_parts_and_weights():
  assert repr(mixture([infill(), standard_normal()], [1, 2])) == (
    "mixture(parts=(infill(inpainter=harmonic), standard_normal()), weights=(1.0, 2.0))"
  )
