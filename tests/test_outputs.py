"""Sigmoid and regression networks: closed forms, and evidence that was planted."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax import Classifier, distortions, explain, explain_retaining, pixel_rde
from cawe_jax.classifiers import regression, sigmoid, softmax
from cawe_jax.engine.session import Session
from cawe_jax.part import name_of
from cawe_jax.recipes import fast

CLEAN = np.array([1.5, -0.5, 0.25], np.float32)
OTHER = np.array([-1.0, -0.25, 3.0], np.float32)
KEY = jax.random.key(0)


def logistic(z):
  return 1 / (1 + np.exp(-np.float64(z)))


P, Q = logistic(CLEAN), logistic(OTHER)


def coin_kl(p, q):
  return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


SIGMOID_FORMS = {
  "label_squared_error": lambda t: (P[t] - Q[t]) ** 2,
  "automatic": lambda t: (P[t] - Q[t]) ** 2 if P[t] >= 0.5 else 1 - Q[t],
  "lost_share": lambda t: max(1 - Q[t] / P[t], 0) ** 2,
  "maximise_label": lambda t: (1 - Q[t]) ** 2,
  "maximise_probability": lambda t: 1 - Q[t],
  # Presence and absence change by the same.
  "squared_l2": lambda t: 2 * (P[t] - Q[t]) ** 2,
  "l2": lambda t: 2**0.5 * abs(P[t] - Q[t]),
  "kl": lambda t: coin_kl(P[t], Q[t]),
  "reverse_kl": lambda t: coin_kl(Q[t], P[t]),
  "logit_l2": lambda t: abs(CLEAN[t] - OTHER[t]),
}


@pytest.mark.parametrize("target", range(3))
@pytest.mark.parametrize("name", SIGMOID_FORMS)
def test_distortions_of_a_label(name, target):
  distortion = sigmoid().adapt(getattr(distortions, name))
  # A few operations in 32 bits.
  close = pytest.approx(SIGMOID_FORMS[name](target), rel=1e-5, abs=1e-6)
  assert float(distortion(CLEAN, OTHER, target)) == close


def test_a_label_is_predicted_from_one_half():
  outputs = jnp.array([0.0, -1e-3, 7.0])
  assert [bool(sigmoid().is_predicted(outputs, t)) for t in range(3)] == [
    True,
    False,
    1,
  ]
  # Both say so of p = 1/2: the automatic distortion is the squared change there.
  automatic = sigmoid().adapt(distortions.automatic)
  assert float(automatic(jnp.zeros(1), jnp.zeros(1), 0)) == 0


def test_scores():
  for target in range(3):
    shares = np.exp(np.float64(CLEAN)) / np.exp(np.float64(CLEAN)).sum()
    assert float(softmax().score(CLEAN, target)) == pytest.approx(shares[target])
    assert float(sigmoid().score(CLEAN, target)) == pytest.approx(P[target])
    assert float(regression(2.0).score(CLEAN, target)) == CLEAN[target]


def test_a_change_of_one_scale_costs_one():
  distortion = regression(2.5).adapt(distortions.automatic)
  costs = [float(distortion(CLEAN, OTHER, t)) for t in range(3)]
  assert costs == pytest.approx([1.0, 0.01, 1.21])


def own(clean, outputs, target):
  return jnp.abs(clean[target] - outputs[target])


def test_which_distortions_a_regression_takes():
  output = regression(2.0)
  assert output.adapt(own) is own
  assert output.adapt(distortions.logit_l2) is distortions.logit_l2
  for refused in (distortions.kl, distortions.class_weighted_l2((1.0, 1.0))):
    with pytest.raises(ValueError, match=re.escape(name_of(refused))):
      output.adapt(refused)


def test_outputs_of_equal_settings_are_equal():
  # Or programs would be compiled again.
  assert sigmoid() == sigmoid()
  assert sigmoid().adapt(own) == sigmoid().adapt(own)
  assert regression(2) == regression(scale=2.0)
  assert regression(2.0) != regression(3.0)
  assert regression(2.0).adapt(distortions.automatic) == regression(2.0).adapt(
    distortions.automatic
  )
  assert softmax().adapt(own) is own


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_bad_scales(scale):
  with pytest.raises(
    ValueError, match=f"scale is {scale}; it must be finite and above"
  ):
    regression(scale)


# ---- Whole explanations ----

SIZE, HALF = 12, 6
CORNERS = {
  0: (slice(0, HALF), slice(0, HALF)),
  1: (slice(0, HALF), slice(HALF, SIZE)),
  2: (slice(HALF, SIZE), slice(0, HALF)),
}


def planted():
  """Output t is the contrast of a checkerboard in corner t alone."""
  board = 1 - 2.0 * (np.indices((SIZE, SIZE)).sum(0) % 2)
  weights = np.zeros((SIZE, SIZE, 1, 3), np.float32)
  for target, corner in CORNERS.items():
    weights[*corner, 0, target] = board[corner] / HALF**2
  image = np.float32(0.5 + 0.5 * board)[..., None]
  return jnp.asarray(weights.reshape(-1, 3)), image


WEIGHTS, IMAGE = planted()


def linear(params, images):
  weights, gain, shift = params
  outputs = gain * (images.reshape(len(images), -1) @ weights)
  return outputs + jnp.reshape(shift, (1, -1))


# The clean contrast of a corner is 1/2, and 0 on average under symmetric noise.
SIGMOID = Classifier(
  linear, (WEIGHTS, 16.0, -4.0), SIZE, ("a", "b", "c"), output=sigmoid()
)
REGRESSION = Classifier(linear, (WEIGHTS, 40.0, 100.0), SIZE, output=regression(20.0))
METHOD = pixel_rde(0.5, recipe=fast()._replace(num_steps=60))


def share_in_corner(explanation, target):
  mask = np.asarray(explanation.mask[0])[0, :, :, 0]
  return mask[CORNERS[target]].sum() / mask.sum()


@pytest.mark.parametrize("target", [1, 2])
def test_a_label_is_found_where_it_was_planted(target):
  found = explain(SIGMOID, IMAGE, METHOD, key=KEY, targets=target)
  assert found.target == target
  assert found.score == found.probability == pytest.approx(logistic(4.0), rel=1e-5)
  # A quarter of the mask would lie there by chance; entries elsewhere do nothing.
  assert share_in_corner(found, target) > 0.9
  assert 0.02 < found.rate < 0.25
  # The empty mask retains about 2 % (p = 0.02), every label's softmax a third.
  assert found.retained_probability > 0.8
  assert found.retained_probability == pytest.approx(
    found.score_with_noise / found.score, rel=1e-5
  )
  masked = jnp.asarray(found.masked_image)[None]
  assert found.score_without_noise == pytest.approx(
    float(logistic(SIGMOID(masked)[0, target])), rel=1e-4
  )
  assert not found.is_regression


def test_a_value_is_found_where_it_was_planted():
  found = explain(REGRESSION, IMAGE, METHOD, key=KEY, targets=2)
  assert found.score == pytest.approx(120.0, rel=1e-5)  # 100 + 40 / 2
  assert np.isnan(found.probability)
  assert np.isnan(found.retained_probability)
  assert np.isnan(found.explanation_probability)
  assert found.is_regression
  assert share_in_corner(found, 2) > 0.9
  assert 0.02 < found.rate < 0.25
  # The empty mask is at 100, one scale away.
  assert found.score_with_noise > 110
  # The mean square is at least the square of the mean, in units of the scale.
  bias = (found.score_with_noise - found.score) / 20
  assert bias**2 <= found.distortion < 0.3
  masked = jnp.asarray(found.masked_image)[None]
  assert found.score_without_noise == pytest.approx(
    float(REGRESSION(masked)[0, 2]), rel=1e-4
  )


# ---- What is refused before anything is optimised ----


def target_of(classifier, method=METHOD, targets=None):
  """Which target a run would explain."""
  session = Session(
    classifier,
    IMAGE[None],
    method,
    key=KEY,
    targets=targets,
    image_ids=None,
    rows=None,
  )
  return int(session.problems.target[0])


def refusal(*arguments, **keywords):
  with pytest.raises(ValueError, match=" is ") as error:
    target_of(*arguments, **keywords)
  assert "\n" not in str(error.value)
  return str(error.value)


def test_the_most_probable_label_is_explained_by_default():
  params = (WEIGHTS, 16.0, jnp.array([-4.0, -3.0, -5.0]))
  assert target_of(dataclasses.replace(SIGMOID, params=params)) == 1


def test_refusals():
  assert "say which of its outputs 0 to 2" in refusal(REGRESSION)
  single = dataclasses.replace(REGRESSION, params=(WEIGHTS[:, :1], 40.0, 100.0))
  assert target_of(single) == 0
  as_softmax = dataclasses.replace(single, output=softmax(), name="one")
  message = refusal(as_softmax)
  assert "'one'" in message
  assert "sigmoid()" in message
  assert "regression(scale)" in message
  probable = METHOD._replace(distortion=distortions.maximise_label)
  assert "distortion maximise_label" in refusal(REGRESSION, probable, targets=0)
  squared = METHOD._replace(distortion=distortions.label_squared_error)
  absent = dataclasses.replace(SIGMOID, params=(WEIGHTS, 16.0, -9.0))
  message = refusal(absent, squared, targets=1)
  assert "predicted label, which target 1 of image 0 is not" in message
  # A label is predicted on its own: not being the largest does not matter.
  assert target_of(SIGMOID, squared, targets=2) == 2


def test_a_regression_has_no_probability_to_retain():
  with pytest.raises(ValueError, match=r"regression\(scale=20.0\).*explain_path"):
    explain_retaining(REGRESSION, IMAGE, METHOD, 0.9, key=KEY, targets=0)


def test_names_without_names():
  assert REGRESSION.class_name(2) == "output 2"
  assert dataclasses.replace(SIGMOID, class_names=None).class_name(1) == "label 1"


@pytest.mark.parametrize("output", [softmax(), sigmoid()])
def test_nothing_is_predicted_by_outputs_that_are_nan(output):
  """Of such outputs, argmax returns the first."""
  nothing = jnp.full(3, jnp.nan)
  assert not any(output.is_predicted(nothing, target) for target in range(3))
