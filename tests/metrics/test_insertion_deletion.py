"""Insertion and deletion of a linear network in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from cawe_jax import Classifier, perturbations
from cawe_jax.metrics import insertion_deletion
from cawe_jax.outputs import regression
from cawe_jax.representations import wavelet

SHAPE, SIZE = (4, 5, 1), 20
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0, 1, (2, *SHAPE)).astype(np.float32)
WEIGHTS = RNG.normal(0, 2, SIZE).astype(np.float32)
RELEVANCE = (RNG.normal(size=(2, 1, *SHAPE)).astype(np.float32),)


def two_classes(weights, images):
  margin = images.reshape(len(images), -1) @ weights
  return jnp.stack([margin / 2, -margin / 2], axis=1)


LINEAR = Classifier(two_classes, jnp.asarray(WEIGHTS), SHAPE[:2])
run = functools.partial(
  insertion_deletion, LINEAR, IMAGES, RELEVANCE, key=KEY, targets=0
)


def blurred():
  return np.stack([perturbations.gaussian_blur(image, 5.0) for image in IMAGES])


def test_scores_and_areas_of_a_linear_network():
  found = run(num_points=SIZE + 1)
  places = np.argsort(np.argsort(-RELEVANCE[0].reshape(2, 1, SIZE)))
  top = places < np.arange(SIZE + 1)[:, None]
  image, blur = (x.reshape(2, 1, SIZE).astype(np.float64) for x in (IMAGES, blurred()))
  for scores, area, shown in (
    (found.insertion_score, found.insertion, np.where(top, image, blur)),
    (found.deletion_score, found.deletion, np.where(top, 0.5, image)),
  ):
    expected = 1 / (1 + np.exp(-shown @ WEIGHTS.astype(np.float64)))
    np.testing.assert_allclose(scores, expected, atol=2e-6)  # 32-bit margins
    trapezoid = scipy.integrate.trapezoid(expected, dx=1 / SIZE, axis=1)
    np.testing.assert_allclose(area, trapezoid, atol=2e-6)
  np.testing.assert_allclose(found.fraction, np.arange(SIZE + 1) / SIZE)


def test_the_gradient_is_better_than_its_opposite():
  # From black, each pixel's part of the margin is its weight times its value.
  options = {
    "key": KEY,
    "targets": 0,
    "num_points": SIZE + 1,
    "insertion_start": perturbations.zeros(),
    "deletion_end": perturbations.zeros(),
  }
  relevance = (IMAGES * WEIGHTS.reshape(SHAPE))[:, None]
  good = insertion_deletion(LINEAR, IMAGES, (relevance,), **options)
  bad = insertion_deletion(LINEAR, IMAGES, (-relevance,), **options)
  assert np.all(good.insertion > bad.insertion)
  assert np.all(good.deletion < bad.deletion)


def test_a_regression_is_scored_by_its_value():
  network = Classifier(two_classes, LINEAR.params, SHAPE[:2], output=regression(1.0))
  found = insertion_deletion(
    network, IMAGES, RELEVANCE, key=KEY, targets=0, num_points=3
  )
  ends = np.stack([blurred(), IMAGES], axis=1).reshape(2, 2, SIZE) @ WEIGHTS / 2
  np.testing.assert_allclose(found.insertion_score[:, [0, 2]], ends, atol=1e-5)


def test_bad_arguments_are_refused():
  with pytest.raises(ValueError, match="num_points is 1; it must be at least 2"):
    run(num_points=1)
  bound = wavelet("haar", levels=1)(SHAPE)
  coefficients = tuple(np.zeros((2, *shape)) for shape in bound.mask_shapes)
  with pytest.raises(ValueError, match=r"relevance has leaves .* pixel\(\)"):
    insertion_deletion(LINEAR, IMAGES, coefficients, key=KEY)
