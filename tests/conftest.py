"""What every test shares: no leftovers of earlier runs, a tiny network, and the CPU.

Another platform is tested where ``JAX_PLATFORMS`` names one.
"""

import gc
import os
from pathlib import Path

# All of this before jax is imported, by whichever test module comes first.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Two thirds of the tests' time is compiling, so compiled programs are kept, between the
# processes of one run and between runs. They are found by what was lowered, by the
# compiler's version and by its options: a program of other code is another program.
os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".cache" / "programs")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import numpy as np
import pytest

from cawe_jax import Classifier

# Traced programs are hundreds of thousands of objects, which Python's collector would
# read over and over.
gc.set_threshold(100_000)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
  """Converted weights are written for this session alone, never to the user's cache."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("CAWE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield


@pytest.fixture(scope="module")
def quick_compilation():
  """For modules that compile many tiny programs and run each a few times."""
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def key():
  return jax.random.key(0)


def two_layers(params, images):
  first, second = params
  hidden = jax.numpy.tanh(images.reshape(len(images), -1) @ first)
  return hidden @ second


@pytest.fixture(scope="session")
def make_tiny_classifier():
  """Image shape to a fixed random network of two layers and five classes."""

  def make(image_shape, hidden=8, num_classes=5):
    rng = np.random.default_rng(0)
    size = int(np.prod(image_shape))
    # Zero-sum weights, so that the image's content decides, not its brightness.
    first = rng.normal(0, 4 / size**0.5, (size, hidden))
    first -= first.mean(0)
    second = rng.normal(0, 1, (hidden, num_classes))
    params = tuple(jax.numpy.asarray(w, "float32") for w in (first, second))
    return Classifier(two_layers, params, image_shape[:2], name="tiny")

  return make
