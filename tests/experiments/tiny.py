"""A sweep so small that a run takes a second: for tests in this and other processes."""

import time

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from cawe_jax import Classifier
from configs import common


def make_classifier():
  """A fixed random network of two layers for images of 16 x 16 pixels."""
  rng = np.random.default_rng(0)
  first = rng.normal(0, 0.15, (16 * 16 * 3, 8))
  first -= first.mean(0)
  params = tuple(
    jnp.asarray(w, "float32") for w in (first, rng.normal(0, 6, (8, 1000)))
  )
  return Classifier(_two_layers, params, 16, name="tiny")


def make_classifier_of_six():
  """The same with six of its outputs."""
  whole = make_classifier()
  first, second = whole.params
  return Classifier(_two_layers, (first, second[:, :6]), 16, name="six")


def make_slow_classifier():
  """The same network under a name that waits a moment when it is loaded."""
  time.sleep(0.2)
  return make_classifier()


def _two_layers(params, images):
  first, second = params
  return jnp.tanh(images.reshape(len(images), -1) @ first) @ second


def get_config(variant=None):
  """CartoonX and Pixel RDE, two multipliers times two seeds, on four photographs."""
  config = common.base("tiny", "default")
  config.limit, config.batch_size = 4, 2
  config.settings = ConfigDict(
    {
      "classifier": "tiny:make_classifier",
      "preset": "cvpr2023",
      "steps": 12,
      "draws": 2,
    }
  )
  config.methods.cartoonx = {"label": "CartoonX", "wavelet": "haar", "levels": 2}
  config.methods.pixel_rde = {"label": "Pixel RDE", "method": "pixel-rde"}
  config.axes = {"lagrange_multiplier": (0.1, 1.0), "seed": (0, 1)}
  return config
