"""Methods that mask: a planted patch is found, and linear scores are known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from cawe_jax import Classifier
from cawe_jax.attribution import lime, random_ranking, rise
from cawe_jax.attribution.local_surrogate import _solve, superpixels
from cawe_jax.classifiers import regression
from cawe_jax.representations import pixel, wavelet

KEY = jax.random.key(0)
SHAPE = (24, 20, 3)
# Only these pixels decide.
PATCH = np.zeros(SHAPE[:2], bool)
PATCH[4:12, 10:18] = True


def planted(params, images):
  """A class that is surer the more of the patch is seen."""
  seen = jnp.where(PATCH[..., None], images, 0).sum((1, 2, 3)) / int(PATCH.sum())
  return jnp.stack([seen * params, jnp.ones_like(seen)], 1)


def linear(params, images):
  return jnp.einsum("nhwc,hwck->nk", images, params)


PLANTED = Classifier(planted, 2.0, SHAPE[:2])
# Blocks of colour with some texture, two of them inside the patch.
RNG = np.random.default_rng(0)
BLOCKS = RNG.uniform(0.2, 0.8, (6, 5, 3)).repeat(4, 0).repeat(4, 1)
IMAGES = (BLOCKS + RNG.uniform(-0.05, 0.05, SHAPE))[None].astype(np.float32)


def test_rise_finds_the_patch():
  (leaf,) = rise(num_masks=500, num_cells=5)(PLANTED, IMAGES, 0, KEY)
  relevance = np.asarray(leaf[0, 0, :, :, 0])
  assert relevance[PATCH].mean() > relevance[~PATCH].mean()
  top = np.argsort(-relevance, axis=None)[: PATCH.sum() // 2]
  # A fifth of the pixels are in the patch; masks blur over a cell.
  assert PATCH.ravel()[top].mean() > 0.8
  # For the other class the patch speaks against.
  (other,) = rise(num_masks=500, num_cells=5)(PLANTED, IMAGES, 1, KEY)
  assert other[0, 0, PATCH, 0].mean() < other[0, 0, ~PATCH, 0].mean()


def constant_one(params, images):
  return jnp.ones((len(images), 1))


@pytest.mark.parametrize("keep_probability", [0.3, 0.5])
def test_mean_of_the_masks(keep_probability):
  """With a constant score the relevance is the mean mask over its expectation."""
  classifier = Classifier(constant_one, (), 24, output=regression(1.0))
  num_masks, num_cells = 2000, 4
  method = rise(num_masks, num_cells, keep_probability)
  (leaf,) = method(classifier, IMAGES, 0, KEY)
  mean = np.asarray(leaf[0, 0, :, :, 0])
  # A mask's pixel varies at most like one cell.
  error = ((1 - keep_probability) / keep_probability / num_masks) ** 0.5
  assert np.abs(mean - 1).max() < 5 * error
  assert mean.std() > error / 10  # they are no constants


def test_masks_are_smooth_and_move():
  """The relevance of one mask is that mask over p, for a constant score."""
  classifier = Classifier(constant_one, (), 24, output=regression(1.0))
  masks = []
  for seed in range(8):
    (leaf,) = rise(1, 3, 0.5)(classifier, IMAGES, 0, jax.random.key(seed))
    masks.append(np.asarray(leaf[0, 0, :, :, 0]) / 2)
  masks = np.stack(masks)
  assert masks.min() >= 0
  assert masks.max() <= 1
  assert len(np.unique(masks)) > 20  # in between, too
  # Cells of 8 x 7 pixels: a step of a bilinear ramp between two centres, four thirds of
  # a cell apart because three cells are enlarged to four.
  assert np.abs(np.diff(masks, axis=1)).max() <= 1 / 8 + 1e-5
  assert np.abs(np.diff(masks, axis=2)).max() <= 1 / 7 + 1e-5


def test_lime_of_a_linear_score_is_exact():
  """Without shrinkage a superpixel's weight is what showing it adds to the score."""
  weights = np.random.default_rng(1).normal(size=(*SHAPE, 2)).astype(np.float32)
  classifier = Classifier(linear, weights, 24, output=regression(1.0))
  (leaf,) = lime(200, 40, ridge=1e-6)(classifier, IMAGES, 1, KEY)
  relevance = np.asarray(leaf[0, 0, :, :, 0])
  labels, exists, mean_images = superpixels(IMAGES, 40)
  assert exists.sum() > 5
  added = (weights[..., 1] * (IMAGES - mean_images)[0]).sum(-1)
  for label in range(exists.sum()):
    inside = labels[0] == label
    # The equations are solved in float32, their condition number is about 1e3.
    np.testing.assert_allclose(relevance[inside], added[inside].sum(), atol=2e-3)
  assert np.abs(relevance).max() > 0.1


def test_superpixels_have_their_mean_colour():
  labels, exists, mean_images = superpixels(IMAGES, 40)
  assert exists.shape == (1, 32)  # a power of two
  np.testing.assert_array_equal(np.unique(labels), np.flatnonzero(exists[0]))
  for label in np.unique(labels):
    inside = labels[0] == label
    expected = np.broadcast_to(IMAGES[0][inside].mean(0), (inside.sum(), 3))
    np.testing.assert_allclose(mean_images[0][inside], expected, rtol=1e-5)


def test_lime_finds_the_patch():
  """What a hidden superpixel loses is its texture, so the patch gets some."""
  images = IMAGES.copy()
  images[0, 4:12, 10:18] = (np.arange(8) % 2)[:, None, None]

  def stripes(params, images):
    patch = images[:, 4:12, 10:18].mean(-1)
    contrast = jnp.abs(patch[:, ::2] - patch[:, 1::2]).mean((1, 2))
    return jnp.stack([params * contrast, jnp.ones_like(contrast)], 1)

  classifier = Classifier(stripes, 4.0, 24)
  (leaf,) = lime(300, 40)(classifier, images, 0, KEY)
  relevance = np.asarray(leaf[0, 0, :, :, 0])
  assert relevance[PATCH].mean() > 3 * np.abs(relevance[~PATCH]).mean()


def test_the_ridge_regression():
  """As least squares with a row more for each shrunk weight."""
  rng = np.random.default_rng(0)
  features = np.append(rng.normal(size=(30, 4)), np.ones((30, 1)), axis=1)
  weight, scores, ridge = rng.random(30), rng.normal(size=30), 0.7
  rows = np.concatenate(
    [weight[:, None] ** 0.5 * features, ridge**0.5 * np.eye(4, 5)], axis=0
  )
  expected, *_ = scipy.linalg.lstsq(rows, np.append(weight**0.5 * scores, np.zeros(4)))
  weighted = weight[:, None] * features
  actual = _solve(
    jnp.float32(weighted.T @ features), jnp.float32(weighted.T @ scores), ridge
  )
  np.testing.assert_allclose(actual, expected[:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("transform", [pixel(), wavelet("haar", levels=2)])
def test_random_rankings_are_uniform(transform):
  relevance = random_ranking(transform)(PLANTED, IMAGES, 0, KEY)
  values = np.concatenate([np.ravel(leaf) for leaf in relevance])
  assert values.size == transform(SHAPE).num_entries
  assert len(np.unique(values)) > 0.99 * values.size
  # Moments of the uniform law, five standard errors.
  assert abs(values.mean() - 1 / 2) < 5 * (1 / 12 / values.size) ** 0.5
  assert abs(values.var() - 1 / 12) < 5 * (1 / 180 / values.size) ** 0.5


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_superpixels_of_any_number_of_channels(channels):
  images = np.random.default_rng(0).random((1, 8, 8, channels), np.float32)
  labels, exists, means = superpixels(images, 4)
  assert exists.sum() == labels.max() + 1
  for label in range(labels.max() + 1):
    of_label = labels == label
    expected = images[of_label].mean(axis=0, dtype=float)
    np.testing.assert_allclose(means[of_label], expected + 0 * means[of_label], 1e-6)
