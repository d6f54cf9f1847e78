"""Every distortion against its printed formula in 64-bit NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from cawe_jax import distortions

NUM_CLASSES = 7
WEIGHTS = (0.5, 0.0, 2.0, 1.0, 1.0, 3.0, 0.25)


def twin_label_squared_error(x, y, t):
  return (softmax(x)[t] - softmax(y)[t]) ** 2


def twin_maximise_probability(x, y, t):
  return 1 - softmax(y)[t]


def twin_automatic(x, y, t):
  twin = twin_label_squared_error if np.argmax(x) == t else twin_maximise_probability
  return twin(x, y, t)


def twin_kl(x, y, t):
  return np.sum(softmax(x) * (log_softmax(x) - log_softmax(y)))


def twin_class_weighted_l2(x, y, t):
  return np.sqrt(np.sum(np.asarray(WEIGHTS) * (softmax(x) - softmax(y)) ** 2))


TWINS = {
  "label_squared_error": twin_label_squared_error,
  "automatic": twin_automatic,
  "lost_share": lambda x, y, t: max(1 - softmax(y)[t] / softmax(x)[t], 0) ** 2,
  "maximise_label": lambda x, y, t: (1 - softmax(y)[t]) ** 2,
  "maximise_probability": twin_maximise_probability,
  "l2": lambda x, y, t: np.linalg.norm(softmax(x) - softmax(y)),
  "squared_l2": lambda x, y, t: np.sum((softmax(x) - softmax(y)) ** 2),
  "kl": twin_kl,
  "reverse_kl": lambda x, y, t: twin_kl(y, x, t),
  "logit_l2": lambda x, y, t: np.linalg.norm(x - y),
  "class_weighted_l2": twin_class_weighted_l2,
}
UPPER = {
  "label_squared_error": 1,
  "automatic": 1,
  "lost_share": 1,
  "maximise_label": 1,
  "maximise_probability": 1,
  "l2": 2**0.5,
  "squared_l2": 2,
  "class_weighted_l2": (2 * max(WEIGHTS)) ** 0.5,
}
# Those that are a change, hence 0 where nothing changed.
CHANGES = sorted(TWINS.keys() - {"automatic", "maximise_label", "maximise_probability"})

NORMS = ("l2", "logit_l2", "class_weighted_l2")


def get(name):
  if name == "class_weighted_l2":
    return distortions.class_weighted_l2(WEIGHTS)
  return getattr(distortions, name)


COMPILED = {name: jax.jit(jax.value_and_grad(get(name), argnums=1)) for name in TWINS}


def evaluate(name, x, y, target):
  """Value and gradient in the changed logits."""
  return COMPILED[name](jnp.float32(x), jnp.float32(y), jnp.int32(target))


def cases():
  rng = np.random.default_rng(0)
  for scale in (0.1, 1.0, 5.0):
    for _ in range(4):
      # Rounded to 32 bits, so that the twin sees the same numbers.
      x, y = rng.normal(0, scale, (2, NUM_CLASSES)).astype(np.float32)
      yield x.astype(float), y.astype(float), int(rng.integers(NUM_CLASSES))


@pytest.mark.parametrize("name", TWINS)
def test_value_equals_formula(name):
  for x, y, target in cases():
    value, _ = evaluate(name, x, y, target)
    # Eight operations on numbers up to 15 (logits) of relative error 6e-8.
    assert float(value) == pytest.approx(TWINS[name](x, y, target), rel=2e-5, abs=2e-6)


@pytest.mark.parametrize("name", TWINS)
def test_gradient_equals_finite_differences(name):
  step = 1e-6
  for x, y, target in cases():
    _, gradient = evaluate(name, x, y, target)
    difference = [
      (TWINS[name](x, y + step * e, target) - TWINS[name](x, y - step * e, target))
      / (2 * step)
      for e in np.eye(NUM_CLASSES)
    ]
    # Central differences in 64 bits are good to 1e-9; the rest is 32-bit rounding.
    np.testing.assert_allclose(gradient, difference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CHANGES)
def test_no_change_costs_nothing_and_has_no_slope(name):
  x = np.linspace(-2, 3, NUM_CLASSES)
  value, gradient = evaluate(name, x, x, 3)
  # Compiled, the two equal softmaxes differ by rounding, 6e-8 of at most 1.
  assert float(value) == pytest.approx(0, abs=1e-6)
  # A norm that is not squared has a kink here; its gradient is defined as 0, and must
  # not be a unit vector made of rounding errors. The others vanish with the change.
  np.testing.assert_allclose(gradient, 0, atol=0 if name in NORMS else 1e-6)


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("scale", [80.0, 1e4])
def test_certain_networks_give_finite_values_and_gradients(name, scale):
  x, y = np.zeros((2, NUM_CLASSES))
  x[0], y[1] = scale, scale
  value, gradient = evaluate(name, x, y, 0)
  assert np.isfinite(value)
  assert np.isfinite(gradient).all()


logits = st.lists(
  st.floats(-30, 30, width=32), min_size=NUM_CLASSES, max_size=NUM_CLASSES
)


@pytest.mark.parametrize("name", TWINS)
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(x=logits, y=logits, target=st.integers(0, NUM_CLASSES - 1))
def test_range(name, x, y, target):
  value, gradient = evaluate(name, x, y, target)
  # KL of nearly equal distributions is a sum that cancels: rounding below 0.
  lower = -1e-5 if "kl" in name else 0
  assert lower <= float(value) <= UPPER.get(name, np.inf) + 1e-6
  assert np.isfinite(gradient).all()


def test_automatic_switches_with_the_prediction():
  x, y = np.array([0.0, 2.0, 1.0]), np.array([1.0, 0.0, 0.0])
  predicted = distortions.automatic(jnp.asarray(x), jnp.asarray(y), 1)
  other = distortions.automatic(jnp.asarray(x), jnp.asarray(y), 2)
  # Few 32-bit operations on numbers of order 1.
  assert float(predicted) == pytest.approx(
    (softmax(x)[1] - softmax(y)[1]) ** 2, rel=1e-5
  )
  assert float(other) == pytest.approx(1 - softmax(y)[2], rel=1e-5)


def test_directions_of_kl():
  # p(x) is sure of class 0; p(y) is uniform. KL(x||y) = log 2 - H(x), where H is small;
  # KL(y||x) = -log 2 - mean of log p(x), where one of them is -10.
  x, y = jnp.array([10.0, 0.0]), jnp.zeros(2)
  p = softmax([10.0, 0.0])
  entropy = -np.sum(p * np.log(p))
  forward = np.log(2) - entropy
  backward = -np.log(2) - np.mean(np.log(p))
  assert backward > 5 * forward
  # 32-bit rounding of values of order 1 to 10.
  assert float(distortions.kl(x, y, 0)) == pytest.approx(forward, rel=1e-5)
  assert float(distortions.reverse_kl(x, y, 0)) == pytest.approx(backward, rel=1e-5)


def test_class_weights_choose_the_classes():
  x, y = jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 1.0, 0.0])
  change = softmax([1.0, 0, 0])[0] - softmax([0.0, 1, 0])[0]
  only_first = distortions.class_weighted_l2((4.0, 0.0, 0.0))
  assert float(only_first(x, y, 2)) == pytest.approx(2 * change, rel=1e-5)
  assert float(distortions.class_weighted_l2((0.0, 0.0, 0.0))(x, y, 0)) == 0


@pytest.mark.parametrize(
  "weights", [(1.0, -1.0), (float("nan"), 1.0), (float("inf"),), 3.0, ((1.0,), (2.0,))]
)
def test_class_weights_are_checked(weights):
  with pytest.raises(ValueError, match=r"weights is .*at least 0") as error:
    distortions.class_weighted_l2(weights)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 2.0)])
def test_class_weights_must_be_one_per_class(weights):
  distortion = distortions.class_weighted_l2(weights)
  with pytest.raises(ValueError, match=f"weights has {len(weights)} .* 3 classes"):
    distortion(jnp.zeros(3), jnp.zeros(3), 0)


def test_weights_are_data_given_as_list_tuple_or_array():
  traces = []

  @jax.jit
  def run(distortion, x, y):
    traces.append(distortion)
    return distortion(x, y, 0)

  x, y = jnp.array([1.0, 0.0]), jnp.array([0.0, 3.0])
  weights = [(1.0, 0.5), [1.0, 0.5], np.array([1.0, 0.5]), (0.25, 3.0)]
  found = [float(run(distortions.class_weighted_l2(w), x, y)) for w in weights]
  assert found[0] == found[1] == found[2] != found[3]
  assert len(traces) == 1
