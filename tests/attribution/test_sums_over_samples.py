"""Sums over samples: every pair counts once, and memory does not grow with them."""

import os
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import run_python, with_devices

from cawe_jax import Classifier
from cawe_jax.attribution import samples
from cawe_jax.attribution.samples import Batch, Sum, evaluate
from cawe_jax.numerics.devices import local_mesh
from cawe_jax.numerics.tiles import Tile
from cawe_jax.part import setting


def brightness(params, images):
  return params * images.sum((1, 2, 3))[:, None]


CLASSIFIER = Classifier(brightness, jnp.float32(2), 4)


class everything(Sum):
  """Depends on everything that a row has."""

  count: int = setting()

  def num_terms(self):
    return self.count

  def term(self, classifier, rows, samples):
    outputs = classifier(rows.images)[:, 0]
    sample, target = (x.astype(jnp.float32) for x in (samples, rows.targets))
    values = outputs * (1 + sample) + target + rows.extra
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
  found = evaluate(everything(num_samples), CLASSIFIER, batch)
  np.testing.assert_array_equal(found["count"], num_samples)
  outputs = 2 * np.asarray(batch.images, np.float64).sum((1, 2, 3))
  weights = np.arange(1, num_samples + 1).sum()
  expected = outputs * weights + num_samples * (np.arange(size) * 9 / 8)
  # Some dozen float32 additions.
  np.testing.assert_allclose(found["values"], expected, rtol=1e-5)


def test_finish_gets_the_sums():
  class finished(everything):
    def finish(self, classifier, batch, sums):
      return sums["count"] * batch.targets.astype(jnp.float32) + classifier.params

  found = evaluate(finished(3), CLASSIFIER, batch_of(2))
  np.testing.assert_array_equal(found, [2, 5])


@pytest.fixture
def little_memory(monkeypatch):
  """Let network calls of more than ``limit`` rows fail; the tiles that were tried."""

  def limit_to(limit, message="RESOURCE_EXHAUSTED: Out of memory"):
    original, tiles = samples._on_devices, []

    def limited(*arguments, tile, mesh):
      tiles.append((tile.images, tile.draws))
      if tile.images * tile.draws > limit:
        raise jax.errors.JaxRuntimeError(message)
      return original(*arguments, tile=tile, mesh=mesh)

    monkeypatch.setattr(samples, "_on_devices", limited)
    return tiles

  return limit_to


def test_rows_are_halved_until_memory_suffices(little_memory):
  batch = batch_of(2)
  expected = evaluate(everything(5), CLASSIFIER, batch)
  tiles = little_memory(limit=1)
  found = evaluate(everything(5), CLASSIFIER, batch)
  assert tiles == [(2, 2), (2, 1), (1, 1)]
  # Some dozen float32 additions in another order.
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5), found, expected)


def test_what_never_fits_and_other_failures_are_errors(little_memory):
  tiles = little_memory(limit=0)
  with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
    evaluate(everything(5), CLASSIFIER, batch_of(1))
  assert tiles[-1] == (1, 1)
  tiles = little_memory(0, "INTERNAL: a broken device")
  with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
    evaluate(everything(5), CLASSIFIER, batch_of(1))
  assert len(tiles) == 1


def lower(what, batch, tile):
  return samples._on_devices.lower(
    what, CLASSIFIER, batch, tile=tile, mesh=local_mesh()
  )


FOUR_DEVICES = """
import sys
sys.path.insert(0, {folder!r})
import jax
import numpy as np
import test_sums_over_samples as here
from cawe_jax.attribution.samples import evaluate

what = here.everything(5)
for size in (3, 6):
  batch = here.batch_of(size)
  assert "num_partitions = 4" in here.lower(what, batch, here.Tile(1, 4)).as_text()
  values = evaluate(what, here.CLASSIFIER, batch)["values"]
  np.save(f"{{sys.argv[1]}}/{{size}}", values)
"""


@pytest.mark.slow
def test_four_devices_equal_one(tmp_path):
  assert jax.device_count() == 1
  script = FOUR_DEVICES.format(folder=os.path.dirname(__file__))
  done = run_python(script, tmp_path, XLA_FLAGS=with_devices(4))
  assert done.returncode == 0, done.stderr
  # Fewer images than devices, and images that do not divide.
  for size in (3, 6):
    one = evaluate(everything(5), CLASSIFIER, batch_of(size))["values"]
    # The same additions, in the order of other rows.
    np.testing.assert_allclose(np.load(tmp_path / f"{size}.npy"), one, rtol=1e-6)


class pictures(everything):
  def term(self, classifier, rows, samples):
    return rows.images * classifier(rows.images)[0, 0]


def test_memory_does_not_grow_with_the_samples():
  def of(num_samples):
    lowered = lower(pictures(num_samples), batch_of(2), Tile(1, 4))
    return lowered.compile().memory_analysis().temp_size_in_bytes

  assert of(1000) <= of(4) + 1024


class with_weights(Sum):
  """A term that has arrays of its own."""

  weights: Any

  def term(self, classifier, rows, samples):
    traced.append(rows.images.shape)
    return classifier(rows.images)[:, 0] * jnp.sum(self.weights)


traced = []


def test_arrays_are_arguments_and_others_compile_nothing():
  weights = jnp.arange(1e5)
  lowered = lower(with_weights(weights), batch_of(1), Tile(1, 1))
  constants = re.findall(r'dense<"0x([0-9A-Fa-f]*)"', lowered.as_text())
  assert max((len(hexadecimal) // 2 for hexadecimal in constants), default=0) < 1e4
  one = evaluate(with_weights(weights), CLASSIFIER, batch_of(1))
  traced.clear()
  other = evaluate(with_weights(2 * weights), CLASSIFIER, batch_of(1))
  assert traced == []
  np.testing.assert_allclose(other, 2 * one, rtol=1e-6)
