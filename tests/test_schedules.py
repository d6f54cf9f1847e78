"""Closed forms of the schedules."""

import numpy as np
import pytest

from cawe_jax import schedules

PROGRESS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])


def test_constant():
  schedule = schedules.constant()
  assert schedule.multiplier(0.3, 7.0) == 7.0
  assert schedule.step_size(0.3, 0.1) == 0.1


def test_linear_decay():
  schedule = schedules.linear_decay()
  steps = [float(schedule.step_size(t, 0.2)) for t in PROGRESS]
  np.testing.assert_allclose(steps, [0.2, 0.15, 0.1, 0.05, 0.0], atol=1e-7)
  assert schedule.multiplier(0.9, 5.0) == 5.0


def test_continuation_meets_the_final_multiplier_half_way():
  schedule = schedules.continuation(3.0)
  multipliers = [float(schedule.multiplier(t, 5.0)) for t in PROGRESS]
  np.testing.assert_allclose(multipliers, [15, 10, 5, 5, 5])
  steps = [float(schedule.step_size(t, 0.2)) for t in PROGRESS]
  np.testing.assert_allclose(steps, [0.2, 0.15, 0.1, 0.05, 0.0], atol=1e-7)


@pytest.mark.parametrize("start", [0.0, -1.0, np.inf, np.nan])
def test_continuation_refuses_a_start_that_is_none(start):
  with pytest.raises(ValueError, match=r"start is .*; it must be a finite number"):
    schedules.continuation(start)
