"""The plateau rule on sequences whose plateau is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax import stopping


def first_stop(rule, values):
  """Index of the step after which the rule stops, or None."""
  values = jnp.asarray(values, jnp.float32)
  progress = jnp.arange(len(values)) / len(values)

  def step(state, given):
    state, stop = rule.update(state, *given)
    return state, stop

  _, stops = jax.lax.scan(step, rule.init(), (values, progress))
  found = np.flatnonzero(np.asarray(stops))
  return int(found[0]) if found.size else None


def test_a_falling_objective_never_stops():
  # Each window of 10 steps lowers the mean by 1 - 0.97^10 = 26 %.
  assert first_stop(stopping.plateau(), 0.97 ** np.arange(100)) is None


def test_a_plateau_stops_after_patience_windows():
  values = np.concatenate([np.linspace(10, 1, 40), np.ones(60)])
  # Windows end at 10, 20, ...; that of steps 40-49 is the last to improve. The two
  # after it fail, and the second failure is seen at the first step of the next window.
  assert first_stop(stopping.plateau(patience=2), values) == 70
  assert first_stop(stopping.plateau(patience=1), values) == 60


def test_slow_improvement_below_the_tolerance_counts_as_a_plateau():
  values = 0.999 ** np.arange(100)  # 1 % a window
  assert first_stop(stopping.plateau(tolerance=0.02), values) == 30
  assert first_stop(stopping.plateau(tolerance=0.005), values) is None


def test_noise_around_a_falling_mean_does_not_stop():
  noise = np.random.default_rng(0).normal(size=100)
  # The mean of 10 values has deviation 0.03, a window's fall is at least 0.1.
  assert first_stop(stopping.plateau(), np.linspace(2, 1, 100) + 0.1 * noise) is None


def test_a_rule_that_begins_late_begins_with_what_it_sees():
  rule, state = stopping.plateau(patience=1), stopping.plateau(patience=1).init()
  stops = []
  for step in range(50, 100):
    state, stop = rule.update(state, jnp.float32(1), step / 100)
    stops.append(bool(stop))
  # The first window cannot fail.
  assert stops.index(True) == 20


def test_never():
  assert first_stop(stopping.never(), np.ones(50)) is None


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    ({"window": 0.0}, "window is 0.0"),
    ({"tolerance": float("nan")}, "tolerance is nan"),
    ({"tolerance": 1.0}, "tolerance is 1.0; it must be at least 0 and below 1"),
    ({"patience": 0}, "patience is 0"),
  ],
)
def test_errors(arguments, words):
  with pytest.raises(ValueError, match=words):
    stopping.plateau(**arguments)
