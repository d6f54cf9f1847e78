"""The metrics of a photograph with a real network, a few points each."""

import functools

import jax
import numpy as np
import pytest

from cawe_jax import load_classifier, load_image, perturbations
from cawe_jax.metrics import (
  keep,
  model_randomisation,
  randomise,
  rate_distortion_curve,
)
from cawe_jax.metrics.parameter_randomisation import parameter_layers
from cawe_jax.representations import wavelet
from cawe_jax.samples import sample_path

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def classifier():
  return load_classifier("efficientnet-lite0")


@pytest.fixture(scope="module")
def images(classifier):
  path = sample_path("imagenet-01")  # a folding chair, p = 0.97
  return np.asarray(load_image(path, size=classifier.input_size))[None]


def test_large_coefficients_keep_the_prediction_better_than_random_ones(
  classifier, images
):
  transform = wavelet()
  coefficients = transform(images.shape[1:]).analysis(images[0])
  large = tuple(
    np.sum(np.asarray(leaf)[None] ** 2, -1, keepdims=True) for leaf in coefficients
  )
  rng = np.random.default_rng(0)
  random = tuple(rng.random(leaf.shape) for leaf in large)
  curve_of = functools.partial(
    rate_distortion_curve,
    classifier,
    images,
    transform=transform,
    key=KEY,
    fractions=(0.0, 0.1, 1.0),
    num_draws=4,
  )
  noisy, mirror = (curve_of(relevance=large, mask_fn=f) for f in (keep, randomise))
  np.testing.assert_array_equal(noisy.distortion[:, 0], mirror.distortion[:, 2])
  assert noisy.distortion[0, 0] > 0.5
  # Synthesis in 32 bits, through sixteen blocks.
  np.testing.assert_allclose(noisy.distortion[:, 2], 0, atol=1e-3)
  clean = jax.nn.softmax(classifier(images)).max()
  np.testing.assert_allclose(noisy.score[0, 2], clean, atol=1e-3)
  # Without noise the largest tenth is a compressed photograph, a random one is not.
  best, other = (
    curve_of(relevance=relevance, perturbation=perturbations.zeros())
    for relevance in (large, random)
  )
  assert best.agreement[0, 1] == 1
  assert best.score[0, 1] > 0.9 * clean
  assert best.distortion[0, 1] < 0.2 * other.distortion[0, 1]
  assert best.energy[0, 1] > 0.98 > other.energy[0, 1]


@jax.jit
def gradient(classifier, images, targets, key):
  of_target = jax.grad(lambda x: classifier(x)[:, targets].sum())(images)
  return (of_target.sum(-1, keepdims=True)[:, None],)


def test_gradients_forget_with_the_network(classifier, images):
  assert len(parameter_layers(classifier, images.shape[1:])) == 50
  target = int(np.argmax(classifier(images)))
  found = model_randomisation(gradient, classifier, images, target, KEY, num_stages=5)
  assert found.stages[0].startswith("block_13/")
  assert found.stages[-1] == "stem/kernel"
  assert np.all(np.isfinite(found.correlation))
  # Independent ranks of 50,176 entries, which neighbours share, would stay below.
  assert found.correlation[0, -1] < 0.3
