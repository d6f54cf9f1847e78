"""The network of most tests: two layers, fixed random weights."""

import jax
import numpy as np

from cawe_jax import Classifier


def two_layers(params, images):
  first, second = params
  hidden = jax.numpy.tanh(images.reshape(len(images), -1) @ first)
  return hidden @ second


def tiny_classifier(image_shape, hidden=8, num_classes=5):
  """A classifier of images of a shape, with five classes."""
  rng = np.random.default_rng(0)
  size = int(np.prod(image_shape))
  # Zero-sum weights, so that the image's content decides, not its brightness.
  first = rng.normal(0, 4 / size**0.5, (size, hidden))
  first -= first.mean(0)
  second = rng.normal(0, 1, (hidden, num_classes))
  params = tuple(jax.numpy.asarray(w, "float32") for w in (first, second))
  return Classifier(two_layers, params, image_shape[:2], name="tiny")
