"""A batch on the devices: memory that does not suffice, padding, refusals."""

import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cawe_jax import (
  Classifier,
  explain,
  initial_masks,
  perturbations,
  pixel_rde,
  schedules,
  solvers,
  stopping,
)
from cawe_jax.engine import judging, programs, session
from cawe_jax.engine.session import Session
from cawe_jax.explaining.optimality import NUM_GROUPS
from cawe_jax.numerics.streams import Stream
from cawe_jax.numerics.tiles import Which
from cawe_jax.recipes import Recipe

SHAPE = (6, 5, 1)
IMAGES = np.random.default_rng(0).random((3, *SHAPE), np.float32)
KEY = jax.random.key(0)
RECIPE = Recipe(
  "test",
  initial_masks.ones(),
  solvers.projected(optax.sgd(1.0)),
  schedules.constant(),
  stopping.never(),
  step_size=0.5,
  num_steps=3,
  num_draws=4,
)
METHOD = pixel_rde(0.1, recipe=RECIPE)


@pytest.fixture(scope="module")
def classifier(make_tiny_classifier):
  return make_tiny_classifier(SHAPE)


@pytest.fixture
def little_memory(monkeypatch):
  """Let a program fail where a tile has more than ``limit`` rows; the tiles it got."""

  def limit_to(program, limit, message="RESOURCE_EXHAUSTED: Out of memory"):
    tiles = []

    def limited(mesh, shapes, *arguments):
      (tile,) = shapes
      tiles.append(tuple(tile))
      if math.prod(tile) > limit:
        raise jax.errors.JaxRuntimeError(message)
      return program(mesh, shapes, *arguments)

    module = sys.modules[program.__module__]
    monkeypatch.setattr(module, program.__name__, limited)
    return tiles

  return limit_to


def test_rows_are_halved_until_memory_suffices(little_memory, classifier, monkeypatch):
  monkeypatch.setattr(session, "_SHORT_RUN", 0)
  expected = explain(classifier, IMAGES, METHOD, key=KEY, rows=1)
  seen = little_memory(programs.segment, limit=1)
  found = explain(classifier, IMAGES, METHOD, key=KEY, rows=16)
  # Two calls side by side as long as there are two rows.
  assert seen[:5] == [(4, 2, 2), (2, 2, 2), (1, 2, 2), (1, 1, 2), (1, 1, 1)]
  # And so are the gradients of the check.
  assert seen[5:] == [(1, 1, 1)] * NUM_GROUPS
  # The order of 32-bit sums in the looks before, where memory did suffice.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected
  )
  np.testing.assert_array_equal(found.num_steps, [3, 3, 3])
  assert found.rate.max() < 1


JUDGING = [judging.forward, judging.draw]


@pytest.mark.parametrize("program", JUDGING, ids=lambda program: program.__name__)
def test_masks_are_judged_with_the_rows_for_which_memory_suffices(
  program, little_memory, classifier
):
  expected = explain(classifier, IMAGES, METHOD, key=KEY, rows=1)
  seen = little_memory(program, limit=1)
  found = explain(classifier, IMAGES, METHOD, key=KEY, rows=4)
  assert math.prod(seen[0]) > 1
  assert seen[-1] == (1, 1, 1)
  # The order of 32-bit sums.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected
  )


@pytest.mark.parametrize("program", JUDGING, ids=lambda program: program.__name__)
def test_what_runs_a_few_times_holds_the_network_once(
  program, little_memory, classifier
):
  tiles = little_memory(program, limit=16)
  explain(classifier, IMAGES, METHOD, key=KEY, rows=4)
  assert tiles
  assert all(calls == 1 for _, _, calls in tiles)


@pytest.mark.parametrize(("draws", "turns"), [(1, 32), (5, 7), (1000, 1)])
def test_as_many_draws_are_judged_in_a_turn_as_memory_has_room_for(
  draws, turns, classifier, little_memory, monkeypatch
):
  options = {"key": KEY, "targets": None, "image_ids": None, "rows": 3}
  opened = Session(classifier, IMAGES, METHOD, **options)
  halves = (np.full((3, 1, *SHAPE[:2], 1), 0.5, np.float32),)
  expected = opened.observe(halves, step=7, count=32)
  of_one_draw = 4 * 4 * math.prod(SHAPE)  # float32, three images and one of padding
  backend = jax.default_backend()
  monkeypatch.setitem(session._TURN_BYTES, backend, draws * of_one_draw)
  monkeypatch.setitem(session._JUDGED_DRAWS, backend, 1)
  seen = little_memory(judging.forward, limit=16)
  found = opened.observe(halves, step=7, count=32)
  assert len(seen) == turns
  for one, other in zip(found, expected, strict=True):
    assert one.shape[:2] == (3, 32)
    # Products of 32-bit matrices with other numbers of rows.
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_one_row_that_does_not_fit_is_an_error(little_memory, classifier):
  tiles = little_memory(programs.segment, limit=0)
  with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
    explain(classifier, IMAGES, METHOD, key=KEY, rows=1)
  assert tiles == [(1, 1, 1)]


def test_other_failures_are_not_taken_for_a_lack_of_memory(little_memory, classifier):
  tiles = little_memory(programs.segment, 1, "INTERNAL: a broken device")
  with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
    explain(classifier, IMAGES, METHOD, key=KEY, rows=4)
  assert len(tiles) == 1


def test_draws_that_are_all_equal_are_made_once(classifier):
  black = METHOD._replace(perturbation=perturbations.zeros())
  options = {"key": KEY, "targets": None, "image_ids": None, "rows": 1}
  assert Session(classifier, IMAGES, METHOD, **options).num_draws == 4
  assert Session(classifier, IMAGES, black, **options).num_draws == 1


def test_evaluations_are_cropped_to_the_batch(classifier):
  opened = Session(
    classifier, IMAGES, METHOD, key=KEY, targets=[0, 1, 2], image_ids=1, rows=1
  )
  halves = (np.full((3, 1, *SHAPE[:2], 1), 0.5, np.float32),)
  estimate, (slope,) = opened.evaluate(halves, step=7, count=4)
  assert estimate.distortion.shape == (3,)
  assert slope.shape == halves[0].shape
  again, *_ = opened.evaluate(halves, step=7, count=4)
  np.testing.assert_array_equal(again.distortion, estimate.distortion)
  other, *_ = opened.evaluate(halves, step=8, count=4)
  assert np.all(other.distortion != estimate.distortion)


@pytest.mark.parametrize("step", [7, Stream.CHECK, Stream.EXCHANGE])
@pytest.mark.parametrize("rows", [1, 8])
def test_the_gradient_is_the_slope_of_the_mean_on_the_same_draws(
  step, rows, classifier
):
  """The steps' program gives it; the network by itself gives the differences."""
  opened = open_session(classifier, METHOD, rows=rows)
  rng = np.random.default_rng(0)
  masks = (rng.uniform(0.3, 0.7, (3, 1, *SHAPE[:2], 1)).astype(np.float32),)
  estimate, (slope,) = opened.evaluate(masks, step, 6)
  same = opened.estimate(masks, step, 6)
  for ours, theirs in zip(estimate, same, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
  # Along the gradient, by a hundredth: the curvature is of the third order there, and
  # 32 bits round a distortion of 0.1 to 1e-8.
  size = np.sqrt((slope**2).sum((1, 2, 3, 4), keepdims=True))
  ahead, behind = (
    opened.estimate((masks[0] + sign * 0.01 * slope / size,), step, 6).distortion
    for sign in (1, -1)
  )
  np.testing.assert_allclose((ahead - behind) / 0.02, size.ravel(), rtol=1e-2)


def test_the_network_is_not_asked_about_images_that_are_not_wanted(classifier):
  asked = []

  def spying(params, images):
    jax.debug.callback(lambda x: asked.append(len(x)), images)
    return classifier.apply(params, images)

  opened = open_session(Classifier(spying, classifier.params, SHAPE[:2]), METHOD)
  halves = (np.full((3, 1, *SHAPE[:2], 1), 0.5, np.float32),)
  indices = np.arange(6, dtype=np.uint32)
  which = Which(np.full_like(indices, Stream.REPORT), indices)
  rows, found = [], []
  for wanted in (None, np.array([False, True, False])):
    jax.effects_barrier()
    asked.clear()
    found.append(opened.worth(halves, which, wanted))
    jax.effects_barrier()
    rows.append(sum(asked))
  assert rows == [18, 6]
  np.testing.assert_allclose(found[1].score[1], found[0].score[1], rtol=1e-6)


def test_images_themselves_are_asked_about_in_one_call(classifier):
  """Though a turn has room for all draws that are reported."""
  asked = []

  def spying(params, images):
    jax.debug.callback(lambda x: asked.append(len(x)), images)
    return classifier.apply(params, images)

  spied = Classifier(spying, classifier.params, SHAPE[:2])
  open_session(spied, METHOD, IMAGES[:1], rows=2)
  jax.effects_barrier()
  assert asked == [2]


def test_a_process_uses_its_own_devices_alone(monkeypatch, classifier):
  expected = explain(classifier, IMAGES, METHOD, key=KEY, rows=1)
  elsewhere = [object(), *jax.devices()]
  monkeypatch.setattr(jax, "devices", lambda *arguments: elsewhere)
  found = explain(classifier, IMAGES, METHOD, key=KEY, rows=1)
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_values_are_what_lies_above_the_images_own(classifier):
  own = np.float32([1e-3, -2.0, 0.5])  # of an image whose target this is

  def score(clean, logits, target):
    lost = jax.nn.softmax(clean)[target] - jax.nn.softmax(logits)[target]
    return lost + jnp.asarray(own)[target]

  told = []

  class deaf(solvers.Solver):
    def init(self, masks):
      return solvers.SolverState(masks, ())

    def step(self, oracle, state, step_size):
      evaluation = oracle(state.mask)
      jax.debug.callback(lambda x: told.append(np.asarray(x)), evaluation.value)
      return state, evaluation

  recipe = RECIPE._replace(solver=deaf(), num_steps=1)
  method = METHOD._replace(recipe=recipe, distortion=score)
  found = explain(classifier, IMAGES, method, key=KEY, targets=[0, 1, 2], rows=1)
  jax.effects_barrier()
  value = told[0][: len(IMAGES)]
  np.testing.assert_allclose(value, found.history.distortion[:, 0] - own, atol=1e-6)


def open_session(classifier, method, images=IMAGES, rows=1):
  return Session(
    classifier, images, method, key=KEY, targets=None, image_ids=None, rows=rows
  )


def test_a_distortion_may_be_infinite_at_the_image_itself(classifier):
  def logarithm(clean, logits, target):
    return jnp.log(jnp.sum((clean - logits) ** 2))

  problems = open_session(classifier, METHOD._replace(distortion=logarithm)).problems
  assert problems.clean_distortion.tolist() == [0.0] * len(problems.target)


def test_the_multiplier_is_a_copy_of_the_callers(classifier):
  given = np.array([1, 2], np.float32)  # two need no padding, which is a copy too
  method = METHOD._replace(lagrange_multiplier=given)
  opened = open_session(classifier, method, IMAGES[:2])
  given[:] = 0
  assert opened.lagrange_multiplier.tolist() == [1, 2]
