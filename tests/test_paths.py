"""Paths of multipliers against explanations made one by one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax import (
  Classifier,
  explain,
  explain_path,
  explain_retaining,
  initial_masks,
  paths,
  perturbations,
  pixel_rde,
  schedules,
  solvers,
  stopping,
)
from cawe_jax.paths import RETAIN_MULTIPLIERS
from cawe_jax.recipes import Recipe

pytestmark = pytest.mark.usefixtures("quick_compilation")

SHAPE, SIZE = (6, 8, 1), 48
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0.3, 1, (3, *SHAPE)).astype(np.float32)
# A few pixels carry the decision, each half of the one before.
WEIGHTS = np.zeros(SIZE, np.float32)
WEIGHTS[RNG.choice(SIZE, 6, replace=False)] = 6 * 0.5 ** np.arange(6)
RECIPE = Recipe(
  "test",
  initial_masks.ones(),
  solvers.adam(),
  schedules.linear_decay(),
  stopping.never(),
  step_size=0.1,
  num_steps=30,
  num_draws=1,
)


def two_classes(weights, images):
  margin = images.reshape(len(images), -1) @ weights - 2
  return jnp.stack([margin / 2, -margin / 2], axis=1)


CLASSIFIER = Classifier(two_classes, jnp.asarray(WEIGHTS), SHAPE[:2])
METHOD = pixel_rde(perturbation=perturbations.zeros(), recipe=RECIPE)


def by_hand():
  """Retained probabilities ``[M, B]`` and masks of the runs, one explain each."""
  retained, masks, start = [], [], None
  for multiplier in RETAIN_MULTIPLIERS:
    recipe = RECIPE if start is None else RECIPE._replace(num_steps=10)
    method = METHOD._replace(lagrange_multiplier=multiplier, recipe=recipe)
    found = explain(CLASSIFIER, IMAGES, method, key=KEY, initial_masks=start)
    start = found.mask
    retained.append(found.retained_probability)
    masks.append(found.mask[0])
  return np.stack(retained), np.stack(masks)


def test_retaining_takes_the_largest_multiplier_that_retains_enough():
  found = explain_retaining(CLASSIFIER, IMAGES, METHOD, 0.6, key=KEY)
  multipliers = found.lagrange_multiplier
  retained, masks = by_hand()
  for b in range(3):
    best = max(np.flatnonzero(retained[:, b] >= 0.6))
    assert multipliers[b] == np.float32(RETAIN_MULTIPLIERS[best])
    np.testing.assert_array_equal(found.mask[0][b], masks[best, b])
    np.testing.assert_array_equal(found.retained_probability[b], retained[best, b])
    # A longer history than another image's is filled up with NaN.
    num_steps = 30 if best == 0 else 10
    assert found.num_steps[b] == num_steps
    multiplier = found.history.lagrange_multiplier[b]
    np.testing.assert_array_equal(multiplier[:num_steps], multipliers[b])
  assert len(set(multipliers.tolist())) > 1
  assert min(multipliers) > RETAIN_MULTIPLIERS[0]


def test_retaining_falls_back_on_the_smallest_multiplier():
  found = explain_retaining(CLASSIFIER, IMAGES, METHOD, 0.99, key=KEY)
  assert found.lagrange_multiplier.tolist() == [RETAIN_MULTIPLIERS[0]] * 3
  assert np.all(found.retained_probability < 0.99)
  # Two multipliers in a row failed: 30 steps and a third of that.
  assert found.model_evaluations.tolist() == [40] * 3
  assert found.history.objective.shape == (3, 30)


def test_retaining_one_image_equals_that_image_in_a_batch():
  found = explain_retaining(CLASSIFIER, IMAGES, METHOD, 0.6, key=KEY)
  alone = explain_retaining(CLASSIFIER, IMAGES[1], METHOD, 0.6, key=KEY)
  multiplier = alone.lagrange_multiplier
  assert multiplier == found.lagrange_multiplier[1]
  assert np.ndim(multiplier) == np.ndim(alone.rate) == 0
  # 32-bit rounding of two programs, passed on by forty Adam steps.
  np.testing.assert_allclose(alone.mask[0], found.mask[0][1], atol=1e-3)


@pytest.fixture
def scripted(monkeypatch):
  """Let the runs retain what a table says; returns the masks that they start from."""
  template = explain(
    CLASSIFIER,
    IMAGES[:2],
    METHOD._replace(recipe=RECIPE._replace(num_steps=1)),
    key=KEY,
  )

  def script(table):
    starts, rows = [], iter(np.array(table))

    def scripted_explain(classifier, images, method, *, initial_masks, **options):
      starts.append(initial_masks)
      mask = (np.full_like(template.mask[0], method.lagrange_multiplier),)
      return template._replace(
        mask=mask,
        retained_probability=next(rows),
        lagrange_multiplier=np.full(2, method.lagrange_multiplier, np.float32),
      )

    monkeypatch.setattr(paths, "explain", scripted_explain)
    return starts

  return script


def retain_half():
  found = explain_retaining(CLASSIFIER, IMAGES[:2], METHOD, 0.5, key=KEY)
  multipliers = found.lagrange_multiplier
  np.testing.assert_array_equal(found.mask[0][:, 0, 0, 0, 0], multipliers)
  return multipliers.tolist()


def test_a_path_ends_at_two_failures_in_a_row(scripted):
  # One failure is forgiven, exactly enough is enough, and what comes after the end of
  # one image's path counts for the other only.
  starts = scripted([[1, 1], [0.4, 0.4], [0.5, 0.4], [0, 0.9], [0, 0.9]])
  assert retain_half() == [10.0, 2.5]
  assert len(starts) == 5
  assert starts[0] is None
  for mask, multiplier in zip(starts[1:], RETAIN_MULTIPLIERS, strict=False):
    assert np.all(mask[0] == multiplier)


def test_nan_is_not_enough_and_the_path_may_be_followed_to_its_end(scripted):
  starts = scripted([[np.nan, 1]] * 9)
  assert retain_half() == [2.5, 640.0]
  assert len(starts) == 9


def test_a_callback_sees_every_run_and_ends_the_path():
  seen = []

  def callback(progress):
    seen.append((progress.num_steps, progress.step))
    return len(seen) == 5

  found = explain_retaining(CLASSIFIER, IMAGES, METHOD, 0.1, key=KEY, callback=callback)
  assert seen == [(30, 10), (30, 20), (30, 30), (10, 10), (10, 10)]
  assert found.lagrange_multiplier.tolist() == [10.0] * 3
  assert found.model_evaluations.tolist() == [50] * 3


def test_a_warm_start_saves_steps():
  few = METHOD._replace(lagrange_multiplier=5.0, recipe=RECIPE._replace(num_steps=10))
  neighbour = explain(
    CLASSIFIER, IMAGES, METHOD._replace(lagrange_multiplier=2.5), key=KEY
  )
  warm = explain(CLASSIFIER, IMAGES, few, key=KEY, initial_masks=neighbour.mask)
  cold = explain(CLASSIFIER, IMAGES, few, key=KEY)
  assert np.all(warm.objective < 0.9 * cold.objective)


@pytest.mark.parametrize("retain", [0.0, -0.1, 1.1, float("nan"), float("inf")])
def test_shares_out_of_range_are_refused(retain):
  with pytest.raises(ValueError, match=re.escape(f"retain is {retain}; ")) as error:
    explain_retaining(CLASSIFIER, IMAGES, METHOD, retain, key=KEY)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("message", "image", "multipliers"),
  [
    ("image has shape (3, 6, 8, 1)", IMAGES, [1.0]),
    ("image has shape (6, 8)", IMAGES[0, :, :, 0], [1.0]),
    ("lagrange_multipliers is []", IMAGES[0], []),
    ("lagrange_multipliers is 2.0", IMAGES[0], 2.0),
    ("it must be finite and at least 0", IMAGES[0], [1.0, -1.0]),
    ("it must be finite and at least 0", IMAGES[0], [1.0, float("nan")]),
    ("images has values in", 2 * IMAGES[0], [1.0]),
  ],
)
def test_bad_paths_are_refused(message, image, multipliers):
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    explain_path(CLASSIFIER, image, METHOD, multipliers, key=KEY)
  assert "\n" not in str(error.value)


def test_a_path_equals_explanations_one_by_one():
  path = explain_path(CLASSIFIER, IMAGES[0], METHOD, [2.5, 10.0], key=KEY, image_id=3)
  for i, multiplier in enumerate([2.5, 10.0]):
    method = METHOD._replace(lagrange_multiplier=multiplier)
    one = explain(CLASSIFIER, IMAGES[0], method, key=KEY, image_ids=3)
    # As above.
    np.testing.assert_allclose(path.mask[0][i], one.mask[0], atol=1e-3)
