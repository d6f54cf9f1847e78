"""`explain` finds what is known to be the answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from explaining import (
  ADAM,
  HAAR,
  IMAGES,
  KEY,
  MULTIPLIER,
  SGD,
  SHAPE,
  flat,
  method,
)

from cawe_jax import (
  Classifier,
  EmptyMaskWarning,
  explain,
  perturbations,
  pixel_rde,
  recipes,
  schedules,
)
from cawe_jax.obfuscations import obfuscate


@pytest.fixture(scope="module")
def classifier(make_tiny_classifier):
  return make_tiny_classifier(SHAPE)


@pytest.fixture(scope="module")
def batch(classifier):
  return explain(classifier, IMAGES, method(), key=KEY)


@pytest.mark.parametrize("generator", ["rbg", "unsafe_rbg"])
def test_keys_of_other_generators_do_not_tie_images_together(generator, classifier):
  # Numbers of such a key depend on what else is drawn in a batch.
  keys = [jax.random.key(seed, impl=generator) for seed in range(2)]
  nothing = tuple(
    np.zeros((3, *shape), np.float32) for shape in HAAR(SHAPE).mask_shapes
  )
  one = tuple(leaf[0] for leaf in nothing)
  together = obfuscate(classifier, IMAGES, nothing, method(), key=keys[0], draws=4)
  alone, other = (
    obfuscate(classifier, IMAGES[1], one, method(), key=key, draws=4).images
    for key in keys
  )
  # Sums of a few coefficients in 32 bits.
  np.testing.assert_allclose(alone, together.images[1], atol=1e-5)
  assert np.abs(alone - other).max() > 0.1
  assert np.abs(alone[0] - alone[1]).max() > 0.1


def two_classes(params, images):
  """Class 0 by the margin ``weights . image - bias``, class 1 else."""
  weights, bias = params
  margin = images.reshape(len(images), -1) @ weights - bias
  return jnp.stack([margin / 2, -margin / 2], axis=1)


SQUARE = (16, 16, 1)
LONG = ADAM._replace(num_steps=60, schedule=schedules.linear_decay())


def planted(part_of_margin):
  """Whose parts add up to 12, of which the bias leaves a margin of 2: p = 0.88."""
  return Classifier(two_classes, (jnp.asarray(part_of_margin), jnp.float32(10)), 16)


def test_pixel_rde_finds_planted_pixels():
  rng = np.random.default_rng(1)
  image = rng.uniform(0.5, 1, SQUARE).astype(np.float32)
  where = rng.choice(256, 6, replace=False)
  weights = np.zeros(256, np.float32)
  weights[where] = 2 / image.ravel()[where]
  # One planted pixel lost halves the odds' exponent: an error of 0.14, where keeping a
  # pixel costs 0.5 / 256. No other pixel is worth anything.
  found = explain(
    planted(weights),
    image,
    pixel_rde(0.5, perturbation=perturbations.zeros(), recipe=LONG),
    key=KEY,
  )
  mask = flat(found.mask)
  assert int(found.target) == 0
  assert mask[where].min() > 0.8
  assert np.delete(mask, where).max() == 0
  assert float(found.rate_l0) == pytest.approx(6 / 256)
  assert float(found.distortion) < 0.01


def test_the_last_mask_is_stretched_to_the_contrast():
  # A step too small to change float32: the mask is the initial one, stretched.
  still = SGD._replace(step_size=1e-9, num_steps=1, contrast=(0.1, 0.6))
  values = np.linspace(0.3, 1, 256, dtype=np.float32).reshape(1, 16, 16, 1)
  values[0, 0, :8] = np.linspace(0, 0.2, 8)[:, None]
  wanted = np.interp(values, [0.1, 0.6], [0, 1])
  found = explain(
    planted(np.full(256, 12 / 256, np.float32)),
    np.ones(SQUARE, np.float32),
    pixel_rde(0.0, perturbation=perturbations.zeros(), recipe=still),
    key=KEY,
    initial_masks=(values,),
  )
  np.testing.assert_allclose(found.mask[0], wanted, atol=1e-6)
  # What is reported is the stretched mask's.
  margin = 12 * np.mean(found.mask[0]) - 10
  score = 1 / (1 + np.exp(-margin))
  assert float(found.score_with_noise) == pytest.approx(score, rel=1e-4)
  assert float(found.rate) == pytest.approx(np.mean(wanted), rel=1e-5)


def test_tuned_recipes_come_from_above_and_stretch_the_last_mask():
  # The published ones do neither: their results are the papers'.
  for made in (recipes.fast(), recipes.default()):
    assert made.schedule.multiplier(0.0, 20.0) == 60.0
    assert made.schedule.multiplier(0.5, 20.0) == 20.0
    assert made.contrast == (0.04, 0.9)
  for made in (recipes.eccv2022(), recipes.cvpr2023()):
    assert made.schedule.multiplier(0.0, 20.0) == 20.0
    assert made.contrast == (0.0, 1.0)


def test_more_steps_are_smaller_ones():
  # Above 200 all steps add up to the same.
  assert recipes.fast().step_size == recipes.tuned(50).step_size == 0.2
  assert recipes.tuned(800).step_size == pytest.approx(0.05)
  assert recipes.default() == recipes.tuned(500)._replace(name="default")


def test_cartoonx_finds_planted_coefficients():
  rng = np.random.default_rng(2)
  bound = HAAR(SQUARE)
  image = rng.uniform(0.3, 0.7, SQUARE).astype(np.float32)
  coefficients = [np.asarray(leaf) for leaf in bound.analysis(image)]
  # The largest details, so that their weights are moderate.
  sizes = np.abs(np.concatenate([np.ravel(leaf) for leaf in coefficients[1:]]))
  where = 16 + np.argsort(-sizes)[:6]
  values = flat(coefficients)
  weights = np.zeros(256, np.float32)
  weights[where] = 2 / values[where]
  # Haar is orthonormal: a coefficient's weights in pixels are its synthesis.
  leaves = np.split(weights, np.cumsum([leaf.size for leaf in coefficients])[:-1])
  in_pixels = bound.synthesis(
    tuple(
      jnp.asarray(w.reshape(leaf.shape))
      for w, leaf in zip(leaves, coefficients, strict=True)
    )
  )
  # The mean image has no details, and mid-grey stays off the clip.
  found = explain(
    planted(jnp.ravel(in_pixels)),
    image,
    method(0.5, LONG, perturbation=perturbations.mean()),
    key=KEY,
  )
  mask = flat(found.mask)
  assert mask[where].min() > 0.8
  assert np.delete(mask, where).max() == 0
  assert float(found.distortion) < 0.01


def test_nothing_is_kept_where_that_costs_less(classifier, batch):
  # After so few steps most entries remain, and all of them cost 2.
  dear = np.float32([MULTIPLIER, 2, MULTIPLIER])
  with pytest.warns(
    EmptyMaskWarning, match=r"^mask 1 of 3 .counted from 0. keeps \(almost\) nothing"
  ):
    found = explain(classifier, IMAGES, method(dear), key=KEY)
  kept = [flat(leaf[b] for leaf in found.mask).max() for b in range(3)]
  assert kept[1] == 0
  assert min(kept[0], kept[2]) > 0.5
  assert found.rate[1] == found.rate_l0[1] == found.image[1].max() == 0
  assert found.objective[1] == found.distortion[1] > 0
  np.testing.assert_array_equal(found.rate[[0, 2]], batch.rate[[0, 2]])
  assert found.num_steps.tolist() == [13] * 3  # the run is told as it was
  assert found.history.rate[1, -1] > 0.5
