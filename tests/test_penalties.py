"""Rate and spatial penalties against loops over entries in 64-bit NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cawe_jax import penalties

RNG = np.random.default_rng(0)
SHAPES = ((1, 2, 3, 1), (3, 2, 3, 1), (3, 4, 5, 1))
MASK = tuple(jnp.asarray(RNG.random(shape), jnp.float32) for shape in SHAPES)
PIXEL_MASK = (jnp.asarray(RNG.random((1, 5, 4, 1)), jnp.float32),)
EXPLANATION = jnp.asarray(RNG.random((6, 7, 1)), jnp.float32)


def entries(mask):
  return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in mask])


def total_variation_twin(mask):
  pixels = np.asarray(mask[0][0, :, :, 0], np.float64)
  height, width = pixels.shape
  differences = [
    abs(pixels[i + di, j + dj] - pixels[i, j])
    for i in range(height)
    for j in range(width)
    for di, dj in ((1, 0), (0, 1))
    if i + di < height and j + dj < width
  ]
  return np.mean(differences)


def test_rate_is_the_mean_over_all_entries():
  # Not the mean of the leaves' means: leaves differ in size. Rounding of a 32-bit sum.
  assert float(penalties.rate(MASK)) == pytest.approx(entries(MASK).mean(), rel=1e-6)
  assert float(penalties.rate(MASK, EXPLANATION)) == float(penalties.rate(MASK))


def test_slope_of_the_rate_is_the_same_for_all_entries():
  slope = jax.grad(penalties.rate)(MASK)
  np.testing.assert_allclose(entries(slope), 1 / entries(MASK).size, rtol=1e-6)


def test_hard_rate_counts_entries_above_zero():
  cut = tuple(jnp.where(leaf > 0.4, leaf, 0) for leaf in MASK)
  expected = np.mean(entries(MASK) > 0.4)
  assert 0 < expected < 1
  assert float(penalties.hard_rate(cut)) == pytest.approx(expected, rel=1e-6)


def test_spatial_penalties_are_means_over_pixels():
  pixels = np.asarray(EXPLANATION, np.float64)
  # Rounding of 32-bit sums of 42 numbers.
  assert float(penalties.spatial_l1(MASK, EXPLANATION)) == pytest.approx(
    np.abs(pixels).mean(), rel=1e-6
  )
  assert float(penalties.spatial_l2(MASK, EXPLANATION)) == pytest.approx(
    np.sqrt((pixels**2).mean()), rel=1e-6
  )


def test_gradient_of_spatial_l2():
  value, slope = jax.value_and_grad(penalties.spatial_l2, argnums=1)(MASK, EXPLANATION)
  expected = np.asarray(EXPLANATION) / (EXPLANATION.size * float(value))
  np.testing.assert_allclose(slope, expected, rtol=1e-5)  # 32-bit rounding


def test_spatial_l2_of_a_black_explanation_has_no_slope():
  black = jnp.zeros_like(EXPLANATION)
  value, slope = jax.value_and_grad(penalties.spatial_l2, argnums=1)(MASK, black)
  assert float(value) == 0
  assert np.array_equal(slope, black)


def test_total_variation():
  value, slope = jax.value_and_grad(penalties.total_variation)(PIXEL_MASK, None)
  # 32-bit rounding of a sum of 31 numbers.
  assert float(value) == pytest.approx(total_variation_twin(PIXEL_MASK), rel=1e-6)
  step = 1e-4  # smaller than the distance of any two random neighbours
  for row, column in ((0, 0), (2, 1), (4, 3)):
    ends = [
      total_variation_twin(
        (np.asarray(PIXEL_MASK[0], np.float64) + s * one_hot(row, column),)
      )
      for s in (step, -step)
    ]
    difference = (ends[0] - ends[1]) / (2 * step)
    assert float(slope[0][0, row, column, 0]) == pytest.approx(difference, abs=1e-6)


def one_hot(row, column):
  direction = np.zeros((1, 5, 4, 1))
  direction[0, row, column, 0] = 1
  return direction


def test_total_variation_of_one_pixel_is_zero():
  assert float(penalties.total_variation((jnp.ones((1, 1, 1, 1)),), None)) == 0


def test_total_variation_is_for_pixel_masks():
  for mask in (MASK, (jnp.ones((2, 5, 4, 1)),)):
    with pytest.raises(ValueError, match=r"pixel masks .* this has \[\(") as error:
      penalties.total_variation(mask, EXPLANATION)
    assert "\n" not in str(error.value)


unit = st.floats(0, 1, width=32)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(
  mask=arrays(np.float32, (1, 5, 4, 1), elements=unit),
  explanation=arrays(np.float32, (6, 7, 1), elements=unit),
)
def test_all_lie_in_the_unit_interval(mask, explanation):
  for value in all_penalties((jnp.asarray(mask),), jnp.asarray(explanation)):
    # A 32-bit mean of ones may exceed 1 by rounding.
    assert 0 <= float(value) <= 1 + 1e-6


@jax.jit
def all_penalties(mask, explanation):
  return (
    penalties.rate(mask),
    penalties.hard_rate(mask),
    penalties.spatial_l1(mask, explanation),
    penalties.spatial_l2(mask, explanation),
    penalties.total_variation(mask, explanation),
  )
