"""Projected steps against NumPy; every image of a batch on its own."""

import jax
import numpy as np
import optax
import pytest
from solving import GOAL, NOTHING, STEP_SIZES, UNGUARDED, random_masks, run

from cawe_jax import solvers


def test_projected_adam_equals_numpy():
  b1, b2, eps = 0.8, 0.95, 1e-3
  slope = tuple(leaf - 0.5 for leaf in random_masks(2))
  state, values = run(solvers.adam(b1, b2, eps), random_masks(0), slope=slope)
  hit_the_box = 0
  for leaf, start, goal, t in zip(
    state.mask, random_masks(0), GOAL, slope, strict=True
  ):
    s, m, v = start.astype(float), 0, 0
    for n in range(1, 6):
      g = s - goal + t
      m = b1 * m + (1 - b1) * g
      v = b2 * v + (1 - b2) * g**2
      update = (m / (1 - b1**n)) / (np.sqrt(v / (1 - b2**n)) + eps)
      s = np.clip(s - STEP_SIZES.reshape(2, 1, 1, 1, 1) * update, 0, 1)
    # Five steps of a dozen 32-bit operations.
    np.testing.assert_allclose(leaf, s, atol=1e-5)
    hit_the_box += np.sum((s == 0) | (s == 1))
  assert hit_the_box > 5
  expected = sum(
    np.sum((s - g) ** 2, (1, 2, 3, 4))
    for s, g in zip(random_masks(0), GOAL, strict=True)
  )
  np.testing.assert_allclose(values[0], expected / 2, rtol=1e-5)  # before the step


def test_projected_gradient_descent_finds_the_nearest_mask_in_the_box():
  state, _ = run(solvers.projected(optax.sgd(1.0)), random_masks(0), num_steps=60)
  for leaf, goal in zip(state.mask, GOAL, strict=True):
    # The slower image closes in by 0.95 a step: 0.95^60 = 0.05 of at most 2.
    np.testing.assert_allclose(leaf[0], np.clip(goal[0], 0, 1), atol=0.1)
    np.testing.assert_allclose(leaf[1], np.clip(goal[1], 0, 1), atol=1e-6)


@pytest.mark.parametrize(
  "solver",
  [solvers.adam(), solvers.projected(optax.sgd(1.0)), UNGUARDED],
  ids=lambda s: s.name.partition("(")[0],
)
def test_stays_in_the_box(solver):
  state, _ = run(solver, random_masks(0), step_sizes=np.full(2, 100, np.float32))
  for leaf in state.mask:
    assert np.all((np.asarray(leaf) >= 0) & (np.asarray(leaf) <= 1))
    assert {0, 1} <= set(np.ravel(leaf).tolist())


@pytest.mark.parametrize(
  "solver",
  [
    solvers.adam(),
    # A norm over a whole batch would couple its images.
    solvers.projected(optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(1.0))),
    solvers.aligned(),
  ],
  ids=["adam", "projected", "aligned"],
)
def test_images_in_a_batch_are_independent(solver):
  poisoned = tuple(leaf.copy() for leaf in GOAL)
  for leaf in poisoned:
    leaf[1] = np.nan
  healthy, _ = run(solver, random_masks(0))
  other, _ = run(solver, random_masks(0), poisoned)
  for a, b in zip(healthy.mask, other.mask, strict=True):
    np.testing.assert_array_equal(a[0], b[0])
  first = jax.tree.map(lambda x: x[:1], (random_masks(0), GOAL))
  alone, _ = run(solver, *first, jax.tree.map(lambda x: x[:1], NOTHING), STEP_SIZES[:1])
  for a, b in zip(healthy.mask, alone.mask, strict=True):
    # The same operations in programs of other shapes.
    np.testing.assert_allclose(a[:1], b, atol=1e-6)


def test_names_tell_the_settings():
  assert solvers.adam(b2=0.9).name == "adam(b1=0.9, b2=0.9, eps=1e-08)"
  assert solvers.projected(optax.sgd(1.0), "sgd").name == "sgd"
  assert "caution=2.5" in solvers.aligned(caution=2.5).name
