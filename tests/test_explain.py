"""`explain` from end to end on networks whose answer is known."""

import dataclasses
import functools
import json
import os

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from explaining import (
  ADAM,
  HAAR,
  IMAGES,
  KEY,
  MULTIPLIER,
  SGD,
  SHAPE,
  compiled,
  flat,
  method,
)
from processes import run_python, with_devices

from cawe_jax import explain, explain_path, penalties, schedules, stopping, waveletx
from cawe_jax.files.images import image_id


@pytest.fixture(scope="module")
def classifier(make_tiny_classifier):
  return make_tiny_classifier(SHAPE)


@pytest.fixture(scope="module")
def batch(classifier):
  return explain(classifier, IMAGES, method(), key=KEY)


def test_fields_agree_with_each_other(batch, classifier):
  count = len(IMAGES)
  logits = np.asarray(classifier(jnp.asarray(IMAGES)))
  clean = np.asarray(jax.nn.softmax(logits))
  assert batch.target.tolist() == logits.argmax(1).tolist()
  close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)  # noqa: E731
  close(batch.probability, clean[np.arange(count), batch.target])
  masks = [flat(leaf[b] for leaf in batch.mask) for b in range(count)]
  close(batch.rate, [mask.mean() for mask in masks])
  close(batch.rate_l0, [np.mean(mask > 0) for mask in masks])
  close(batch.objective, batch.distortion + MULTIPLIER * batch.rate)
  assert batch.image.shape == (count, *SHAPE[:2], 1)
  assert batch.masked_image.shape == (count, *SHAPE)
  np.testing.assert_array_equal(batch.input_image, IMAGES)
  shown = jax.nn.softmax(classifier(jnp.asarray(batch.masked_image)))
  kept = np.asarray(shown)[np.arange(count), batch.target]
  close(batch.explanation_probability, kept / batch.probability)
  assert np.all(batch.distortion_standard_error > 0)
  assert batch.num_steps.tolist() == [13] * count
  assert batch.model_evaluations.tolist() == [26] * count
  history = batch.history
  assert history.objective.shape == (count, 13)
  close(history.objective, history.distortion + MULTIPLIER * history.rate)
  close(history.lagrange_multiplier, MULTIPLIER)
  close(history.rate[:, 0], 1)
  close(history.distortion[:, 0], 0)  # a mask of ones
  assert np.all(history.rate[:, -1] < 0.995)


def test_image_and_masked_image_are_what_the_mask_keeps(batch):
  bound, grey = HAAR(SHAPE), HAAR((*SHAPE[:2], 1))
  mask = tuple(leaf[0] for leaf in batch.mask)

  def keep(representation, image):
    def masked(image):
      h = representation.analysis(image)
      return representation.synthesis(
        tuple(s * x for s, x in zip(mask, h, strict=True))
      )

    return np.clip(jax.jit(masked)(image), 0, 1)

  # Rounding of transforms.
  np.testing.assert_allclose(batch.masked_image[0], keep(bound, IMAGES[0]), atol=1e-5)
  mean = IMAGES[0].mean(-1, keepdims=True)
  np.testing.assert_allclose(batch.image[0], keep(grey, mean), atol=1e-5)


def test_penalties_enter_objective_and_history(classifier):
  def edges(mask, explanation, scale):
    return scale * penalties.spatial_l1(mask, explanation)

  published = waveletx(0.2, 3.0, representation=HAAR, recipe=SGD)
  assert published.penalties == (penalties.spatial_l1,)
  assert published.penalty_weights == (3.0,)
  # Lists, as people write them, and two of one function, which are told apart.
  two = [functools.partial(edges, scale=s) for s in (2.0, 3.0)]
  several = published._replace(
    penalties=[penalties.spatial_l1, *two],
    penalty_weights=[3.0, np.float32(0.1), np.float32(0.2)],
  )
  found = explain(classifier, IMAGES, several, key=KEY)
  history, names = found.history, ["spatial_l1", "edges(scale=2.0)", "edges(scale=3.0)"]
  assert history.penalties.keys() == set(names)
  l1, doubled, tripled = (history.penalties[name] for name in names)
  np.testing.assert_allclose(doubled, 2 * l1, rtol=1e-5)
  np.testing.assert_allclose(tripled, 3 * l1, rtol=1e-5)
  weight = 3 + 0.1 * 2 + 0.2 * 3
  total = history.distortion + 0.2 * history.rate + weight * l1
  np.testing.assert_allclose(history.objective, total, rtol=1e-5)  # 32-bit sum
  # The first mask is all ones, the first explanation the image in grey.
  np.testing.assert_allclose(l1[:, 0], IMAGES.mean((1, 2, 3)), rtol=1e-4)
  last = found.distortion + 0.2 * found.rate + weight * found.image.mean((1, 2, 3))
  np.testing.assert_allclose(found.objective, last, rtol=1e-5)
  assert several.settings()["penalties"] == names
  json.dumps(several.settings())


def test_the_same_key_gives_the_same_mask_bit_for_bit(batch, classifier):
  again = explain(classifier, IMAGES, method(), key=KEY)
  jax.tree.map(np.testing.assert_array_equal, again, batch)
  other = explain(classifier, IMAGES, method(), key=jax.random.key(1))
  assert np.any(flat(other.mask) != flat(batch.mask))


TEN_STEPS = method(recipe=SGD._replace(num_steps=10, step_size=2.0))


@pytest.fixture(scope="module")
def sgd_batch(classifier):
  return explain(classifier, IMAGES, TEN_STEPS, key=KEY)


def check_ten_steps(actual, expected):
  # Ten plain steps, small enough that each multiplies rounding of 1e-6 by less than 2.
  for a, b in zip(actual.mask, expected.mask, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4)
  np.testing.assert_allclose(actual.distortion, expected.distortion, atol=1e-4)
  assert np.ptp(flat(expected.mask)) > 5e-3  # they moved, fifty times the tolerance


def test_an_image_alone_equals_the_image_in_a_batch(sgd_batch, classifier):
  alone = explain(classifier, IMAGES[2], TEN_STEPS, key=KEY)
  check_ten_steps(alone, jax.tree.map(lambda x: x[2], sgd_batch))
  assert alone.rate.shape == ()


def test_rows_change_nothing(sgd_batch, classifier):
  # Three rows: tiles of one image and two draws, not of two images.
  other = explain(classifier, IMAGES, TEN_STEPS, key=KEY, rows=3)
  check_ten_steps(other, sgd_batch)


def test_another_multiplier_image_and_key_compile_nothing(classifier):
  jax.clear_caches()
  with compiled() as names:
    explain(classifier, IMAGES[0], method(20.0), key=KEY)
  assert "segment" in names
  # Steps and step size are data, too.
  again = method(30.0, recipe=SGD._replace(step_size=0.2, num_steps=5))
  options = {"key": jax.random.key(1), "targets": 1, "image_ids": 7}
  with compiled() as names:
    explain(classifier, IMAGES[1], again, **options)
  assert names == []


def test_a_path_of_multipliers(classifier):
  multipliers = 0.01 * 2.0 ** np.arange(8)
  several, rates = method(recipe=ADAM._replace(num_steps=30)), []
  jax.clear_caches()
  for seed in range(3):
    with compiled() as names:
      path = explain_path(
        classifier, IMAGES[0], several, multipliers, key=jax.random.key(seed)
      )
    rates.append(path.rate)
    # Not one program for each multiplier.
    assert names.count("segment") == (seed == 0)
    assert names == [] or seed == 0
  np.testing.assert_allclose(
    path.history.lagrange_multiplier[:, 0], multipliers, rtol=1e-6
  )
  change = np.diff(rates, axis=1)
  standard_error = change.std(0, ddof=1) / len(rates) ** 0.5
  assert np.all(change.mean(0) <= 2 * standard_error)
  assert np.mean(rates, 0)[-1] < np.mean(rates, 0)[0] / 2


def test_all_multipliers_of_a_path_see_the_same_draws(classifier):
  path = explain_path(classifier, IMAGES[0], method(), [20.0] * 3, key=KEY)
  for leaf in path.mask:
    np.testing.assert_array_equal(leaf[0], leaf[1])


def test_targets_may_be_names(classifier):
  named = dataclasses.replace(classifier, class_names=("a", "b", "c", "d", "e"))
  short = method(recipe=SGD._replace(num_steps=1))
  found = explain(named, IMAGES, short, key=KEY, targets=["b", "E", 2])
  assert found.target.tolist() == [1, 4, 2]
  # Explanations remember the names, one by one as well.
  last = jax.tree.map(lambda leaf: leaf[1], found)
  assert last.target_name == "e"
  path = explain_path(named, IMAGES[0], short, [0.1, 0.2], key=KEY, target="d")
  assert path.target.tolist() == [3, 3]
  with pytest.raises(ValueError, match="target 'cat' is no class of tiny"):
    explain(named, IMAGES, short, key=KEY, targets="cat")
  with pytest.raises(ValueError, match="a class index, since it has no class_names"):
    classifier.class_index("cat")


def test_targets(classifier, batch):
  wanted = [0, 1, 2]
  found = explain(classifier, IMAGES, method(), key=KEY, targets=wanted)
  assert found.target.tolist() == wanted
  clean = np.asarray(jax.nn.softmax(classifier(jnp.asarray(IMAGES))))
  np.testing.assert_allclose(found.probability, clean[[0, 1, 2], wanted], rtol=1e-4)
  for same in np.flatnonzero(batch.target == wanted):
    np.testing.assert_array_equal(found.mask[0][same], batch.mask[0][same])
  all_one = explain(classifier, IMAGES, method(), key=KEY, targets=1)
  assert all_one.target.tolist() == [1, 1, 1]


def test_ratios_to_a_tiny_probability_are_nan(classifier):
  logits = np.asarray(classifier(jnp.asarray(IMAGES[:1])))[0]
  scale = 30 / np.ptp(logits)
  first, second = classifier.params
  sure = dataclasses.replace(classifier, params=(first, second * scale))
  found = explain(
    sure, np.repeat(IMAGES[:1], 3, 0), method(), key=KEY, targets=int(logits.argmin())
  )
  assert np.all(found.probability < 1e-3)
  assert np.isnan(found.retained_probability).all()
  assert np.isnan(found.explanation_probability).all()
  assert np.isfinite(found.distortion).all()


def test_image_ids_decide_the_noise(classifier, batch):
  ids = [image_id(image) for image in IMAGES]
  given = explain(classifier, IMAGES, method(), key=KEY, image_ids=ids)
  jax.tree.map(np.testing.assert_array_equal, given, batch)
  same_image = np.repeat(IMAGES[:1], 3, 0)
  found = explain(
    classifier, same_image, method(), key=KEY, image_ids=[5, 5, 2**32 - 1]
  )
  np.testing.assert_array_equal(found.mask[2][0], found.mask[2][1])
  assert np.any(found.mask[2][0] != found.mask[2][2])


def test_initial_masks(classifier, batch):
  one_step = method(recipe=SGD._replace(num_steps=1, step_size=1e-6))
  found = explain(classifier, IMAGES, one_step, key=KEY, initial_masks=batch.mask)
  # A tiny step.
  np.testing.assert_allclose(flat(found.mask), flat(batch.mask), atol=1e-5)
  alone = tuple(leaf[0] for leaf in batch.mask)
  single = explain(classifier, IMAGES[0], one_step, key=KEY, initial_masks=alone)
  np.testing.assert_allclose(flat(single.mask), flat(alone), atol=1e-5)


def test_callback_sees_progress_and_stops(classifier, batch):
  seen = []
  explain(classifier, IMAGES, method(), key=KEY, callback=lambda p: seen.append(p))
  assert [progress.step for progress in seen] == [10, 13]
  first, last = seen
  assert first.num_steps == 13
  assert first.active.tolist() == [True] * 3
  assert first.history.objective.shape == (3, 10)
  np.testing.assert_array_equal(first.history.rate, batch.history.rate[:, :10])
  for leaf, final in zip(last.masks, batch.mask, strict=True):
    np.testing.assert_array_equal(leaf, final)
  stopped = explain(classifier, IMAGES, method(), key=KEY, callback=lambda p: True)
  assert stopped.num_steps.tolist() == [10] * 3
  assert stopped.history.objective.shape == (3, 10)
  for leaf, mask in zip(stopped.mask, first.masks, strict=True):
    np.testing.assert_array_equal(leaf, mask)


def test_shapes_without_a_batch(classifier, batch):
  single = explain(classifier, IMAGES[0], method(), key=KEY)
  for a, b in zip(jax.tree.leaves(single), jax.tree.leaves(batch), strict=True):
    assert np.shape(a) == np.shape(b)[1:]


def test_arguments_may_be_jax_arrays_of_other_precision(classifier, batch):
  found = explain(classifier, jnp.asarray(IMAGES), method(), key=KEY)
  np.testing.assert_array_equal(found.rate, batch.rate)
  found = explain(classifier, IMAGES.astype(np.float64), method(), key=KEY)
  np.testing.assert_array_equal(found.rate, batch.rate)


@pytest.mark.parametrize("half", [np.float16, jnp.bfloat16])
def test_images_of_half_precision_are_explained_in_full(classifier, half):
  images = IMAGES.astype(half)
  found = explain(classifier, images, method(), key=KEY)
  expected = explain(classifier, images.astype(np.float32), method(), key=KEY)
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  assert found.input_image.dtype == np.float32


@pytest.mark.filterwarnings("ignore::cawe_jax.EmptyMaskWarning")
def test_a_run_that_comes_from_above_ends_at_the_multiplier(classifier):
  # One so large that the objective is flat as soon as the mask is empty.
  rule = stopping.plateau(window=0.05, patience=1)

  class from_above(schedules.continuation):
    def step_size(self, progress, full):
      return full

  schedule = from_above(3.0)
  multipliers = np.array([40.0, 50.0, 60.0])
  recipe = ADAM._replace(num_steps=100, step_size=0.5, stopping=rule, schedule=schedule)
  late = explain(classifier, IMAGES, method(multipliers, recipe), key=KEY)
  # Two windows of 5 steps at the multiplier itself are the least that tells.
  assert (late.num_steps >= 60).all()
  assert (late.num_steps < 100).all()
  # Stopped long before, its objective still has the multiplier itself.
  early = explain(
    classifier, IMAGES, method(multipliers, recipe), key=KEY, callback=lambda p: True
  )
  assert early.num_steps.tolist() == [10] * 3
  assert (early.history.lagrange_multiplier[:, -1] > 2 * multipliers).all()
  np.testing.assert_array_equal(early.lagrange_multiplier, multipliers)
  weighted = early.distortion + multipliers * early.rate
  np.testing.assert_allclose(early.objective, weighted, rtol=1e-5)


def test_no_rule_stops_an_image_at_another_multiplier(classifier):
  class at_once(stopping.Stopping):
    def update(self, state, value, progress):
      return state, True

  schedule = schedules.continuation(3.0)
  recipe = SGD._replace(num_steps=20, stopping=at_once(), schedule=schedule)
  found = explain(classifier, IMAGES, method(recipe=recipe), key=KEY)
  # Half of the steps, and the one that has the multiplier itself.
  assert found.num_steps.tolist() == [11] * 3


EIGHT_DEVICES = """
import sys
sys.path.insert(0, {folder!r})
import jax, numpy as np
assert len(jax.devices()) == 8, jax.devices()
import test_explain
from cawe_jax import Classifier, explain
data = np.load({data!r})
params = tuple(map(jax.numpy.asarray, (data["first"], data["second"])))
from tiny_network import two_layers
classifier = Classifier(two_layers, params, test_explain.SHAPE[:2])
found = explain(
  classifier,
  test_explain.IMAGES,
  test_explain.TEN_STEPS,
  key=test_explain.KEY,
)
np.savez({out!r}, *found.mask, distortion=found.distortion)
"""


@pytest.mark.slow
def test_eight_devices_equal_one(sgd_batch, classifier, tmp_path):
  assert len(jax.devices()) == 1
  data, out = str(tmp_path / "in.npz"), str(tmp_path / "out.npz")
  first, second = classifier.params
  np.savez(data, first=first, second=second)
  script = EIGHT_DEVICES.format(folder=os.path.dirname(__file__), data=data, out=out)
  done = run_python(script, XLA_FLAGS=with_devices(8))
  assert done.returncode == 0, done.stderr
  result = np.load(out)
  masks = tuple(result[f"arr_{i}"] for i in range(len(sgd_batch.mask)))
  check_ten_steps(
    sgd_batch._replace(mask=masks, distortion=result["distortion"]), sgd_batch
  )


@pytest.mark.parametrize("multiplier", [2.0, np.float32([1, 2])], ids=["one", "many"])
def test_settings_are_json(multiplier):
  settings = json.loads(json.dumps(waveletx(multiplier).settings()))
  assert settings["name"] == "waveletx"
  assert settings["perturbation"] == "adaptive_uniform()"
  assert settings["representation"] == "wavelet(mode='zero')"
  assert settings["distortion"] == "maximise_label"
  assert settings["penalties"] == ["spatial_l1"]
  assert np.all(settings["lagrange_multiplier"] == np.asarray(multiplier))
