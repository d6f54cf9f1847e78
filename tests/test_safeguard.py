"""Brake and guard, each alone, on values and gradients that are made."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax.solvers import safeguard

HALF = np.full((2, 4), 0.5, np.float32)


def looks(steps, vanished=0.33, slope=1e-3):
  """For each ``(mask, value, promise)``: how fast it may fall, and where it must end.

  The promise is of all entries. An update of -1 would empty any mask.
  """
  brake, guard = safeguard.brake(), safeguard.guard(vanished)

  @jax.jit
  def look(memories, mask, value, gradient):
    known = {
      "value": value,
      "gradient": gradient,
      "penalty_gradient": jnp.full_like(HALF, slope),
    }
    down = jnp.ones_like(HALF)
    braked, first = brake.update(down, memories[0], mask, **known)
    moved, second = guard.update(-down, memories[1], mask, **known)
    return braked.max(), (mask + moved).max(), (first, second)

  memories, said = (brake.init(HALF), guard.init(HALF)), []
  for mask, value, promise in steps:
    masks = np.full_like(HALF, mask)
    gradients = np.full_like(HALF, -promise / (8 * max(1 - mask, 1e-9)))
    speed, end, memories = look(memories, masks, np.float32(value), gradients)
    said.append((float(speed), max(float(end), 0.0)))
  return said


def test_entries_that_rise_are_not_braked():
  brake = safeguard.brake()
  known = {"value": 1.0, "penalty_gradient": np.zeros_like(HALF)}
  _, memory = brake.update(HALF, brake.init(HALF), HALF, **known)
  up, _ = brake.update(-HALF, memory, HALF, **known)
  down, _ = brake.update(HALF, memory, HALF, **known)
  assert np.all(up == -HALF)
  assert np.all(down < 0.1 * HALF)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_a_convex_value_of_any_scale_is_left_alone(scale):
  # The promise of a convex value is at least the value itself.
  steps = [(1.0, 0.0, 0.0), *60 * [(0.5, scale, 1.01 * scale)]]
  assert all(least == 0 for _, least in looks(steps))


def test_a_value_of_rounding_has_lost_nothing():
  start, flat = (1.0, 0.0, 0.0), 20 * [(0.5, 1e-5, 0.0)]
  assert all(least == 0 for _, least in looks([start, *flat], slope=1.0))
  assert any(least > 0 for _, least in looks([start, *flat], slope=1e-4))


def test_what_lost_its_gradient_returns_to_masks_that_had_one():
  steps = [(1.0, 0.0, 0.0), (0.8, 0.5, 0.5), *4 * [(0.2, 1.0, 0.01)]]
  said = [least for _, least in looks(steps)]
  assert said[:3] == [0, 0, 0]
  # The running mean of 1 and 0.8 with the decay 0.9.
  np.testing.assert_allclose(max(said), (0.9 * 1 + 0.8) / 1.9, rtol=1e-5)
  assert all(least == 0 for _, least in looks(steps, vanished=0.0))


def test_a_mask_far_below_the_largest_value_has_lost_nothing():
  lost, little = (1.0, 0.01), (0.01, 1e-4)
  start = [(1.0, 0.0, 0.0), (0.8, 1.0, 1.0), *12 * [(0.7, 0.01, 0.02)]]
  assert max(looks([*start, *6 * [(0.2, *lost)]]), key=lambda x: x[1])[1] > 0.7
  assert all(least == 0 for _, least in looks([*start, *6 * [(0.2, *little)]]))


def test_entries_fall_slowly_at_first_and_freely_where_values_stay():
  steps = [(1.0, 0.0, 0.0), *200 * [(0.5, 2.0, 4.0)]]
  speeds = [speed for speed, _ in looks(steps, slope=100)]
  # A mean of 0.97 that starts from zero, against one of 1/2.
  np.testing.assert_allclose(speeds[2], 0.03 / 0.5, rtol=1e-4)
  np.testing.assert_allclose(speeds[-1], 1 - 0.97**199, rtol=1e-4)
  assert np.all(np.diff(speeds[3:]) > 0)


def test_entries_fall_slowly_where_penalties_weigh_little_beside_the_value():
  steps = [(1.0, 0.0, 0.0), *300 * [(0.5, 2.0, 4.0)]]
  speeds = {
    slope: looks(steps, slope=slope)[-1][0] for slope in (0.0, 0.1, -0.1, 0.4, 10)
  }
  # Eight entries of one half: 0.4 and 1.6 and 40 beside a value of 2; half of that.
  expected = {0.0: 0, 0.1: 0.1, -0.1: 0.1, 0.4: 0.4, 10: 1}
  for slope, speed in speeds.items():
    np.testing.assert_allclose(speed, expected[slope], rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("value", [0.0, -5.0])
def test_nothing_is_braked_where_nothing_is_lost(value):
  assert looks(20 * [(0.5, value, 0.0)]) == 20 * [(1.0, 0.0)]
