"""Hard masks of an exact budget against all masks of that budget."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cawe_jax import (
  Classifier,
  distortions,
  explain,
  explain_budget,
  initial_masks,
  perturbations,
  pixel_rde,
  schedules,
  solvers,
  stopping,
)
from cawe_jax.engine.session import Session
from cawe_jax.explaining import budget as hard_masks
from cawe_jax.explaining.budget import top_l
from cawe_jax.explaining.choice import NUM_CHOICE_DRAWS
from cawe_jax.numerics.streams import Stream
from cawe_jax.recipes import Recipe

SHAPE, SIZE = (3, 4, 1), 12
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0.3, 1, (6, *SHAPE)).astype(np.float32)
# Mostly for class 0, which every image therefore is.
WEIGHTS = np.sort(RNG.uniform(-0.3, 1, SIZE)).astype(np.float32)
# A search that finds nothing, so that the exchanges have to.
NO_SEARCH = Recipe(
  "test",
  initial_masks.random(),
  solvers.projected(optax.sgd(1.0)),
  schedules.constant(),
  stopping.never(),
  step_size=1e-6,
  num_steps=1,
  num_draws=2,
)


def two_classes(weights, images):
  margin = images.reshape(len(images), -1) @ weights
  return jnp.stack([margin / 2, -margin / 2], axis=1)


CLASSIFIER = Classifier(two_classes, jnp.asarray(WEIGHTS), SHAPE[:2])


def linear(distortion=distortions.label_squared_error, **options):
  options = {"perturbation": perturbations.zeros(), "recipe": NO_SEARCH} | options
  return pixel_rde(0.0, distortion=distortion, **options)


def flat(masks):
  return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in masks], axis=1)


def all_masks(budget):
  rows = np.zeros((0, SIZE))
  for ones in itertools.combinations(range(SIZE), budget):
    rows = np.concatenate([rows, np.isin(np.arange(SIZE), ones)[None]])
  return rows


def exact_distortions(masks, distortion):
  """Of masks ``[M, 12]`` with zeros in place of what is lost, ``[6, M]``."""
  margins = np.einsum("mi,bi,i->bm", masks, IMAGES.reshape(-1, SIZE), WEIGHTS)
  p = 1 / (1 + np.exp(-margins))
  if distortion is distortions.maximise_probability:
    return 1 - p
  clean = 1 / (1 + np.exp(-IMAGES.reshape(-1, SIZE) @ WEIGHTS))
  return (clean[:, None] - p) ** 2


@pytest.mark.parametrize(
  "distortion", [distortions.label_squared_error, distortions.maximise_probability]
)
def test_equals_the_best_of_all_masks(distortion):
  start = explain(CLASSIFIER, IMAGES, linear(distortion), key=KEY)
  for budget in (1, 2, 5, 9, 11):
    found = explain_budget(CLASSIFIER, IMAGES, linear(distortion), budget, key=KEY)
    mask = flat(found.mask)
    assert np.all((mask == 0) | (mask == 1))
    assert mask.sum(1).tolist() == [budget] * 6
    np.testing.assert_allclose(found.rate_l0, budget / SIZE, rtol=1e-6)
    best = exact_distortions(all_masks(budget), distortion).min(1)
    # 32-bit rounding of probabilities; the second best of 792 masks is farther.
    np.testing.assert_allclose(found.distortion, best, atol=1e-6)
    naive = exact_distortions(flat(top_l(start.mask, budget)), distortion)
    assert np.mean(np.diagonal(naive) > best + 1e-5) > 0.5


def largest_entries(method, budget):
  return top_l(explain(CLASSIFIER, IMAGES, method, key=KEY).mask, budget)


def judged(method, masks):
  """The distortion on the draws that choose, and on those that are reported."""
  session = Session(
    CLASSIFIER, IMAGES, method, key=KEY, targets=None, image_ids=None, rows=None
  )
  chosen = session.estimate(masks, Stream.CHOICE, NUM_CHOICE_DRAWS).distortion
  return chosen, session.assess(masks).estimate.distortion


NOISY = linear(perturbation=perturbations.adaptive_gaussian())


def test_is_not_worse_than_the_largest_entries_on_the_draws_that_choose():
  for budget in (3, 6):
    found = explain_budget(CLASSIFIER, IMAGES, NOISY, budget, key=KEY)
    assert flat(found.mask).sum(1).tolist() == [budget] * 6
    assert np.all(found.distortion_standard_error > 0)
    baseline, reported = judged(NOISY, largest_entries(NOISY, budget))
    chosen, again = judged(NOISY, found.mask)
    assert np.all(chosen <= baseline)
    # What is reported is measured on other draws than those that chose.
    np.testing.assert_array_equal(again, found.distortion)
    assert np.all(again != chosen)
    assert np.mean(found.distortion) < 0.8 * np.mean(reported)


def test_exchanges_that_do_not_help_on_other_draws_are_dropped(monkeypatch):
  def worst(session, masks, watch):
    del session, watch
    inverted = jax.tree.map(lambda s: -WEIGHTS.reshape(s[0].shape) + 0 * s, masks)
    return top_l(inverted, 3), 0

  monkeypatch.setattr(hard_masks, "_exchange", worst)
  found = explain_budget(CLASSIFIER, IMAGES, NOISY, 3, key=KEY)
  largest = largest_entries(NOISY, 3)
  kept = (flat(found.mask) == flat(largest)).all(axis=1)
  assert kept.sum() >= 4  # the worst weights may be lucky once
  baseline, reported = judged(NOISY, largest)
  np.testing.assert_array_equal(found.distortion[kept], reported[kept])
  assert np.all(judged(NOISY, found.mask)[0] <= baseline)


def test_an_image_alone_equals_the_image_in_a_batch():
  batch = explain_budget(CLASSIFIER, IMAGES, linear(), 4, key=KEY)
  alone = explain_budget(CLASSIFIER, IMAGES[2], linear(), 4, key=KEY)
  assert alone.mask[0].shape == (1, *SHAPE)
  assert alone.rate.shape == ()
  np.testing.assert_array_equal(alone.mask[0], batch.mask[0][2])


def test_the_cost_of_the_exchanges_is_told():
  relaxed = explain(CLASSIFIER, IMAGES[0], linear(), key=KEY)
  found = explain_budget(CLASSIFIER, IMAGES[0], linear(), 4, key=KEY)
  assert relaxed.model_evaluations == 1  # one step; its two draws would be equal
  assert found.model_evaluations > relaxed.model_evaluations


def test_the_exchanges_can_be_watched_and_stopped():
  method = linear()
  seen = []
  full = explain_budget(
    CLASSIFIER, IMAGES[0], method, 4, key=KEY, callback=lambda p: seen.append(p)
  )
  exchanging = [p for p in seen if all(np.isin(p.masks[0], (0, 1)).ravel())]
  assert len(exchanging) > 1
  assert all(p.masks[0].sum() == 4 for p in exchanging)
  assert all(p.step == p.num_steps for p in exchanging)

  def stop(progress):
    return bool(np.isin(progress.masks[0], (0, 1)).all())

  short = explain_budget(CLASSIFIER, IMAGES[0], method, 4, key=KEY, callback=stop)
  assert short.mask[0].sum() == 4
  assert short.model_evaluations < full.model_evaluations


def test_ties_go_to_the_entry_that_matters_then_to_the_first():
  one = np.ones((2, 1, 2, 2, 1), np.float32)
  (first,) = top_l((one,), 3)
  assert first.reshape(2, 4).tolist() == [[1, 1, 1, 0]] * 2
  rank = np.arange(8.0).reshape(one.shape) * [[[[[1]]]], [[[[-1]]]]]
  (ranked,) = top_l((one,), 2, tie_break=(rank,))
  assert ranked.reshape(2, 4).tolist() == [[0, 0, 1, 1], [1, 1, 0, 0]]
  # A tie-break breaks ties only.
  (best,) = top_l((np.arange(8.0).reshape(one.shape),), 1, tie_break=(-rank,))
  assert best.reshape(2, 4).tolist() == [[0, 0, 0, 1]] * 2


def test_the_largest_are_chosen_across_leaves():
  leaves = (np.array([[0.1, 0.9]]), np.array([[[0.5], [0.2], [0.0]]]))
  first, second = top_l(leaves, 3)
  assert first.tolist() == [[0, 1]]
  assert second.tolist() == [[[1], [1], [0]]]


def test_the_largest_entries_are_those_before_the_contrast():
  # Which makes all entries 1: the gradient alone would tell them apart.
  flat = linear(recipe=NO_SEARCH._replace(contrast=(0.0, 1e-4)))
  found, expected = (
    explain_budget(CLASSIFIER, IMAGES, m, 5, key=KEY, callback=lambda p: True)
    for m in (flat, linear())
  )
  np.testing.assert_array_equal(found.mask[0], expected.mask[0])


@pytest.mark.parametrize("budget", [0, -1, 12, 13, 2.5])
def test_budgets_out_of_range_are_refused(budget):
  with pytest.raises(ValueError, match=f"budget is {budget}; .* from 1 to 11") as error:
    explain_budget(CLASSIFIER, IMAGES, linear(), budget, key=KEY)
  assert "\n" not in str(error.value)


def test_bad_arguments_are_refused_as_by_explain():
  with pytest.raises(ValueError, match="images has values in"):
    explain_budget(CLASSIFIER, 2 * IMAGES, linear(), 3, key=KEY)
  with pytest.raises(ValueError, match="target is 2; allowed are 0 to 1"):
    explain_budget(CLASSIFIER, IMAGES, linear(), 3, key=KEY, targets=2)
