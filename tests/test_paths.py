"""Paths of multipliers against explanations made one by one."""

import re
from types import SimpleNamespace

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
  perturbations,
  pixel_rde,
  schedules,
  solvers,
  stopping,
)
from cawe_jax.engine.session import Session
from cawe_jax.explaining import optimality
from cawe_jax.explaining import path as paths
from cawe_jax.explaining.one import Found
from cawe_jax.explaining.path import LOWER_MULTIPLIERS, RETAIN_MULTIPLIERS
from cawe_jax.numerics.streams import Stream
from cawe_jax.obfuscations import obfuscate
from cawe_jax.outputs import softmax
from cawe_jax.recipes import Recipe

# The largest multipliers of a path leave nothing (tests/test_emptiness.py).
pytestmark = pytest.mark.filterwarnings("ignore::cawe_jax.EmptyMaskWarning")
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
  """Retained probabilities ``[M, B]`` and masks of the runs, one explain each.

  All draws of this method are the same, so what is judged is what is reported.
  """
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


def test_the_multiplier_is_halved_where_the_first_retains_too_little():
  found = explain_retaining(CLASSIFIER, IMAGES, METHOD, 0.9, key=KEY)
  multipliers = found.lagrange_multiplier.tolist()
  assert np.all(found.retained_probability >= 0.9)
  lower = [b for b in range(3) if multipliers[b] < RETAIN_MULTIPLIERS[0]]
  assert lower
  for b in lower:
    method = METHOD._replace(lagrange_multiplier=2 * multipliers[b])
    denser = explain(CLASSIFIER, IMAGES[b], method, key=KEY)
    assert denser.retained_probability < 0.9
    # Two multipliers in a row failed, 30 steps and a third of that; then 30 for each.
    halvings = LOWER_MULTIPLIERS.index(multipliers[b]) + 1
    assert found.model_evaluations[b] == 40 + 30 * halvings
  assert found.history.objective.shape == (3, 30)


def test_retaining_one_image_equals_that_image_in_a_batch():
  found = explain_retaining(CLASSIFIER, IMAGES, METHOD, 0.6, key=KEY)
  alone = explain_retaining(CLASSIFIER, IMAGES[1], METHOD, 0.6, key=KEY)
  multiplier = alone.lagrange_multiplier
  assert multiplier == found.lagrange_multiplier[1]
  assert np.ndim(multiplier) == np.ndim(alone.rate) == 0
  # 32-bit rounding of two programs, passed on by forty Adam steps.
  np.testing.assert_allclose(alone.mask[0], found.mask[0][1], atol=1e-3)


def test_only_masks_that_are_returned_are_checked(monkeypatch):
  check, checked = optimality.check, []

  def counted(session, masks):
    checked.append(masks)
    return check(session, masks)

  monkeypatch.setattr(optimality, "check", counted)
  found = explain_retaining(CLASSIFIER, IMAGES, METHOD, 0.6, key=KEY)
  (masks,) = checked
  np.testing.assert_array_equal(masks[0], found.mask[0])
  assert np.isfinite(found.gap_standard_error).all()


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

    class Scripted:
      num_draws = 1

      def __init__(self, classifier, images, method, **options):
        multiplier = np.asarray(method.lagrange_multiplier, np.float32)
        self.lagrange_multiplier = np.broadcast_to(multiplier, (len(images),))

    def scripted_search(session, classifier, method, start, callback):
      starts.append(start)
      mask = (np.full_like(template.mask[0], method.lagrange_multiplier),)
      return Found(mask, template.num_steps, template.history)

    def scripted_report(session, found):
      multiplier = session.lagrange_multiplier
      return template._replace(mask=found.mask, lagrange_multiplier=multiplier)

    monkeypatch.setattr(paths, "Session", Scripted)
    monkeypatch.setattr(paths, "optimise", scripted_search)
    monkeypatch.setattr(paths, "best_of", lambda session, candidates: candidates[-1])
    monkeypatch.setattr(paths, "report", scripted_report)
    monkeypatch.setattr(
      paths, "retains", lambda session, masks, retain: next(rows) >= retain
    )
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


def test_a_path_may_be_followed_to_its_end(scripted):
  starts = scripted([[1, 1]] * 9)
  assert retain_half() == [640.0, 640.0]
  assert len(starts) == 9


def test_a_warning_says_where_no_multiplier_retains_enough(scripted):
  # NaN is not enough. The other image keeps its mask while this one's is sought.
  starts = scripted([[np.nan, 1]] * 9 + [[np.nan, 0.6]] * 9)
  message = r"down to 0\.00488281 retains 0\.5 of the probability for image\(s\) 0 \("
  with pytest.warns(UserWarning, match=message):
    assert retain_half() == [LOWER_MULTIPLIERS[-1], 640.0]
  # Masks are never sought from those of a larger multiplier.
  assert starts[9:] == [None] * 9


def test_a_path_of_ones_own_is_followed_to_its_end(scripted):
  starts = scripted([[0.4, 1], [0.6, 0.4], [0.4, 0.4], [0.5, 0.3]])
  found = explain_retaining(
    CLASSIFIER, IMAGES[:2], METHOD, 0.5, key=KEY, multipliers=[1, 3, 9, 27]
  )
  # Two failures in a row end nothing here.
  assert found.lagrange_multiplier.tolist() == [27, 1]
  assert len(starts) == 4


@pytest.mark.parametrize("multipliers", [[], [2.0, 1.0], [1.0, 1.0], 3.0])
def test_paths_of_ones_own_must_increase(multipliers):
  with pytest.raises(ValueError, match="it must be an increasing list"):
    explain_retaining(CLASSIFIER, IMAGES, METHOD, 0.5, key=KEY, multipliers=multipliers)


def test_a_mask_is_judged_on_draws_that_it_is_not_reported_on():
  noisy = METHOD._replace(perturbation=perturbations.adaptive_gaussian())
  options = {"key": KEY, "targets": None, "image_ids": None, "rows": None}
  session = Session(CLASSIFIER, IMAGES, noisy, **options)
  half = (np.full((3, 1, 6, 8, 1), 0.5, np.float32),)
  count = paths.RETAINED_DRAWS[0]
  seen = session.estimate(half, Stream.RETAINED, count).score
  outputs = obfuscate(CLASSIFIER, IMAGES, half, noisy, key=KEY, draws=64).outputs
  score = jax.nn.softmax(outputs)[np.arange(3), :, session.problems.target[:3]].mean(1)
  clean = jax.nn.softmax(CLASSIFIER(IMAGES))[np.arange(3), session.problems.target[:3]]
  reported = np.asarray(score / clean)
  judged = np.asarray(seen / clean)
  assert np.all(judged != reported)
  # Means of 64 draws whose spread is below a half of the clean probability.
  np.testing.assert_allclose(judged, reported, atol=4 * 0.5 * (2 / 64) ** 0.5)
  for retain in (judged - 1e-3, judged + 1e-3):
    closely = [paths.retains(session, half, share)[i] for i, share in enumerate(retain)]
    many = session.estimate(half, Stream.RETAINED, paths.RETAINED_DRAWS[1]).score
    np.testing.assert_array_equal(closely, many / clean >= retain)


def test_zeros_are_no_candidate_where_a_share_is_to_be_retained():
  """At the first multiplier nothing has a lower objective, and retains nothing."""
  sure = explain(CLASSIFIER, IMAGES[0], METHOD, key=KEY)
  lost = float((sure.probability * 0.9) ** 2)
  multiplier = 1.5 * lost
  method = METHOD._replace(lagrange_multiplier=multiplier)
  short = method._replace(recipe=RECIPE._replace(num_steps=3))
  assert explain(CLASSIFIER, IMAGES[0], short, key=KEY).rate == 0
  found = explain_retaining(
    CLASSIFIER, IMAGES[0], short, 0.9, key=KEY, multipliers=[multiplier]
  )
  assert found.rate > 0
  assert found.retained_probability >= 0.9


class Lucky(Session):
  """A session of two images of which draws are worth what is given."""

  size = 2

  def __init__(self, scores):
    self.scores, self.asked = np.asarray(scores), []
    self.output = softmax()
    logits = jnp.log(jnp.array([[0.5, 0.5]] * 2))
    self.problems = SimpleNamespace(clean_logits=logits, target=jnp.array([0, 0]))

  def num_different(self, count):
    return count

  def crop(self, tree):
    return tree

  def worth(self, masks, which, wanted=None):
    self.asked.append((len(which.indices), wanted.tolist()))
    return SimpleNamespace(score=self.scores[:, which.indices])


def test_more_draws_decide_what_few_leave_open():
  # The first image retains all of .5 in every draw; the second's first 64 draws have
  # bad luck, .44 instead of .48, which is within two of their standard errors.
  few, many = paths.RETAINED_DRAWS
  unlucky = np.tile([0.24, 0.64], many // 2)
  unlucky[few:] = np.tile([0.28, 0.7], (many - few) // 2)
  session = Lucky([np.full(many, 0.5), unlucky])
  assert paths.retains(session, (), 0.95).tolist() == [True, True]
  assert session.asked == [(few, [True, True]), (many - few, [False, True])]
  # Of a mask that is far from enough, few are enough to say so.
  session = Lucky([np.full(many, 0.5), unlucky])
  assert paths.retains(session, (), 1.4).tolist() == [False, False]
  assert session.asked == [(few, [True, True])]


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
