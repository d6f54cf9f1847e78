"""Metrics by name: what they say of masks whose worth is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax import Classifier, perturbations
from cawe_jax.metrics import METRICS, Judged, measure
from cawe_jax.representations import pixel, wavelet

SHAPE, SIZE = (8, 8, 1), 64
RNG = np.random.default_rng(0)
# The network looks for a chequered pattern in the upper left quarter, where it is.
WEIGHTS = np.zeros((8, 8), np.float32)
WEIGHTS[:4, :4] = (-1.0) ** np.indices((4, 4)).sum(0)
IMAGES = RNG.uniform(0.2, 0.8, (3, *SHAPE)).astype(np.float32)
IMAGES[:, :4, :4, 0] = 0.5 + 0.4 * WEIGHTS[:4, :4]
SEEN = np.broadcast_to(WEIGHTS != 0, (3, 1, 8, 8)).astype(np.float32)[..., None]


def two_classes(weights, images):
  score = images.reshape(len(images), -1) @ weights - 2
  return jnp.stack([score, -score], axis=1)


LINEAR = Classifier(two_classes, jnp.asarray(WEIGHTS.ravel()), SHAPE[:2])


def judged(mask=SEEN, **changes):
  return Judged(
    LINEAR,
    IMAGES,
    (mask,),
    pixel(),
    perturbations.zeros(),
    np.zeros(3, int),
    jax.random.key(0),
  )._replace(**changes)


def said(name, case):
  return measure({name: METRICS[name].metric}, case)


def test_agreement_is_of_the_perturbation_and_the_target_given():
  found = said("agreement", judged())
  for name in ("retained_agreement", "explanation_agreement"):
    np.testing.assert_array_equal(found[name], 1)
  # Without the pattern it is the second class.
  nothing = judged(np.zeros_like(SEEN))
  np.testing.assert_array_equal(said("agreement", nothing)["retained_agreement"], 0)
  second = nothing._replace(targets=np.ones(3, int))
  np.testing.assert_array_equal(said("agreement", second)["retained_agreement"], 1)
  sharp = nothing._replace(perturbation=perturbations.blur(0.1))
  np.testing.assert_array_equal(said("agreement", sharp)["retained_agreement"], 1)


def probability(images):
  return np.asarray(jax.nn.softmax(LINEAR(images)))[:, 0]


def test_what_holds_is_said_of_each_law_by_itself():
  whole, nothing = (said("holds", judged(m)) for m in (SEEN, np.zeros_like(SEEN)))
  clean = probability(IMAGES)
  replaced = {
    "zeros": np.zeros_like(IMAGES),
    "mean": np.broadcast_to(IMAGES.mean((1, 2), keepdims=True), IMAGES.shape),
    "blur": [perturbations.gaussian_blur(image, 10.0) for image in IMAGES],
  }
  for law, images in replaced.items():
    share = probability(np.asarray(images)) / clean
    # The network's sums of 64 pixels, in 32 bits.
    np.testing.assert_allclose(nothing[f"retained_under_{law}"], share, rtol=1e-4)
  # The pattern alone decides, whatever lies beside it.
  assert len(whole) == 6
  for name, share in whole.items():
    assert name.startswith("retained_under_")
    np.testing.assert_allclose(share, 1, rtol=1e-4)
  # Draws of noise have the pattern now and then; the law in the search plays no part.
  for law in ("gaussian", "uniform"):
    assert np.all(nothing[f"retained_under_{law}"] < 0.9)
  other = judged(np.zeros_like(SEEN), perturbation=perturbations.constant(1.0))
  np.testing.assert_array_equal(
    said("holds", other)["retained_under_mean"], nothing["retained_under_mean"]
  )


@pytest.mark.parametrize("name", ["insertion-deletion", "rate-distortion"])
def test_what_the_network_sees_is_better_than_what_it_does_not_see(name):
  good, bad = (said(name, judged(mask)) for mask in (SEEN, 1 - SEEN))
  larger, smaller = {
    "insertion-deletion": ("insertion", "deletion"),
    "rate-distortion": ("replaced_area", "kept_area"),
  }[name]
  assert set(good) == {larger, smaller}
  assert np.all(good[larger] > bad[larger] + 0.1)
  assert np.all(good[smaller] < bad[smaller] - 0.1)


def test_pixels_are_ranked_by_where_coefficients_lie():
  haar = wavelet("haar", levels=1)
  corner = np.broadcast_to(WEIGHTS[::2, ::2] != 0, (3, 1, 4, 4)).astype(np.float32)
  mask = corner[..., None], np.repeat(corner, 3, 1)[..., None]
  # An attribution has negative entries, which are as relevant as positive ones.
  for sign in (1, -1):
    case = judged()._replace(relevance=tuple(sign * m for m in mask), transform=haar)
    found, expected = (said("insertion-deletion", c) for c in (case, judged()))
    for number in found:
      # Ties are in another order.
      np.testing.assert_allclose(found[number], expected[number], atol=0.02)


def test_ids_decide_the_noise_of_an_image():
  noisy = judged()._replace(perturbation=None, image_ids=np.array([7, 8, 9]))
  whole = said("rate-distortion", noisy)
  last = said(
    "rate-distortion",
    noisy._replace(
      images=IMAGES[2:], relevance=(SEEN[2:],), targets=np.zeros(1, int), image_ids=[9]
    ),
  )
  other = said("rate-distortion", noisy._replace(image_ids=np.array([1, 2, 3])))
  for number, values in whole.items():
    # The same draws; a batch of another size may be summed in another order.
    np.testing.assert_allclose(values[2:], last[number], rtol=1e-4)
    assert np.all(np.abs(values - other[number]) > 1e-4 * values)


def broken(case):
  return {"loss": 1 / 0}


@pytest.mark.parametrize(
  ("metric", "message"),
  [
    (lambda case: 1.0, "metric 'mine' returned a float; it must return a dictionary"),
    (lambda case: {"loss": 1.0}, "returned 1.0 for 'loss'; it must be 3 numbers"),
    (lambda case: {"loss": ["a"] * 3}, "for 'loss'; it must be 3 numbers"),
    (broken, "metric 'mine' failed with ZeroDivisionError"),
    (lambda case: {"first": np.zeros(3)}, "'first' is already another metric's number"),
  ],
)
def test_a_metric_of_ones_own_that_does_not_fit_is_refused(metric, message):
  first = {"first": lambda case: {"first": [1, 2, 3]}}
  with pytest.raises(ValueError, match=message):
    measure({**first, "mine": metric}, judged())


@pytest.mark.parametrize("name", METRICS)
def test_an_attribution_can_be_judged_where_no_mask_is_needed(name):
  case = judged(RNG.normal(0, 3, SEEN.shape).astype(np.float32), perturbation=None)
  if name in ("agreement", "bounds", "holds"):
    with pytest.raises(ValueError, match="entries outside"):
      said(name, case)
    return
  for values in said(name, case).values():
    assert values.shape == (3,)
    assert np.isfinite(values).all()
