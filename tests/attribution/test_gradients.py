"""Gradients where they are known: of linear and of quadratic functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax import Classifier
from cawe_jax.attribution import (
  completeness,
  gradient_x_input,
  integrated_gradients,
  smooth_grad,
  var_grad,
)

SHAPE = (6, 5, 3)
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(*SHAPE, 2)).astype(np.float32)
IMAGES = RNG.random((2, *SHAPE), np.float32)
TARGETS = np.array([1, 0])
# Of each image's target, [B, H, W, C].
OWN = np.moveaxis(WEIGHTS, -1, 0)[TARGETS]


def linear(params, images):
  return jnp.einsum("nhwc,hwck->nk", images, params) + 1


def quadratic(params, images):
  return jnp.einsum("nhwc,hwck->nk", images**2, params)


LINEAR = Classifier(linear, WEIGHTS, SHAPE[:2])
QUADRATIC = Classifier(quadratic, WEIGHTS, SHAPE[:2])


def maps(method, classifier):
  (leaf,) = method(classifier, IMAGES, TARGETS, jax.random.key(0))
  return np.asarray(leaf[:, 0, :, :, 0], np.float64)


def assert_close(actual, expected):
  # Sums of a few dozen float32 products of order 1.
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("num_steps", "baseline"), [(1, 0.0), (7, 0.25)])
def test_integrated_gradients(num_steps, baseline):
  method = integrated_gradients(num_steps, baseline)
  assert_close(maps(method, LINEAR), (OWN * (IMAGES - baseline)).sum(-1))
  # Gauss-Legendre integrates a linear gradient exactly with a single node.
  expected = (OWN * (IMAGES**2 - baseline**2)).sum(-1)
  assert_close(maps(method, QUADRATIC), expected)


@pytest.mark.parametrize("as_array", [np.asarray, jnp.asarray])
def test_a_baseline_may_be_an_image(as_array):
  baseline = as_array(RNG.random(SHAPE, np.float32))
  method = integrated_gradients(3, baseline)
  assert method.name == "integrated_gradients(num_steps=3, baseline=image)"
  expected = (OWN * (IMAGES**2 - np.asarray(baseline) ** 2)).sum(-1)
  assert_close(maps(method, QUADRATIC), expected)
  relevance = method(QUADRATIC, IMAGES, TARGETS, jax.random.key(0))
  error = completeness(QUADRATIC, IMAGES, TARGETS, relevance, baseline)
  # Relative to sums of some hundred terms of order 1.
  np.testing.assert_allclose(error, 0, atol=1e-4)


def test_another_baseline_compiles_nothing():
  traced = []

  def noted(params, images):
    traced.append(images.shape)
    return quadratic(params, images)

  classifier = Classifier(noted, WEIGHTS, SHAPE[:2])
  first = integrated_gradients(3, np.zeros(SHAPE, np.float32))
  second = integrated_gradients(3, np.full(SHAPE, 0.5, np.float32))
  assert jax.tree.structure(first) == jax.tree.structure(second)
  one = maps(first, classifier)
  traced.clear()
  other = maps(second, classifier)
  assert traced == []
  assert_close(one - other, 0.25 * OWN.sum(-1))


def test_a_baseline_of_another_shape_is_refused():
  baseline = np.zeros((1, *SHAPE[1:]))
  message = r"^baseline has shape \(1, 5, 3\); it must be .* \(6, 5, 3\)$"
  with pytest.raises(ValueError, match=message):
    maps(integrated_gradients(3, baseline), LINEAR)
  with pytest.raises(ValueError, match=message):
    completeness(LINEAR, IMAGES, TARGETS, (IMAGES,), baseline)


def test_gradient_x_input():
  assert_close(maps(gradient_x_input(), LINEAR), (OWN * IMAGES).sum(-1))
  assert_close(maps(gradient_x_input(), QUADRATIC), (2 * OWN * IMAGES**2).sum(-1))


def test_smooth_grad_of_a_linear_function_is_the_size_of_its_weights():
  assert_close(maps(smooth_grad(3), LINEAR), np.abs(OWN).sum(-1))


def test_var_grad_of_a_linear_function_is_zero():
  # The square of a mean of equal numbers is off by some 1e-7 of it.
  assert_close(maps(var_grad(3), LINEAR), 0)


def test_the_noise_has_the_given_deviation():
  """A quadratic's gradient is linear in the noise, so its moments are known."""
  num_samples, sigma = 400, 0.2
  mean = maps(smooth_grad(num_samples, sigma), QUADRATIC)
  # Each colour's mean is off by 2 |w| sigma / sqrt(n); five of the three together.
  errors = 2 * np.abs(OWN).sum(-1) * sigma / num_samples**0.5
  expected = np.abs(2 * OWN * IMAGES).sum(-1)
  assert np.all(np.abs(mean - expected) < 5 * errors)
  assert np.abs(mean - expected).max() > 0.1 * errors.max()  # there was noise

  variance = maps(var_grad(num_samples, sigma), QUADRATIC)
  expected = (4 * OWN**2 * sigma**2).sum(-1)
  # A normal variance has relative standard error sqrt(2 / n).
  assert np.all(np.abs(variance / expected - 1) < 5 * (2 / num_samples) ** 0.5)


def test_more_samples_keep_the_first_ones():
  """Means over 1, 2 and 3 draws of a linear gradient differ by the new draw alone."""
  key = jax.random.key(0)
  # Weights above 0 and images of ones: the mean gradient keeps its sign.
  classifier = Classifier(quadratic, np.abs(WEIGHTS), SHAPE[:2])
  ones = np.ones_like(IMAGES)

  def total(n):
    return np.asarray(smooth_grad(n, 0.01)(classifier, ones, 0, key)[0]) * n

  draws = total(1), total(2) - total(1), total(3) - total(2)
  for draw in draws:
    # Noise of 0.01 in images of 1 moves a gradient by a few per cent.
    np.testing.assert_allclose(draw, draws[0], rtol=0.2)
  assert np.abs(draws[1] - draws[0]).max() > 1e-3


def test_completeness_is_the_relative_error():
  (leaf,) = integrated_gradients(3)(LINEAR, IMAGES, TARGETS, jax.random.key(0))
  assert_close(completeness(LINEAR, IMAGES, TARGETS, (leaf,)), 0)
  # The change of the output is (w x + 1) - 1: the baseline's output is not forgotten.
  change = (OWN * IMAGES).sum((1, 2, 3))
  more = leaf.at[:, 0, 0, 0, 0].add(0.5)
  errors = completeness(LINEAR, IMAGES, TARGETS, (more,))
  np.testing.assert_allclose(errors, 0.5 / np.abs(change), rtol=1e-4)
  nothing = completeness(LINEAR, np.zeros_like(IMAGES), TARGETS, (leaf,))
  assert np.isnan(nothing).all()


def test_completeness_of_a_network(tiny, images, key):
  """Along the path the gradient jumps at kinks: an error that falls like 1 / steps."""

  def error(num_steps):
    relevance = integrated_gradients(num_steps)(tiny, images, 2, key)
    return np.abs(completeness(tiny, images, 2, relevance)).max()

  assert error(200) < min(0.02, error(4) / 2)
