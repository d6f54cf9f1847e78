"""Parameters and images on one of several devices, as `explain` takes them."""

from processes import run_python

SCRIPT = """
import jax
import numpy as np
from cawe_jax import Classifier, attribution, metrics, obfuscations, pixel_rde

rng = np.random.default_rng(0)
weights = rng.normal(0, 1, (16, 3)).astype(np.float32)
linear = lambda w, images: images.reshape(len(images), -1) @ w
images = rng.random((3, 4, 4, 1), np.float32)
usual = Classifier(linear, jax.numpy.asarray(weights), 4), images
first, last = jax.devices()
gradient = attribution.gradient_x_input()
key = jax.random.key(0)


def run(classifier, images):
  relevance = gradient(classifier, images, 1, key)
  return {
    "gradient_x_input": relevance,
    "integrated_gradients": attribution.integrated_gradients(2)(
      classifier, images, 1, key
    ),
    "rise": attribution.rise(3)(classifier, images, 1, key),
    "lime": attribution.lime(4, 2)(classifier, images, 1, key),
    "completeness": attribution.completeness(classifier, images, 1, relevance),
    "model_randomisation": metrics.model_randomisation(
      gradient, classifier, images, 1, key
    ).correlation,
    "obfuscate": obfuscations.obfuscate(
      classifier, images, relevance_to_mask(relevance), pixel_rde(), key=key, draws=2
    ),
    "rank_correlation": metrics.rank_correlation(
      jax.device_put(relevance, last), jax.device_put(relevance, first)
    ),
  }


def relevance_to_mask(relevance):
  return tuple(np.clip(leaf, 0, 1) for leaf in relevance)


expected = run(*usual)
found = run(*jax.device_put(usual, last))
for name in expected:
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6, err_msg=name),
    found[name],
    expected[name],
  )
"""


def test_the_second_of_two_devices_is_as_good_as_any():
  done = run_python(
    SCRIPT,
    XLA_FLAGS="--xla_force_host_platform_device_count=2",
    JAX_DISABLE_MOST_OPTIMIZATIONS="1",
  )
  assert done.returncode == 0, done.stderr
