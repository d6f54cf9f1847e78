"""Sums over tiles against sums over images and draws, one by one."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.stats import qmc

from cawe_jax.numerics.tiles import (
  Draws,
  Tile,
  Which,
  fewest_calls,
  fit_tile,
  mean_over_draws,
  stack_draws,
  stack_images,
  sum_over_tiles,
)

STEP = 3
KEYS = jax.random.split(jax.random.key(0), 3)
VALUES = np.array([1.0, 10.0, 100.0], np.float32)


def part(values, draws, weight):
  noise = jax.vmap(jax.vmap(jax.random.uniform))(draws.key)
  return jnp.sum(weight * jnp.sin(values[:, None] + noise), 1)


@jax.jit(static_argnums=0)
def summed(tile, values, count, active):
  start = jnp.zeros(len(KEYS))
  return mean_over_draws(part, start, tile, (values,), KEYS, Draws(STEP, count, active))


def one_by_one(count, active):
  keys = [jax.random.fold_in(key, STEP) for key in KEYS]
  noise = [
    [float(jax.random.uniform(jax.random.fold_in(key, draw))) for draw in range(count)]
    for key in keys
  ]
  return np.mean(np.sin(VALUES[:, None] + np.array(noise)), 1) * active


@pytest.mark.parametrize(
  "tile", [Tile(1, 1), Tile(1, 2, 2), Tile(2, 1, 2), Tile(2, 4), Tile(4, 2, 3)]
)
def test_every_image_and_draw_counts_once(tile):
  for count, *active in itertools.product((1, 5), *[(True, False)] * 3):
    found = summed(tile, VALUES, count, np.array(active))
    # Sums of five 32-bit numbers, of sines of 100.
    np.testing.assert_allclose(found, one_by_one(count, active), atol=2e-5)


@pytest.mark.parametrize("tile", [Tile(2, 1), Tile(1, 1, 2)])
def test_what_runs_over_the_end_is_no_image_that_has_stopped(tile):
  values = np.array([np.nan, 10.0, np.nan], np.float32)
  found = summed(tile, values, 1, np.array([False, True, False]))
  assert found[0] == found[2] == 0
  assert np.isfinite(found[1])


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_calls_of_a_turn_do_not_wait_for_each_other(calls):
  lowered = summed.lower(Tile(1, 1, calls), VALUES, 6, np.ones(3, bool))
  assert lowered.compile().as_text().count(" sine(") == calls


@pytest.mark.parametrize(
  ("rows", "num_images", "num_draws", "calls", "tile"),
  [
    (4, 1, 2, 1, Tile(1, 2)),
    (4, 1, 2, 2, Tile(1, 1, 2)),  # no more images than there are
    (4, 8, 2, 2, Tile(2, 1, 2)),
    (4, 1, 64, 2, Tile(1, 2, 2)),
    (4, 8, 1, 2, Tile(2, 1, 2)),  # the images divide, the draws do not
    (4, 1, 1, 2, Tile(1, 1)),
    (4, 1, 3, 2, Tile(1, 3)),
    (1, 8, 64, 2, Tile(1, 1)),
    (256, 64, 2, 1, Tile(64, 2)),
  ],
)
def test_a_tile_fits(rows, num_images, num_draws, calls, tile):
  assert fit_tile(rows, num_images, num_draws, calls) == tile


@pytest.mark.parametrize(
  ("rows", "num_images", "num_draws", "tile"),
  [
    (4, 1, 1, Tile(1, 1)),
    (4, 8, 1, Tile(4, 1)),
    (4, 1, 10, Tile(1, 4)),
    (4, 8, 10, Tile(4, 1)),  # 20 calls; with all four rows of one image it were 24
    (4, 1, 1000, Tile(1, 4)),
    (1, 8, 64, Tile(1, 1)),
    (64, 1, 100, Tile(1, 50)),  # two calls, of no more rows than they need
    (64, 16, 10, Tile(6, 10)),
  ],
)
def test_the_tile_of_the_fewest_calls(rows, num_images, num_draws, tile):
  assert fewest_calls(rows, num_images, num_draws) == tile


@pytest.mark.parametrize("tile", [Tile(1, 1), Tile(2, 3), Tile(3, 2, 2)])
def test_sums_of_whatever_kind(tile):
  """Indices instead of noise, and what counts says itself."""

  def part(values, draws, counts):
    numbers = draws.astype(jnp.float32)[None]
    return jnp.sum(jnp.where(counts, values[:, None] + numbers, 0), 1)

  values, active = jnp.asarray(VALUES), jnp.array([True, False, True])
  found = sum_over_tiles(part, jnp.zeros(3), tile, (values,), 5, active)
  assert found.tolist() == [1 * 5 + 10, 0, 100 * 5 + 10]


def of_step(first, number):
  indices = first + jnp.arange(number, dtype=jnp.uint32)
  return Which(jnp.full(number, STEP, jnp.uint32), indices)


@pytest.mark.parametrize("tile", [Tile(1, 2), Tile(2, 3), Tile(3, 2, 2)])
def test_draws_one_by_one_are_those_of_the_mean(tile):
  def each(values, draws):
    noise = jax.vmap(jax.vmap(jax.random.uniform))(draws.key)
    return jnp.sin(values[:, None] + noise)

  values, active = jnp.asarray(VALUES), np.array([True, False, True])
  stacks = [
    stack_draws(
      each,
      tile,
      (values,),
      KEYS,
      of_step(first, number * tile.draws),
      number * tile.draws,
      jnp.asarray(active),
    )
    for first, number in ((0, 1), (tile.draws, 3))
  ]
  found = np.concatenate(stacks, axis=1)[:, : 2 * tile.draws]
  assert found.shape == (3, 2 * tile.draws)
  assert len(np.unique(found[active])) == 4 * tile.draws
  # Sums of some 32-bit numbers, of sines of 100.
  expected = one_by_one(2 * tile.draws, active)
  np.testing.assert_allclose(found.mean(1), expected, atol=2e-5)


@pytest.mark.parametrize("tile", [Tile(1, 1), Tile(3, 4), Tile(1, 2, 2)])
def test_strata_of_a_step_are_even(tile):
  """SciPy's sequence, shifted by a uniform number for each image and step."""
  strata = []
  for first in range(0, 16, tile.draws):
    which = of_step(first, tile.draws)
    found = stack_draws(
      lambda draws: draws.stratum, tile, (), KEYS, which, tile.draws, jnp.ones(3, bool)
    )
    strata.append(found[:, : 16 - first])
  strata = np.concatenate(strata, axis=1)
  assert strata.shape == (3, 16)
  assert np.all((strata >= 0) & (strata < 1))
  expected = qmc.Halton(1, scramble=False).random(16)[:, 0]
  # The shift and the sum are of 32 bits.
  for row in strata:
    np.testing.assert_allclose((row - row[0]) % 1, expected, atol=1e-6)
  for count in (2, 4, 8, 16):
    places = np.sort((strata[:, :count] - strata[:, :1]) % 1 * count)
    np.testing.assert_allclose(places, np.tile(np.arange(count), (3, 1)), atol=1e-5)


def test_the_stratum_of_one_draw_is_uniform():
  keys = jax.random.split(jax.random.key(1), 4000)
  active = jnp.ones(4000, bool)
  (strata,) = stack_draws(
    lambda draws: draws.stratum, Tile(4000, 1), (), keys, of_step(0, 1), 1, active
  ).T
  assert stats.kstest(strata, "uniform").pvalue > 1e-3


def test_draws_of_different_steps_are_their_own_steps_draws():
  which = Which(jnp.arange(4, dtype=jnp.uint32), jnp.array([0, 0, 0, 5], jnp.uint32))

  def seen(draws):
    return jax.vmap(jax.vmap(jax.random.uniform))(draws.key), draws.stratum

  tile, active = Tile(2, 4), jnp.ones(3, bool)
  found = stack_draws(seen, tile, (), KEYS, which, 4, active)
  for column, (step, index) in enumerate(zip(*which, strict=True)):
    one = Which(step[None], index[None])
    alone = stack_draws(seen, Tile(3, 1), (), KEYS, one, 1, active)
    for many, single in zip(found, alone, strict=True):
      np.testing.assert_array_equal(many[:, column], single[:, 0])


@pytest.mark.parametrize("count", [1, 3, 4, 6])
@pytest.mark.parametrize("tile", [Tile(1, 2), Tile(2, 2), Tile(3, 6)])
def test_only_the_first_of_a_stack_are_asked_about(tile, count):
  asked = []

  def part(values, stacks):
    jax.debug.callback(lambda x: asked.append(x.shape[:2]), stacks)
    return {"sum": values[:, None] + stacks.sum(-1)}

  stacks = np.arange(36, dtype=np.float32).reshape(3, 6, 2)
  values, active = jnp.asarray(VALUES), jnp.array([True, False, True])
  found = stack_images(part, tile, (values,), jnp.asarray(stacks), count, active)
  jax.effects_barrier()
  expected = np.asarray(VALUES)[:, None] + stacks.sum(-1)
  # Tiles of draws, times tiles of the two active images.
  turns = -(-count // tile.draws) * -(-2 // tile.images)
  assert asked == [tuple(tile[:2])] * turns
  done = -(-count // tile.draws) * tile.draws
  np.testing.assert_array_equal(found["sum"][[0, 2], :done], expected[[0, 2], :done])
  assert not found["sum"][:, done:].any()
  assert not found["sum"][1].any()


def test_what_is_summed_is_traced_once_for_all_calls():
  traced = []

  def noted(*arguments):
    traced.append(arguments)
    return part(*arguments)

  def run(values):
    draws = Draws(STEP, 6, np.ones(3, bool))
    return mean_over_draws(noted, jnp.zeros(3), Tile(1, 1, 3), (values,), KEYS, draws)

  jax.eval_shape(run, VALUES)
  assert len(traced) == 1
