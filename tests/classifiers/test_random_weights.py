"""Networks with random weights: different for different images, and always the same."""

import numpy as np
import pytest

import cawe_jax as cawe
from cawe_jax.classifiers.random_weights import random_weights
from experiments.building import load_network, weights_sha256


@pytest.fixture(scope="module")
def classifier():
  return cawe.load_classifier("resnet18", weights="random")


def test_it_is_a_network_of_the_architecture_that_tells_images_apart(classifier):
  assert classifier.name == "resnet18 with random weights"
  assert len(classifier.class_names) == 1000
  size = classifier.input_size
  rng = np.random.default_rng(1)
  noise = rng.random((1, size, size, 3), np.float32)
  images = np.concatenate([noise, np.zeros_like(noise)])
  logits = np.asarray(classifier(images))
  # The first is the image that the last layer was scaled on.
  assert logits[0].std() == pytest.approx(3, rel=1e-3)
  assert np.abs(logits[0] - logits[1]).max() > 1


def test_kernels_have_the_variance_of_he(classifier):
  kernel = np.asarray(classifier.params["classifier"]["kernel"])
  assert abs(kernel.mean()) < 5 * kernel.std() / kernel.size**0.5
  shapes = {"a/kernel": (3, 3, 32, 64), "a/bias": (64,), "position": (1, 9, 64)}
  found = random_weights(shapes)
  assert {path: array.shape for path, array in found.items()} == shapes
  # Of 18,432 draws a variance has a relative standard error of 0.01; five of them.
  assert found["a/kernel"].var() == pytest.approx(2 / (9 * 32), rel=0.05)
  assert not found["a/bias"].any()
  for path, array in random_weights(shapes).items():
    np.testing.assert_array_equal(array, found[path])


def test_a_sweep_takes_them_and_reads_no_file(classifier):
  assert weights_sha256("resnet18=random") is None
  network = load_network("resnet18=random")
  assert network.classifier.name == classifier.name
  assert network.resize is not None
