"""Sums over samples: every pair counts once, and memory does not grow with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax import Classifier
from cawe_jax.attribution.samples import Batch, Sum, _evaluate, as_it_is, evaluate

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


def test_memory_does_not_grow_with_the_samples():
  def of(num_samples):
    what = Sum(lambda c, rows, _: rows.images * c(rows.images)[0, 0], as_it_is)
    what = what._replace(num_samples=num_samples)
    lowered = _evaluate.lower(CLASSIFIER, batch_of(2), what=what, rows=4)
    return lowered.compile().memory_analysis().temp_size_in_bytes

  assert of(1000) <= of(4) + 1024
