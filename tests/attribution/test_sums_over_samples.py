"""Sums over samples: every pair counts once, and memory does not grow with them."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax import Classifier
from cawe_jax.attribution.samples import Batch, Sum, _on_devices, as_it_is, evaluate
from cawe_jax.devices import local_mesh

pytestmark = pytest.mark.usefixtures("quick_compilation")


def brightness(params, images):
  return params * images.sum((1, 2, 3))[:, None]


CLASSIFIER = Classifier(brightness, jnp.float32(2), 4)


def term(classifier, rows, samples):
  """Depends on everything that a row has."""
  outputs = classifier(rows.images)[:, 0]
  values = outputs * (1 + samples) + rows.targets + rows.extra
  return {"values": values, "count": jnp.ones_like(values)}


def batch_of(size):
  images = np.random.default_rng(0).random((size, 4, 3, 1), np.float32)
  keys = jax.random.split(jax.random.key(0), size)
  numbers = np.arange(size, dtype=np.float32)
  return Batch(jnp.asarray(images), jnp.arange(size), keys, numbers / 8)


# Fewer pairs than rows of a call, as many, a multiple, and neither.
@pytest.mark.parametrize(("size", "num_samples"), [(1, 1), (1, 4), (4, 2), (3, 5)])
def test_every_pair_counts_once(size, num_samples):
  batch = batch_of(size)
  found = evaluate(Sum(term, as_it_is, num_samples), CLASSIFIER, batch)
  np.testing.assert_array_equal(found["count"], num_samples)
  outputs = 2 * np.asarray(batch.images, np.float64).sum((1, 2, 3))
  weights = np.arange(1, num_samples + 1).sum()
  expected = outputs * weights + num_samples * (np.arange(size) * 9 / 8)
  # Some dozen float32 additions.
  np.testing.assert_allclose(found["values"], expected, rtol=1e-5)


def test_finish_gets_the_sums():
  batch = batch_of(2)

  def finish(classifier, batch, sums):
    return sums["count"] * batch.targets + classifier.params

  found = evaluate(Sum(term, finish, 3), CLASSIFIER, batch)
  np.testing.assert_array_equal(found, [2, 5])


def lower(what, batch):
  return _on_devices.lower(CLASSIFIER, batch, what=what, rows=4, mesh=local_mesh())


FOUR_DEVICES = """
import sys
sys.path.insert(0, {folder!r})
import jax
import numpy as np
import test_sums_over_samples as here
from cawe_jax.attribution.samples import Sum, as_it_is, evaluate

what = Sum(here.term, as_it_is, 5)
for size in (3, 6):
  batch = here.batch_of(size)
  assert "num_partitions = 4" in here.lower(what, batch).as_text()
  values = evaluate(what, here.CLASSIFIER, batch)["values"]
  np.save(f"{{sys.argv[1]}}/{{size}}", values)
"""


def test_four_devices_equal_one(tmp_path):
  assert jax.device_count() == 1
  script = FOUR_DEVICES.format(folder=os.path.dirname(__file__))
  subprocess.run(
    [sys.executable, "-c", script, str(tmp_path)],
    env={
      **os.environ,
      "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
      "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    },
    check=True,
    timeout=300,
  )
  # Fewer images than devices, and images that do not divide.
  for size in (3, 6):
    one = evaluate(Sum(term, as_it_is, 5), CLASSIFIER, batch_of(size))["values"]
    # The same additions, in the order of other rows.
    np.testing.assert_allclose(np.load(tmp_path / f"{size}.npy"), one, rtol=1e-6)


def test_memory_does_not_grow_with_the_samples():
  def of(num_samples):
    what = Sum(lambda c, rows, _: rows.images * c(rows.images)[0, 0], as_it_is)
    what = what._replace(num_samples=num_samples)
    lowered = lower(what, batch_of(2))
    return lowered.compile().memory_analysis().temp_size_in_bytes

  assert of(1000) <= of(4) + 1024
