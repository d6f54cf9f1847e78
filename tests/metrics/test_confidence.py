"""Bounds of what masks hold: true as often as they say, and no wider than need be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cawe_jax import Classifier, cartoonx, distortions, outputs, perturbations
from cawe_jax.methods import pixel_rde
from cawe_jax.metrics import (
  METRICS,
  Judged,
  betting,
  confidence_bounds,
  lower_bound,
  measure,
)
from cawe_jax.obfuscations import obfuscate
from cawe_jax.representations import pixel
from experiments.bench.bounds import LAWS, coverage, empirical_bernstein

RNG = np.random.default_rng(0)
TRIALS = 1000


@pytest.mark.parametrize(
  ("law", "confidence"), [("a coin", 0.5), *((law, 0.9) for law in LAWS)]
)
def test_bounds_are_true_as_often_as_they_say(law, confidence):
  # Skewed both ways, with atoms, hardly varying; whoever stops at the first look that
  # pleases is right as often.
  true, distance = coverage(LAWS[law], confidence, TRIALS, looks=(16, 96))
  assert true >= confidence - 3 * (confidence * (1 - confidence) / TRIALS) ** 0.5
  assert 0 < distance < 0.12


def test_other_bounds_are_further_from_means_of_little_variance():
  values = LAWS["near 1, long tail"].draw(RNG, (TRIALS, 128)).astype(float)
  own = np.mean(values.mean(1) - lower_bound(values, 0.95))
  hoeffding = np.sqrt(np.log(20) / (2 * 128))
  assert 2 * own < min(empirical_bernstein(values, 0.95).mean(), hoeffding)


@pytest.mark.parametrize("share", [0.5, 0.9, 1.0])
def test_a_bound_of_shares_is_near_the_exact_one(share):
  # Clopper and Pearson's, which may be used for one number of draws alone.
  number = 400
  said = np.arange(number) % 10 < 10 * share
  exact = stats.binomtest(said.sum(), number).proportion_ci(0.9).low
  bound = lower_bound(RNG.permutation(said), 0.95)
  assert exact - 0.05 < bound <= exact


def test_values_that_vary_little_have_a_near_bound():
  values = 0.8 + 0.02 * RNG.standard_normal(256).clip(-3, 3)
  by_range = np.sqrt(np.log(20) / (2 * 256))  # Hoeffding
  assert 0 < values.mean() - lower_bound(values, 0.95) < by_range / 4


def test_stakes_know_nothing_of_the_value_that_they_are_placed_on():
  # Else the game were not fair, and a bound would promise too much.
  one = RNG.random(40)
  other = np.concatenate([one[:20], RNG.random(20)])
  stakes, others = (betting._stakes(values, 3.0) for values in (one, other))
  np.testing.assert_array_equal(stakes[:, :21], others[:, :21])
  assert np.all(stakes[:, 21:] != others[:, 21:])


def test_what_was_known_stays_known():
  values = np.concatenate([np.ones((1, 60)), np.zeros((1, 60))], axis=1)
  bounds = [float(lower_bound(values[:, :n], 0.9)[0]) for n in range(1, 120)]
  assert bounds == sorted(bounds)
  assert bounds[-1] > 0.9 > values.mean()  # of independent draws this is never seen


def test_each_law_is_bounded_for_itself():
  values = RNG.random((3, 2, 50))
  found = lower_bound(values, 0.9)
  for index in np.ndindex(3, 2):
    assert found[index] == lower_bound(values[index], 0.9)


def by_brightness(slope, images):
  z = slope * (images.mean((1, 2, 3)) - 0.5)
  return jnp.stack([z, -z], axis=1)


def classifier_of(slope, output=outputs.softmax()):
  return Classifier(by_brightness, jnp.float32(slope), 2, output=output)


# Bright or not; what is masked becomes as bright, or black, which one of three images
# is not kept from by its mask, one partly, and one nearly always.
LINEAR = classifier_of(8)
IMAGES = np.full((3, 2, 2, 1), 0.7, np.float32)
KEPT = np.array([0.95, 0.7, 0.2], np.float32)[:, None, None, None, None]
MASKS = (np.broadcast_to(KEPT, (3, 1, 2, 2, 1)),)
OR_BLACK = perturbations.mixture(
  (perturbations.adaptive_gaussian(), perturbations.zeros()), (4, 1)
)
METHOD = pixel_rde(1.0, perturbation=OR_BLACK)
KEY = jax.random.key(3)


def bounds_of(classifier=LINEAR, images=IMAGES, masks=MASKS, method=METHOD, **options):
  return confidence_bounds(classifier, images, masks, method, key=KEY, **options)


def test_bounds_are_on_their_side_of_many_other_draws():
  found = bounds_of(width=0.02, most_draws=4096)
  seen = obfuscate(LINEAR, IMAGES, MASKS, METHOD, key=jax.random.key(4), draws=4096)
  after = np.asarray(jax.nn.softmax(seen.outputs))[..., 0].astype(float)
  clean = np.asarray(jax.nn.softmax(seen.clean_outputs))[..., 0].astype(float)
  shares = after.mean(1) / clean
  assert np.all(found.retained_probability <= shares)
  assert np.all(found.retained_probability > shares - 0.04)
  said = (seen.outputs.argmax(-1) == 0).mean(1)
  assert np.all(found.retained_agreement <= said + 1e-9)
  assert np.all(found.retained_agreement > said - 0.04)
  changes = ((clean[:, None] - after) ** 2).mean(1)
  assert np.all((found.distortion >= changes) & (found.distortion < changes + 0.04))


def test_draws_end_when_bounds_are_near():
  wide, near = bounds_of(width=0.2), bounds_of(width=0.02)
  assert np.all(wide.num_draws < near.num_draws)
  assert np.all(near.distortion <= wide.distortion)
  few = bounds_of(width=1e-6, most_draws=100)
  np.testing.assert_array_equal(few.num_draws, 100)


def test_the_width_is_a_share_of_the_clean_probability():
  # The other class has little, of which a bound must not be far from the mean.
  found = bounds_of(targets=1, width=0.25, most_draws=4096)
  seen = obfuscate(LINEAR, IMAGES, MASKS, METHOD, key=KEY, draws=4096)
  after = np.asarray(jax.nn.softmax(seen.outputs))[..., 1].astype(float)
  clean = np.asarray(jax.nn.softmax(seen.clean_outputs))[..., 1].astype(float)
  assert clean.max() < 0.05
  shares, errors = after.mean(1) / clean, after.std(1) / clean
  # The means of both have errors of their own.
  near = shares - 0.25 - 5 * errors / np.sqrt(found.num_draws)
  done = found.num_draws < 4096
  assert done.any()
  assert np.all(found.retained_probability[done] > near[done])
  # As far from the mean itself as that, most are done at once.
  assert np.all(found.num_draws > bounds_of(width=0.25).num_draws)


def test_of_hardly_any_probability_no_share_is_bounded():
  certain = classifier_of(99)
  found = bounds_of(certain, targets=1)
  assert np.isnan(found.retained_probability).all()
  assert np.isfinite(found.retained_agreement).all()
  assert np.isfinite(found.distortion).all()


def test_other_images_of_the_batch_change_nothing():
  batch = bounds_of(width=0.08)
  assert len(set(batch.num_draws)) > 1  # the case would say nothing otherwise
  for i in range(3):
    alone = bounds_of(images=IMAGES[i], masks=(MASKS[0][i],), width=0.08)
    for one, many in zip(alone, batch, strict=True):
      # Other rows of a matrix product may add up in another order.
      np.testing.assert_allclose(one, many[i], rtol=1e-5)


def test_draws_are_independent_where_others_are_spread_evenly():
  # One of each two draws keeps the class: of an even spread exactly half, by chance
  # sometimes far from it.
  coin = perturbations.mixture((perturbations.constant(0), perturbations.constant(1)))
  found = bounds_of(
    classifier_of(99),
    np.full((200, 2, 2, 1), 0.9, np.float32),
    (np.zeros((200, 1, 2, 2, 1), np.float32),),
    pixel_rde(perturbation=coin),
    image_ids=np.arange(200),
    most_draws=64,
  )
  spread = found.retained_agreement.std()
  independent = lower_bound(RNG.random((2000, 64)) < 0.5, 0.95).std()
  assert 0.7 * independent < spread < 1.4 * independent


def test_without_chance_the_values_are_their_own_bounds():
  method = pixel_rde(1.0, perturbation=perturbations.zeros())
  found = bounds_of(method=method)
  seen = obfuscate(LINEAR, IMAGES, MASKS, method, key=KEY)
  after = np.asarray(jax.nn.softmax(seen.outputs))[:, 0, 0]
  clean = np.asarray(jax.nn.softmax(seen.clean_outputs))[:, 0]
  np.testing.assert_allclose(found.retained_probability, after / clean, rtol=1e-5)
  np.testing.assert_allclose(found.distortion, (clean - after) ** 2, atol=1e-6)
  np.testing.assert_array_equal(found.num_draws, 1)


def test_what_has_no_largest_value_has_no_bound():
  found = bounds_of(method=pixel_rde(1.0, distortion=distortions.kl))
  assert np.isnan(found.distortion).all()
  assert np.isfinite(found.retained_probability).all()
  own = bounds_of(method=pixel_rde(1.0, distortion=lambda a, b, t: (a[t] - b[t]) ** 2))
  assert np.isnan(own.distortion).all()
  nothing = bounds_of(classifier_of(5, outputs.regression(2.0)), targets=0)
  assert np.isnan(nothing[:3]).all()


@pytest.mark.parametrize(
  ("distortion", "most"), [(distortions.l2, 2**0.5), (distortions.squared_l2, 2.0)]
)
def test_the_largest_distortion_counts(distortion, most):
  method = pixel_rde(1.0, perturbation=perturbations.zeros(), distortion=distortion)
  # Without the image it is dark, for certain: nothing can change more.
  sure = classifier_of(1e4)
  lost = bounds_of(sure, masks=(np.zeros_like(MASKS[0]),), method=method)
  np.testing.assert_allclose(lost.distortion, most, rtol=1e-6)
  kept = bounds_of(sure, masks=(np.ones_like(MASKS[0]),), method=method)
  np.testing.assert_allclose(kept.distortion, 0, atol=1e-6)


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"confidence": 1.0}, "confidence is 1.0; it must be a number above 0 and below 1"),
    ({"confidence": 0}, "confidence is 0; it must be"),
    ({"confidence": "95%"}, "confidence is '95%'; it must be"),
    ({"width": 0.0}, "width is 0.0; it must be a number above 0"),
    ({"most_draws": 0}, "most_draws is 0"),
    ({"masks": (np.ones((1, 2, 2, 1)),)}, "masks has leaves"),
  ],
)
def test_bad_arguments_are_named(options, words):
  with pytest.raises(ValueError, match="^" + words.replace("(", r"\(")):
    bounds_of(**options)


def test_as_a_metric_it_bounds_what_was_searched():
  method = cartoonx(1.0, representation=pixel(), distortion=distortions.squared_l2)
  judged = Judged(
    LINEAR,
    IMAGES,
    MASKS,
    pixel(),
    method.perturbation,
    np.zeros(3, int),
    KEY,
    distortion=method.distortion,
  )
  found = measure({"bounds": METRICS["bounds"].metric}, judged)
  direct = bounds_of(method=method)
  np.testing.assert_array_equal(found["distortion_bound"], direct.distortion)
  np.testing.assert_array_equal(
    found["retained_probability_bound"], direct.retained_probability
  )
  np.testing.assert_array_equal(
    found["retained_agreement_bound"], direct.retained_agreement
  )
  np.testing.assert_array_equal(found["bound_draws"], direct.num_draws)
  # Of an attribution, what the target's probability changes.
  other = measure(
    {"bounds": METRICS["bounds"].metric}, judged._replace(distortion=None)
  )
  assert np.all(other["distortion_bound"] < found["distortion_bound"])
