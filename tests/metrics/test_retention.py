"""What masks retain, in closed form and as `explain` reports it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax import Classifier, cartoonx, explain, perturbations, recipes
from cawe_jax.metrics import rate_distortion_curve, retained
from cawe_jax.outputs import regression
from cawe_jax.representations import pixel, wavelet

SHAPE, SIZE = (8, 8, 1), 64
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0, 1, (4, *SHAPE)).astype(np.float32)
WEIGHTS = RNG.normal(0, 0.4, SIZE).astype(np.float32)
WEIGHTS -= WEIGHTS.mean()  # so that both classes occur
MASKS = (RNG.integers(0, 2, (4, 1, *SHAPE)).astype(np.float32),)


def two_classes(weights, images):
  margin = images.reshape(len(images), -1) @ weights
  return jnp.stack([margin / 2, -margin / 2], axis=1)


LINEAR = Classifier(two_classes, jnp.asarray(WEIGHTS), SHAPE[:2])


def probability(images):
  margin = images.reshape(len(images), -1) @ WEIGHTS.astype(np.float64)
  return 1 / (1 + np.exp(-margin))


def test_a_linear_network_without_noise():
  found = retained(
    LINEAR,
    IMAGES,
    MASKS,
    pixel(),
    key=KEY,
    targets=0,
    perturbation=perturbations.constant(1.0),
  )
  clean = probability(IMAGES)
  kept = np.where(MASKS[0][:, 0], IMAGES, 1.0), MASKS[0][:, 0] * IMAGES
  for shown, ratio, agreement in zip(kept, found[::2], found[1::2], strict=True):
    np.testing.assert_allclose(ratio, probability(shown) / clean, rtol=1e-5)
    np.testing.assert_array_equal(agreement, probability(shown) >= 0.5)
  # Both answers occur, so that one for all would not do.
  assert set(found.retained_agreement) | set(found.explanation_agreement) == {0, 1}


def test_it_is_what_explain_reports():
  method = cartoonx(
    1e-3,
    representation=wavelet("haar", levels=1),
    recipe=recipes.fast()._replace(num_steps=5),
  )
  explanation = explain(LINEAR, IMAGES, method, key=KEY)
  assert 0 < explanation.rate.min() < explanation.rate.max() < 1
  found = retained(LINEAR, IMAGES, explanation.mask, method.representation, key=KEY)
  # The same draws, in another program.
  for name in ("retained_probability", "explanation_probability"):
    np.testing.assert_allclose(
      getattr(found, name), getattr(explanation, name), rtol=1e-5
    )
  # With two classes and the larger one as target, p >= 1/2 is agreement.
  alone = explanation.score_without_noise >= 0.5
  np.testing.assert_array_equal(found.explanation_agreement, alone)


def test_agreement_is_a_share_of_draws():
  nothing = (np.zeros_like(MASKS[0]),)
  everything = (np.ones_like(MASKS[0]),)
  lost = retained(LINEAR, IMAGES, nothing, pixel(), key=KEY)
  whole = retained(LINEAR, IMAGES, everything, pixel(), key=KEY)
  assert np.all((lost.retained_agreement > 0) & (lost.retained_agreement < 1))
  np.testing.assert_array_equal(lost.retained_agreement * 64 % 1, 0)
  np.testing.assert_allclose(whole, 1, rtol=1e-6)


def test_a_regression_retains_no_probability():
  network = Classifier(two_classes, LINEAR.params, SHAPE[:2], output=regression(1.0))
  found = retained(network, IMAGES, MASKS, pixel(), key=KEY, targets=0)
  assert np.isnan(found).all()
  assert np.shape(found) == (4, 4)


def test_bad_masks_are_refused():
  with pytest.raises(ValueError, match=r"^masks has leaves .* they must be"):
    retained(LINEAR, IMAGES[:2], MASKS, pixel(), key=KEY)
  with pytest.raises(ValueError, match=r"^masks has entries outside \[0, 1\]"):
    retained(LINEAR, IMAGES, (2 * MASKS[0],), pixel(), key=KEY)


@pytest.mark.parametrize("measure", [retained, rate_distortion_curve])
def test_a_bound_representation_is_refused(measure):
  with pytest.raises(
    ValueError, match=r"^representation is a Representation, which is"
  ):
    measure(LINEAR, IMAGES, MASKS, pixel()(SHAPE), key=KEY)
