"""`explain` from end to end on networks whose answer is known."""

import dataclasses
import json
import os
import re
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

from cawe_jax import (
  Classifier,
  cartoonx,
  distortions,
  explain,
  explain_path,
  initial_masks,
  penalties,
  perturbations,
  pixel_rde,
  programs,
  schedules,
  solvers,
  stopping,
  waveletx,
)
from cawe_jax.classifiers import convolution
from cawe_jax.images import image_id
from cawe_jax.objective import Tile
from cawe_jax.recipes import Recipe
from cawe_jax.representations import wavelet
from cawe_jax.session import Session

pytestmark = pytest.mark.usefixtures("quick_compilation")

RNG = np.random.default_rng(0)
SHAPE = (17, 20, 3)
IMAGES = np.clip(RNG.normal(0.5, 0.3, (3, *SHAPE)), 0, 1).astype(np.float32)
KEY = jax.random.key(0)
ADAM = Recipe(
  "test",
  initial_masks.ones(),
  solvers.adam(),
  schedules.constant(),
  stopping.never(),
  step_size=0.1,
  num_steps=13,
  num_draws=2,
)
# Plain steps, which pass rounding on and hardly amplify it; the multiplier alone moves
# a mask of 1110 entries by 0.0005 a step, the distortion some by 0.05. It is so
# small that keeping most of the image is better than keeping nothing.
SGD = ADAM._replace(solver=solvers.projected(optax.sgd(1.0)), step_size=5.0)
HAAR = wavelet("haar", levels=2)
MULTIPLIER = 0.1


def method(multiplier=MULTIPLIER, recipe=SGD, **options):
  return cartoonx(multiplier, representation=HAAR, recipe=recipe, **options)


# Shapes with which the network was traced.
TRACES = []


@pytest.fixture(scope="module")
def classifier(make_tiny_classifier):
  tiny = make_tiny_classifier(SHAPE)

  def apply(params, images):
    if isinstance(images, jax.core.Tracer):
      TRACES.append(images.shape)
    return tiny.apply(params, images)

  return Classifier(apply, tiny.params, SHAPE[:2], name="tiny")


@pytest.fixture(scope="module")
def batch(classifier):
  return explain(classifier, IMAGES, method(), key=KEY)


def flat(mask):
  return np.concatenate([np.ravel(leaf) for leaf in mask])


# ---- Known answers ----


def two_classes(params, images):
  """Class 0 by the margin ``weights . image - bias``, class 1 else."""
  weights, bias = params
  margin = images.reshape(len(images), -1) @ weights - bias
  return jnp.stack([margin / 2, -margin / 2], axis=1)


SQUARE = (16, 16, 1)
LONG = ADAM._replace(num_steps=60, schedule=schedules.linear_decay())


def planted(part_of_margin):
  """Whose parts add up to 12, of which the bias leaves a margin of 2: p = 0.88."""
  return Classifier(two_classes, (jnp.asarray(part_of_margin), jnp.float32(10)), 16)


def test_pixel_rde_finds_planted_pixels():
  rng = np.random.default_rng(1)
  image = rng.uniform(0.5, 1, SQUARE).astype(np.float32)
  where = rng.choice(256, 6, replace=False)
  weights = np.zeros(256, np.float32)
  weights[where] = 2 / image.ravel()[where]
  # One planted pixel lost halves the odds' exponent: an error of 0.14, where keeping a
  # pixel costs 0.5 / 256. No other pixel is worth anything.
  found = explain(
    planted(weights),
    image,
    pixel_rde(0.5, perturbation=perturbations.zeros(), recipe=LONG),
    key=KEY,
  )
  mask = flat(found.mask)
  assert int(found.target) == 0
  assert mask[where].min() > 0.8
  assert np.delete(mask, where).max() == 0
  assert float(found.rate_l0) == pytest.approx(6 / 256)
  assert float(found.distortion) < 0.01


def test_cartoonx_finds_planted_coefficients():
  rng = np.random.default_rng(2)
  bound = HAAR(SQUARE)
  image = rng.uniform(0.3, 0.7, SQUARE).astype(np.float32)
  coefficients = [np.asarray(leaf) for leaf in bound.analysis(image)]
  # The largest details, so that their weights are moderate.
  sizes = np.abs(np.concatenate([np.ravel(leaf) for leaf in coefficients[1:]]))
  where = 16 + np.argsort(-sizes)[:6]
  values = flat(coefficients)
  weights = np.zeros(256, np.float32)
  weights[where] = 2 / values[where]
  # Haar is orthonormal: a coefficient's weights in pixels are its synthesis.
  leaves = np.split(weights, np.cumsum([leaf.size for leaf in coefficients])[:-1])
  in_pixels = bound.synthesis(
    tuple(
      jnp.asarray(w.reshape(leaf.shape))
      for w, leaf in zip(leaves, coefficients, strict=True)
    )
  )
  # The mean image has no details, and mid-grey stays off the clip.
  found = explain(
    planted(jnp.ravel(in_pixels)),
    image,
    method(0.5, LONG, perturbation=perturbations.mean()),
    key=KEY,
  )
  mask = flat(found.mask)
  assert mask[where].min() > 0.8
  assert np.delete(mask, where).max() == 0
  assert float(found.distortion) < 0.01


def test_nothing_is_kept_where_that_costs_less(classifier, batch):
  # After so few steps most entries remain, and all of them cost 2.
  dear = np.float32([MULTIPLIER, 2, MULTIPLIER])
  found = explain(classifier, IMAGES, method(dear), key=KEY)
  kept = [flat(leaf[b] for leaf in found.mask).max() for b in range(3)]
  assert kept[1] == 0
  assert min(kept[0], kept[2]) > 0.5
  assert found.rate[1] == found.rate_l0[1] == found.image[1].max() == 0
  assert found.objective[1] == found.distortion[1] > 0
  np.testing.assert_array_equal(found.rate[[0, 2]], batch.rate[[0, 2]])
  assert found.num_steps.tolist() == [13] * 3  # the run is told as it was
  assert found.history.rate[1, -1] > 0.5


# ---- What an explanation says ----


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
  several = waveletx(0.2, 3.0, representation=HAAR, recipe=SGD)
  found = explain(classifier, IMAGES, several, key=KEY)
  assert set(found.history.penalties) == {"spatial_l1"}
  history = found.history
  total = history.distortion + 0.2 * history.rate + 3 * history.penalties["spatial_l1"]
  np.testing.assert_allclose(history.objective, total, rtol=1e-5)  # 32-bit sum
  # The first mask is all ones, the first explanation the image in grey.
  np.testing.assert_allclose(
    history.penalties["spatial_l1"][:, 0], IMAGES.mean((1, 2, 3)), rtol=1e-4
  )
  last = found.distortion + 0.2 * found.rate + 3 * found.image.mean((1, 2, 3))
  np.testing.assert_allclose(found.objective, last, rtol=1e-5)


# ---- Draws, batches, programs ----


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
  explain(classifier, IMAGES[0], method(20.0), key=KEY)
  num_traces = len(TRACES)
  assert num_traces > 0
  # Steps and step size are data, too.
  again = method(30.0, recipe=SGD._replace(step_size=0.2, num_steps=5))
  explain(classifier, IMAGES[1], again, key=jax.random.key(1), targets=1, image_ids=7)
  assert len(TRACES) == num_traces


def test_a_path_of_multipliers(classifier):
  multipliers = 0.01 * 2.0 ** np.arange(8)
  rates, num_traces = [], [len(TRACES)]
  for seed in range(3):
    path = explain_path(
      classifier,
      IMAGES[0],
      method(recipe=ADAM._replace(num_steps=30)),
      multipliers,
      key=jax.random.key(seed),
    )
    rates.append(path.rate)
    num_traces.append(len(TRACES))
  # Preparation, a segment, two looks at the end: not one program for each multiplier.
  assert 0 < num_traces[1] - num_traces[0] < 8
  assert num_traces[-1] == num_traces[1]
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


# ---- Options ----


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


# ---- Errors ----


def nan_always(params, images):
  return jnp.full((len(images), 5), jnp.nan)


def nan_where_dark(params, images):
  # NaN below a mean of 0.3: not on an image, but on what little of it a mask keeps.
  level = jnp.sqrt(images.mean((1, 2, 3)) - 0.3)
  return jnp.stack([level, -level], axis=1)


def nan_gradient(clean_logits, logits, target):
  # 0, but the gradient of the root there is infinite, times 0.
  return jnp.sqrt(0 * logits[target])


def nan_distortion(clean_logits, logits, target):
  return jnp.nan * logits[target]


@pytest.mark.parametrize(
  ("apply", "line"),
  [
    (nan_always, r"^classifier 'broken' returned NaN .*logits for image\(s\) 0; .*$"),
    (nan_where_dark, r"NaN between steps 0 and .*classifier 'broken'.*$"),
  ],
)
def test_a_network_that_returns_nan_is_refused(apply, line):
  broken = Classifier(apply, jnp.zeros(1), SHAPE[:2], name="broken")
  # One step of this size empties the mask: 20 * 60 / 1110 > 1.
  hasty = method(20.0, SGD._replace(step_size=60.0), perturbation=perturbations.zeros())
  with pytest.raises(ValueError, match=line):
    explain(broken, np.clip(IMAGES[0], 0.2, 1), hasty, key=KEY)


@pytest.mark.parametrize("distortion", [nan_gradient, nan_distortion])
def test_all_parts_that_may_have_returned_nan_are_named(classifier, distortion):
  parts = method(distortion=distortion, perturbation=perturbations.zeros())._replace(
    penalties=(penalties.spatial_l1,), penalty_weights=(1.0,)
  )
  with pytest.raises(ValueError, match=r"^the mask or its objective is NaN") as error:
    explain(classifier, IMAGES[0], parts, key=KEY)
  line = str(error.value)
  for suspect in (
    f"distortion {distortion.__name__}",
    "penalty spatial_l1",
    "perturbation zeros()",
    "representation wavelet('haar'",
    "solver projected",
    f"classifier {classifier.name!r} (finite on the images, ",
    "sqrt or norm at 0",
  ):
    assert suspect in line
  assert "\n" not in line


def with_recipe(**options):
  return method(recipe=ADAM._replace(**options))


BAD_METHODS = {
  "lagrange_multiplier is -1": lambda: method(-1.0),
  "lagrange_multiplier is nan": lambda: method(float("nan")),
  "lagrange_multiplier is inf": lambda: method(float("inf")),
  "weight of spatial_l1 is -2": lambda: waveletx(
    1.0, -2.0, representation=HAAR, recipe=ADAM
  ),
  "penalty_weights has 0 entries": lambda: method()._replace(
    penalties=(penalties.spatial_l1,)
  ),
  "step_size is 0": lambda: with_recipe(step_size=0.0),
  "step_size is nan": lambda: with_recipe(step_size=float("nan")),
  "num_steps is 0": lambda: with_recipe(num_steps=0),
  "num_steps is 2.5": lambda: with_recipe(num_steps=2.5),
  "num_draws is 0": lambda: with_recipe(num_draws=0),
  "num_draws is -3": lambda: with_recipe(num_draws=-3),
}


@pytest.mark.parametrize("message", BAD_METHODS)
def test_methods_are_checked(message, classifier):
  refused(message, classifier, IMAGES, BAD_METHODS[message]())


def refused(message, classifier, images, bad_method, **options):
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    explain(classifier, images, bad_method, key=KEY, **options)
  assert "\n" not in str(error.value)


HOLE = IMAGES.copy()
HOLE[0, 0, 0, 0] = np.nan
BAD_IMAGES = {
  "images has shape (17, 20)": IMAGES[0, :, :, 0],
  "images has shape (0, 17, 20, 3)": IMAGES[:0],
  "images has type uint8": (255 * IMAGES).astype(np.uint8),
  "images has values in": 2 * IMAGES,
  "images has values in [nan": HOLE,
  "images has values in [-": -IMAGES,
}


@pytest.mark.parametrize("message", BAD_IMAGES)
def test_images_are_checked(message, classifier):
  refused(message, classifier, BAD_IMAGES[message], method())


MASK = tuple(np.ones((3, *shape), np.float32) for shape in HAAR(SHAPE).mask_shapes)
BAD_OPTIONS = [
  ("target is 5; allowed are 0 to 4", {"targets": 5}),
  ("targets is [0, -7, 1]; it must be at least 0", {"targets": [0, -7, 1]}),
  ("targets is -1; it must be at least 0", {"targets": -1}),
  ("targets is [0, 1]", {"targets": [0, 1]}),
  ("targets is 1.5", {"targets": 1.5}),
  ("image_ids is -1", {"image_ids": -1}),
  ("image_ids is 4294967296", {"image_ids": 2**32}),
  ("image_ids is [1]", {"image_ids": [1]}),
  ("initial_masks has leaves", {"initial_masks": MASK[:1]}),
  ("initial_masks has entries outside", {"initial_masks": (2 * MASK[0], *MASK[1:])}),
  (
    "initial_masks has entries outside",
    {"initial_masks": (np.nan * MASK[0], *MASK[1:])},
  ),
  ("rows is 0", {"rows": 0}),
  ("rows is -1", {"rows": -1}),
]


@pytest.mark.parametrize(("message", "options"), BAD_OPTIONS)
def test_options_are_checked(message, options, classifier):
  refused(message, classifier, IMAGES, method(), **options)


def test_label_squared_error_is_for_the_predicted_class(classifier):
  predicted = int(np.argmax(classifier(jnp.asarray(IMAGES[:1]))))
  strict = method(distortion=distortions.label_squared_error)
  other = (predicted + 1) % 5
  refused("use maximise_probability", classifier, IMAGES[0], strict, targets=other)
  options = {"key": KEY, "image_ids": None, "rows": None}
  for allowed in (predicted, None):
    session = Session(classifier, IMAGES[:1], strict, targets=allowed, **options)
    assert session.problems.target.tolist() == [predicted]


def test_multipliers_must_be_one_per_image(classifier):
  refused("lagrange_multiplier", classifier, IMAGES, method(np.ones(2, np.float32)))


def test_a_path_takes_one_image_and_at_least_one_multiplier(classifier):
  with pytest.raises(ValueError, match="image has shape"):
    explain_path(classifier, IMAGES, method(), [1.0], key=KEY)
  with pytest.raises(ValueError, match="lagrange_multipliers"):
    explain_path(classifier, IMAGES[0], method(), [], key=KEY)


def test_a_raw_key_is_refused_in_one_line(classifier):
  with pytest.raises((TypeError, ValueError), match="key") as error:
    explain(classifier, IMAGES, method(), key=0)
  assert "\n" not in str(error.value)


# ---- Platforms ----

EIGHT_DEVICES = """
import sys
sys.path.insert(0, {folder!r})
import jax, numpy as np
assert len(jax.devices()) == 8, jax.devices()
import test_explain
from cawe_jax import Classifier, explain
data = np.load({data!r})
params = tuple(map(jax.numpy.asarray, (data["first"], data["second"])))
from conftest import two_layers
classifier = Classifier(two_layers, params, test_explain.SHAPE[:2])
found = explain(
  classifier,
  test_explain.IMAGES,
  test_explain.TEN_STEPS,
  key=test_explain.KEY,
)
np.savez({out!r}, *found.mask, distortion=found.distortion)
"""


def test_eight_devices_equal_one(sgd_batch, classifier, tmp_path):
  assert len(jax.devices()) == 1
  data, out = str(tmp_path / "in.npz"), str(tmp_path / "out.npz")
  first, second = classifier.params
  np.savez(data, first=first, second=second)
  script = EIGHT_DEVICES.format(folder=os.path.dirname(__file__), data=data, out=out)
  flags = "--xla_force_host_platform_device_count=8"
  subprocess.run(
    [sys.executable, "-c", script],
    env={
      **os.environ,
      "XLA_FLAGS": flags,
      "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
      "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    },
    check=True,
    timeout=300,
  )
  result = np.load(out)
  masks = tuple(result[f"arr_{i}"] for i in range(len(sgd_batch.mask)))
  check_ten_steps(
    sgd_batch._replace(mask=masks, distortion=result["distortion"]), sgd_batch
  )


def convolutional(params, images):
  x = jax.nn.relu6(convolution.dense(images, params["dense"], 2))
  x = jax.nn.relu6(convolution.depthwise(x, params["depthwise"], 2))
  return x.mean((1, 2)) @ params["classifier"]


def test_the_whole_solver_exports_for_all_platforms():
  rng = np.random.default_rng(0)
  shapes = {"dense": (3, 3, 3, 8), "depthwise": (5, 5, 8), "classifier": (8, 5)}
  params = {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in shapes.items()}
  network = Classifier(convolutional, params, SHAPE[:2])
  several = waveletx(0.2, representation=HAAR, recipe=ADAM)
  structure, tile = several.bind(SHAPE), Tile(1, 2)
  mesh = Mesh(np.array(jax.devices()), ("images",))
  images = np.zeros((3, *SHAPE), np.float32)
  numbers = np.zeros(3, np.int32)

  def whole(classifier, images, targets, image_ids, weights, seed):
    problems, masks = programs.prepare(
      structure,
      tile,
      mesh,
      classifier,
      jax.random.key(seed),
      programs.ToPrepare(images, targets, image_ids),
    )
    step_weights = programs.StepWeights(programs.Weights(weights, (weights,)), weights)
    carry = programs.start(structure, masks, jnp.ones(3), jnp.ones(3, bool))
    window = programs.Window(*map(jnp.int32, (0, 10, 10, 2)))
    carry, _ = programs.segment(
      structure, tile, mesh, classifier, window, (problems, step_weights, carry)
    )
    done = programs.assess(
      structure,
      tile,
      mesh,
      classifier,
      None,
      (problems, step_weights.weights, carry.solver.mask, carry.active),
    )
    return done.objective, carry.solver.mask

  platforms = ("cpu", "cuda", "tpu")

  # Only the classifier is a class of our own; its parameters can be exported.
  def flat_whole(params, *rest):
    return whole(Classifier(convolutional, params, SHAPE[:2]), *rest)

  exported = jax.export.export(jax.jit(flat_whole), platforms=platforms)(
    network.params, images, numbers - 1, numbers.astype(np.uint32), numbers + 0.5, 0
  )
  assert exported.platforms == platforms
  # Both ways of convolving are inside; the platform decides when it runs.
  assert "stablehlo.convolution" in exported.mlir_module()


@pytest.mark.parametrize("multiplier", [2.0, np.float32([1, 2])], ids=["one", "many"])
def test_settings_are_json(multiplier):
  settings = json.loads(json.dumps(waveletx(multiplier).settings()))
  assert settings["name"] == "waveletx"
  assert settings["perturbation"] == "adaptive_uniform()"
  assert settings["representation"] == "wavelet('db3', levels=5, mode='zero')"
  assert settings["distortion"] == "maximise_label"
  assert settings["penalties"] == ["spatial_l1"]
  assert np.all(settings["lagrange_multiplier"] == np.asarray(multiplier))
