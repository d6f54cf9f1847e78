"""Curves of a linear network in closed form, and of noise against a NumPy twin."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objectives import instance_of

from cawe_jax import Classifier, distortions, perturbations
from cawe_jax.files.images import image_id
from cawe_jax.metrics import (
  FRACTIONS,
  area_under_curve,
  keep,
  randomise,
  rate_distortion_curve,
)
from cawe_jax.numerics.streams import Stream
from cawe_jax.outputs import regression, sigmoid
from cawe_jax.representations import pixel, wavelet
from cawe_jax.types import Masked

SHAPE, SIZE = (4, 5, 1), 20
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0.2, 1, (3, *SHAPE)).astype(np.float32)
# Mostly for class 0, which every image therefore is.
WEIGHTS = np.sort(RNG.uniform(-0.4, 1, SIZE)).astype(np.float32)
RELEVANCE = (RNG.normal(size=(3, 1, *SHAPE)).astype(np.float32),)
TWENTIETHS = np.arange(SIZE + 1) / SIZE


def two_classes(weights, images):
  margin = images.reshape(len(images), -1) @ weights
  return jnp.stack([margin / 2, -margin / 2], axis=1)


LINEAR = Classifier(two_classes, jnp.asarray(WEIGHTS), SHAPE[:2])
curve_of = functools.partial(
  rate_distortion_curve,
  LINEAR,
  IMAGES,
  RELEVANCE,
  pixel(),
  key=KEY,
  fractions=TWENTIETHS,
)
black = functools.partial(curve_of, perturbation=perturbations.zeros())


def sigmoids(masks):
  """Probability of class 0 with zeros in place of what is lost; masks ``[..., 20]``."""
  margins = (masks * IMAGES.reshape(3, 1, SIZE)) @ WEIGHTS.astype(np.float64)
  return 1 / (1 + np.exp(-margins))


def expected_masks():
  """The top 0 to 20 pixels of every image, ``[3, 21, 20]``."""
  places = np.argsort(np.argsort(-RELEVANCE[0].reshape(3, 1, SIZE)))
  return (places < np.arange(SIZE + 1)[:, None]).astype(float)


@pytest.mark.parametrize("mask_fn", [keep, randomise])
def test_a_linear_network_without_noise_has_a_known_curve(mask_fn):
  found = black(mask_fn=mask_fn)
  masks = expected_masks() if mask_fn is keep else 1 - expected_masks()
  p, clean = sigmoids(masks), sigmoids(np.ones((3, 1, SIZE)))
  # 32-bit rounding of probabilities.
  np.testing.assert_allclose(found.score, p, atol=1e-6)
  np.testing.assert_allclose(
    found.distortion, math.sqrt(2) * np.abs(p - clean), atol=2e-6
  )
  assert not np.any(np.abs(p - 0.5)[p != 0.5] < 1e-4)
  np.testing.assert_array_equal(found.agreement, p >= 0.5)
  np.testing.assert_array_equal(found.fraction, TWENTIETHS)
  np.testing.assert_array_equal(found.standard_error, 0)


def test_energy_and_bits_are_those_of_the_top():
  found = black(fractions=(0.0, 0.25, 1.0))
  for image, mask, row in zip(
    IMAGES.reshape(3, SIZE).astype(np.float64), expected_masks(), range(3), strict=True
  ):
    energy = np.sum((mask[5] * image) ** 2) / np.sum(image**2)
    np.testing.assert_allclose(found.energy[row], [0, energy, 1], rtol=1e-6)
    scale = np.median(np.abs(image - np.median(image)))
    edges = np.abs(np.round((image - np.median(image)) * 255)) / 255
    edges = edges[:, None] + np.array([1, -1]) / 510
    arcs = np.arctan(edges / scale) / np.pi
    bits = -np.log2(arcs[:, 0] - arcs[:, 1])
    expected = [0, bits @ mask[5] + math.log2(math.comb(SIZE, 5)), bits.sum()]
    np.testing.assert_allclose(found.bits[row, :2], expected[:2], rtol=1e-5)
    assert found.bits[row, 2] >= expected[2] * (1 - 1e-6)
  assert found.energy.shape == found.bits.shape == (3, 3)


def test_keeping_is_randomising_the_rest():
  reverse = (-RELEVANCE[0],)
  kept = curve_of()
  mirror = rate_distortion_curve(
    LINEAR,
    IMAGES,
    reverse,
    pixel(),
    key=KEY,
    mask_fn=randomise,
    fractions=TWENTIETHS,
  )
  for name in ("distortion", "standard_error", "score", "agreement"):
    np.testing.assert_array_equal(getattr(kept, name), getattr(mirror, name)[:, ::-1])


def twin(count, image, relevance, num_draws):
  """Distortion and score on every draw, obfuscated in 64 bits."""
  bound = pixel()(SHAPE)
  noise = perturbations.adaptive_gaussian()
  state = noise.init(instance_of(image, bound))
  step_key = jax.random.fold_in(
    jax.random.fold_in(KEY, image_id(image)), jnp.uint32(Stream.CURVE)
  )
  mask = np.argsort(np.argsort(-relevance.ravel())).reshape(relevance.shape) < count
  clean = 1 / (1 + np.exp(-image.ravel() @ WEIGHTS.astype(np.float64)))
  values = []
  for draw in range(num_draws):
    masked = Masked((mask,), (image[None],), bound)
    (v,) = noise.sample(jax.random.fold_in(step_key, draw), state, masked)
    mixed = np.where(mask, image[None], np.asarray(v, np.float64))
    margin = np.clip(mixed, 0, 1).ravel() @ WEIGHTS.astype(np.float64)
    values.append(1 / (1 + np.exp(-margin)))
  values = np.array(values)
  return math.sqrt(2) * np.abs(values - clean), values


def test_mean_and_standard_error_over_clipped_draws():
  found = curve_of(fractions=(0.2, 0.7), num_draws=5)
  for row in range(3):
    for column, count in enumerate((4, 14)):
      distortion, score = twin(count, IMAGES[row], RELEVANCE[0][row], 5)
      assert np.ptp(distortion) > 1e-3
      error = distortion.std(ddof=1) / math.sqrt(5)
      # The variance is a difference of 32-bit squares near 0.1, with error 1e-8.
      for name, value, tolerance in (
        ("distortion", distortion.mean(), 2e-6),
        ("score", score.mean(), 2e-6),
        ("standard_error", error, 1e-8 / error),
      ):
        np.testing.assert_allclose(
          getattr(found, name)[row, column], value, atol=tolerance, err_msg=name
        )


def test_the_ends_are_exact():
  transform = wavelet("haar", levels=1)
  shapes = transform(SHAPE).mask_shapes
  relevance = tuple(np.zeros((3, *shape), np.float32) for shape in shapes)
  run = functools.partial(
    rate_distortion_curve, LINEAR, IMAGES, relevance, transform, key=KEY, num_draws=4
  )
  kept, replaced = (run(mask_fn=f, fractions=(0.0, 1.0)) for f in (keep, randomise))
  clean = sigmoids(np.ones((3, 1, SIZE)))[:, 0]
  for curve, all_kept, all_replaced in ((kept, 1, 0), (replaced, 0, 1)):
    # Perfect reconstruction up to 32 bits.
    np.testing.assert_allclose(curve.distortion[:, all_kept], 0, atol=2e-6)
    np.testing.assert_allclose(curve.score[:, all_kept], clean, atol=1e-6)
    assert np.all(curve.distortion[:, all_replaced] > 1e-3)
    assert np.all(curve.standard_error[:, all_replaced] > 0)
  np.testing.assert_array_equal(kept.distortion[:, 0], replaced.distortion[:, 1])
  np.testing.assert_allclose(kept.energy, [[0, 1]] * 3, atol=1e-12)


def test_an_image_alone_equals_the_image_in_a_batch():
  ties = (np.round(RELEVANCE[0]),)  # most entries tie with others
  run = functools.partial(rate_distortion_curve, LINEAR, transform=pixel(), key=KEY)
  together = run(images=IMAGES, relevance=ties)
  alone = run(images=IMAGES[2:], relevance=(ties[0][2:],))
  assert together.distortion.shape == (3, len(FRACTIONS))
  for name in together._fields[1:]:
    # The same draws and ties; sums of a matrix product in another order.
    np.testing.assert_allclose(
      getattr(alone, name)[0], getattr(together, name)[2], atol=1e-5, err_msg=name
    )


def test_ties_are_broken_by_the_key_for_each_image():
  same = np.broadcast_to(IMAGES[:1], IMAGES.shape)
  ties = (np.zeros_like(RELEVANCE[0]),)
  run = functools.partial(
    rate_distortion_curve,
    LINEAR,
    same,
    ties,
    pixel(),
    perturbation=perturbations.zeros(),
    fractions=(0.5,),
  )
  equal = run(key=KEY).distortion
  assert len(np.unique(equal)) == 1
  other_ids = run(key=KEY, image_ids=[0, 1, 2]).distortion
  assert len(np.unique(other_ids)) == 3
  assert np.all(run(key=jax.random.key(1)).distortion != equal)


def test_a_planted_explanation_wins():
  """Only the pixels of a known set enter the margin; its ranking keeps them first."""
  rng = np.random.default_rng(1)
  images = rng.uniform(0, 1, (8, 10, 10, 1)).astype(np.float32)
  weights = np.zeros(100, np.float32)
  weights[rng.choice(100, 10, replace=False)] = [2, -2] * 5  # brightness is not enough
  network = Classifier(two_classes, jnp.asarray(weights), (10, 10))
  planted = np.broadcast_to(abs(weights).reshape(1, 1, 10, 10, 1), (8, 1, 10, 10, 1))
  random = rng.random(planted.shape).astype(np.float32)

  def area(relevance, mask_fn):
    curve = rate_distortion_curve(
      network, images, (relevance,), pixel(), key=KEY, mask_fn=mask_fn
    )
    return area_under_curve(curve.fraction, curve.distortion)

  best, middle, worst = (area(r, keep) for r in (planted, random, -planted))
  # The planted tenth decides alone, so beyond it the distortion is 0; against it, it is
  # as large as with nothing kept up to nine tenths.
  assert np.all(best < 0.2 * worst)
  assert best.mean() < middle.mean() < worst.mean()
  first, last = (area(r, randomise) for r in (planted, -planted))
  assert np.all(first > 5 * last)


def test_labels_and_regressions():
  masks = expected_masks()

  def logits(weights, images):
    margin = images.reshape(len(images), -1) @ weights
    return jnp.stack([-margin, margin], axis=1)

  labels = Classifier(logits, LINEAR.params, SHAPE[:2], output=sigmoid())
  numbers = Classifier(logits, LINEAR.params, SHAPE[:2], output=regression(2.0))
  options = {
    "key": KEY,
    "targets": 1,
    "perturbation": perturbations.zeros(),
    "fractions": TWENTIETHS,
  }
  found = rate_distortion_curve(labels, IMAGES, RELEVANCE, pixel(), **options)
  p, clean = sigmoids(masks), sigmoids(np.ones((3, 1, SIZE)))
  np.testing.assert_allclose(found.score, p, atol=1e-6)
  # The l2 distance of (p, 1 - p).
  np.testing.assert_allclose(
    found.distortion, math.sqrt(2) * np.abs(p - clean), atol=2e-6
  )
  with pytest.raises(ValueError, match="distortion l2 is one of probabilities"):
    rate_distortion_curve(numbers, IMAGES, RELEVANCE, pixel(), **options)
  options["distortion"] = distortions.automatic
  found = rate_distortion_curve(numbers, IMAGES, RELEVANCE, pixel(), **options)
  lost = ((1 - masks) * IMAGES.reshape(3, 1, SIZE)) @ WEIGHTS
  np.testing.assert_allclose(found.distortion, (lost / 2) ** 2, atol=1e-5)
  assert np.isnan(found.agreement).all()


def test_a_key_of_another_generator_orders_equal_entries_of_each_image_alone():
  key = jax.random.key(3, impl="rbg")
  equal = np.ones((len(IMAGES), *pixel()(SHAPE).mask_shapes[0]), np.float32)
  options = {
    "key": key,
    "perturbation": perturbations.zeros(),
    "fractions": [0.25, 0.5],
  }
  together = rate_distortion_curve(LINEAR, IMAGES, (equal,), pixel(), **options)
  alone = rate_distortion_curve(LINEAR, IMAGES[1:2], (equal[:1],), pixel(), **options)
  # Which entries come first decides by tenths; sums of 32 bits.
  np.testing.assert_allclose(alone.score[0], together.score[1], atol=1e-5)


def test_other_rankings_and_points_compile_nothing():
  traces = []

  def counted(weights, images):
    traces.append(images.shape)
    return two_classes(weights, images)

  network = Classifier(counted, LINEAR.params, SHAPE[:2])

  def run(relevance, fractions, draws):
    rate_distortion_curve(
      network,
      IMAGES,
      relevance,
      pixel(),
      key=KEY,
      fractions=fractions,
      num_draws=draws,
    )
    return len(traces)

  first = run(RELEVANCE, TWENTIETHS, 16)
  assert first > 0
  assert run((-RELEVANCE[0],), FRACTIONS, 32) == first


def test_the_uncertainty_of_one_draw_is_unknown():
  found = curve_of(num_draws=1, fractions=(0.5,))
  assert np.isnan(found.standard_error).all()
  assert np.isfinite(found.distortion).all()


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"fractions": (0.5, 0.2)}, "fractions is .* they must increase"),
    ({"fractions": (0.5, 1.2)}, r"fraction is 1.2; it must be in \[0, 1\]"),
    ({"fractions": ()}, "fractions is .* a list of numbers"),
    ({"num_draws": 0}, "num_draws is 0"),
    ({"targets": 2}, "target is 2; allowed are 0 to 1"),
    ({"key": 0}, "key is 0; it must be a typed key"),
    ({"image_ids": [1, 2]}, "image_ids is"),
    ({"rows": 0}, "rows is 0"),
  ],
)
def test_bad_arguments_are_refused(options, message):
  with pytest.raises(ValueError, match=message) as error:
    curve_of(**options)
  assert "\n" not in str(error.value)


def test_bad_images_and_relevances_are_refused():
  with pytest.raises(ValueError, match="images has values in"):
    rate_distortion_curve(LINEAR, 2 * IMAGES, RELEVANCE, pixel(), key=KEY)
  with pytest.raises(ValueError, match="relevance has leaves"):
    rate_distortion_curve(LINEAR, IMAGES[:2], RELEVANCE, pixel(), key=KEY)
  with pytest.raises(ValueError, match="relevance is one array of shape") as error:
    rate_distortion_curve(LINEAR, IMAGES, RELEVANCE[0][:, 0, :, :, 0], pixel(), key=KEY)
  assert len(str(error.value)) < 300


def test_a_curve_is_refused_where_it_is_nan():
  def nan_where_all_is_lost(clean, logits, target):
    lost = jax.nn.softmax(logits)[target]
    return jnp.where(jnp.isclose(lost, 0.5, atol=1e-6), jnp.nan, lost)

  with pytest.raises(ValueError, match="distortion nan_where_all_is_lost") as error:
    black(distortion=nan_where_all_is_lost)
  assert "\n" not in str(error.value)
