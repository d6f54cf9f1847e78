"""Energy and bits against NumPy and SciPy in 64 bits."""

import math

import numpy as np
import pytest
import scipy.stats

from cawe_jax.metrics import currencies
from cawe_jax.representations import pixel, wavelet

RNG = np.random.default_rng(0)
LEAVES = (
  RNG.normal(3, 2, (1, 2, 3, 3)).astype(np.float32),
  RNG.laplace(0, 0.02, (3, 4, 5, 3)).astype(np.float32),
)
RANKS = RNG.permutation(66)


def test_energy_is_the_sum_of_squares_over_colours():
  expected = [np.sum(leaf.reshape(-1, 3) ** 2, axis=1) for leaf in LEAVES]
  np.testing.assert_allclose(
    currencies.energy(LEAVES), np.concatenate(expected), rtol=1e-6
  )


def twin_bits(leaf):
  values = leaf.astype(np.float64)
  centred = values - np.median(values)
  scale = max(np.median(np.abs(centred)), currencies.STEP / 16)
  # In the left tail, where differences of the distribution function keep digits.
  middle = -np.abs(np.round(centred / currencies.STEP)) * currencies.STEP
  low, high = middle - currencies.STEP / 2, middle + currencies.STEP / 2
  cdf = scipy.stats.cauchy(scale=scale).cdf
  return -np.log2(cdf(high) - cdf(low)).reshape(-1, leaf.shape[-1]).sum(1)


def test_bits_are_minus_log_probability_of_the_quantised_value():
  sparse = np.zeros((1, 5, 5, 3), np.float32)
  sparse[0, 2, 2] = [0.7, -0.2, 1e3]
  leaves = (*LEAVES, sparse)
  expected = np.concatenate([twin_bits(leaf) for leaf in leaves])
  # 64-bit differences of the distribution function keep six digits at 1e3.
  np.testing.assert_allclose(currencies.value_bits(leaves), expected, rtol=1e-5)


def test_a_code_with_these_lengths_exists():
  """Kraft's sum over all values is 1, up to what the tails hold."""
  steps = np.arange(-500, 501) * currencies.STEP
  leaf = np.concatenate([steps, np.zeros(1500)]).astype(np.float32)
  bits = np.asarray(currencies.value_bits((leaf.reshape(1, 1, -1, 1),)), np.float64)
  # Half of them are 0, so the scale is 1/16 step: beyond 500 is 2 / pi / 16 / 500.
  np.testing.assert_allclose(np.sum(2 ** -bits[:1001]), 1 - 8e-5, atol=1e-5)


def test_what_does_not_vary_costs_next_to_nothing():
  grey = np.full((1, 4, 4, 3), 0.3, np.float32)
  # P(0) = 2 / pi arctan(8) for each of three colours.
  expected = -3 * math.log2(2 / math.pi * math.atan(8))
  np.testing.assert_allclose(currencies.value_bits((grey,)), expected, rtol=1e-4)


def test_positions_are_binomial():
  expected = [math.log2(math.comb(300, count)) for count in range(301)]
  # Sums of 300 logarithms in 64 bits.
  np.testing.assert_allclose(currencies.position_bits(300), expected, atol=1e-10)


def test_what_the_top_holds():
  values = np.asarray(currencies.energy(LEAVES), np.float64)
  order = np.argsort(RANKS)
  share = currencies.energy_of_top(values, RANKS)
  bits = currencies.bits_of_top(values, RANKS)
  for count in (0, 1, 10, 33):
    total = values[order[:count]].sum()
    np.testing.assert_allclose(share[count], total / values.sum(), rtol=1e-12)
    position = math.log2(math.comb(66, count))
    np.testing.assert_allclose(bits[count], total + position, rtol=1e-12)
  assert share[-1] == 1


def test_bits_never_fall():
  bits = currencies.bits_of_top(np.zeros((2, 66)), np.stack([RANKS, RANKS[::-1]]))
  # Values are free, so only positions cost: half of them most, and the rest as much.
  assert np.all(np.diff(bits, axis=1) >= 0)
  np.testing.assert_allclose(bits[:, 33:], math.log2(math.comb(66, 33)), rtol=1e-12)


def test_no_energy_has_no_share():
  assert np.isnan(currencies.energy_of_top(np.zeros(3), np.arange(3))).all()


@pytest.mark.parametrize("transform", [pixel(), wavelet("haar", levels=2)])
def test_an_orthonormal_basis_keeps_the_energy(transform):
  image = RNG.random((8, 8, 3)).astype(np.float32)
  coefficients = transform(image.shape).analysis(image)
  total = np.sum(np.asarray(currencies.energy(coefficients)))
  np.testing.assert_allclose(total, np.sum(image**2), rtol=1e-5)
