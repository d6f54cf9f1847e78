"""Closed forms of the schedules."""

import numpy as np

from cawe_jax import schedules

PROGRESS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])


def test_constant():
  schedule = schedules.constant()
  assert schedule.multiplier(0.3, 7.0) == 7.0
  assert schedule.step_size(0.3, 0.1) == 0.1


def test_linear_decay():
  steps = schedules.linear_decay().step_size(PROGRESS, 0.2)
  np.testing.assert_allclose(steps, [0.2, 0.15, 0.1, 0.05, 0.0], atol=1e-7)
  assert schedules.linear_decay().multiplier(0.9, 5.0) == 5.0
