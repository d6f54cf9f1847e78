r"""What kept entries cost: energy and bits, which pixels and wavelets share.

One per cent of the pixels and one per cent of the wavelet coefficients are equally many
numbers, but not equally much of an image: a few coarse coefficients hold nearly all of
its energy, and most fine ones are next to nothing. Two measures can be compared across
representations.

*Energy* is the share of the squared coefficients.

*Bits* are the length of an ideal code from which the kept entries can be decoded:

- their values, in steps of 1/255 (a pixel's own), under a Laplace law for each noise
  group with that group's mean and mean absolute deviation: the usual model of wavelet
  coefficients in image coding, and the group's noise law with its heavier tails;
- where they are: ``log2 C(k, l)`` for l of k entries.

The step makes the two comparable: in an orthonormal basis rounding a coefficient and
rounding a pixel do the image the same harm. (A wavelet transform is orthonormal up to
its borders if its wavelet is orthogonal, e.g. Daubechies; a redundant frame is not.)
The two parameters of each group are not counted, being some hundred bits in all.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from cawe_jax.types import Array, Coefficients

STEP = 1 / 255
"""Between two values that the code tells apart."""

# Groups that do not vary have scale 0; a thousandth of a step is as certain.
_MINIMUM_SCALE = STEP / 1000


def energy(coefficients: Coefficients) -> Array:
  """Squared coefficients of one image, summed over channels.

  Args:
    coefficients: Leaves ``[orientations, h, w, C]``.

  Returns:
    ``[k]``, entries leaf by leaf.

  Example:
    >>> energy((jnp.array([3.0, 4.0]).reshape(1, 1, 1, 2),)).tolist()
    [25.0]
  """
  return jnp.concatenate([jnp.sum(leaf**2, -1).ravel() for leaf in coefficients])


def value_bits(coefficients: Coefficients) -> Array:
  r"""Code length of the values of one image's entries, summed over channels.

  With ``q`` the distance to the group's mean in whole steps of size ``D``, rounded, and
  ``b`` the group's mean absolute deviation, the Laplace law gives a value the
  probability

  .. math:: P(0) = 1 - e^{-a}, \qquad P(q) = e^{-2 a |q|} \sinh a, \qquad a = D / 2 b

  Args:
    coefficients: Leaves ``[orientations, h, w, C]``, one noise group each.

  Returns:
    ``-log2 P``, at least 0, ``[k]``, entries leaf by leaf.

  Example:
    >>> value_bits((jnp.zeros((1, 2, 2, 3)),)).tolist()
    [0.0, 0.0, 0.0, 0.0]

  References:
    Mallat, A theory for multiresolution signal decomposition, PAMI 1989 (the law of
    wavelet coefficients); Lam and Goodman, IEEE Trans. Image Processing 2000.
  """

  def bits(leaf: Array) -> Array:
    centred = leaf - jnp.mean(leaf)
    a = STEP / 2 / jnp.maximum(jnp.mean(jnp.abs(centred)), _MINIMUM_SCALE)
    q = jnp.abs(jnp.round(centred / STEP))
    # log(sinh a) = a + log(1 - exp(-2 a)) - log 2 without overflow.
    outside = 2 * a * q - a - jnp.log1p(-jnp.exp(-2 * a)) + jnp.log(2.0)
    nats = jnp.where(q == 0, -jnp.log(-jnp.expm1(-a)), outside)
    return jnp.sum(nats, -1).ravel() / jnp.log(2.0)

  return jnp.concatenate([bits(leaf) for leaf in coefficients])


def position_bits(num_entries: int) -> np.ndarray:
  """``log2 C(k, l)``: which l of k entries, for every l from 0 to k, float64.

  Example:
    >>> (2 ** position_bits(4)).round().tolist()
    [1.0, 4.0, 6.0, 4.0, 1.0]
  """
  factorial = np.cumsum(np.log2(np.maximum(np.arange(num_entries + 1), 1)))
  return factorial[-1] - factorial - factorial[::-1]


def energy_of_top(energies: np.ndarray, ranks: np.ndarray) -> np.ndarray:
  """Share of the energy that the l most relevant entries hold, for every l.

  Args:
    energies: ``[..., k]``.
    ranks: Places of the entries, 0 for the most relevant, ``[..., k]``.

  Returns:
    ``[..., k + 1]`` from 0 to 1, float64; NaN where there is no energy.

  Example:
    >>> energy_of_top(np.array([1.0, 3.0]), np.array([1, 0])).tolist()
    [0.0, 0.75, 1.0]
  """
  total = _cumulative(energies, ranks)
  whole = total[..., -1:]
  return total / np.where(whole > 0, whole, np.nan)


def bits_of_top(bits: np.ndarray, ranks: np.ndarray) -> np.ndarray:
  """Bits of the l most relevant entries, values and positions, for every l.

  To say which entries are kept becomes cheaper again when it is nearly all of them; the
  larger cost then stands, so that bits never fall with the number of entries.

  Args:
    bits: Of the values, ``[..., k]``.
    ranks: Places of the entries, 0 for the most relevant, ``[..., k]``.

  Returns:
    ``[..., k + 1]``, not decreasing, float64.

  Example:
    >>> bits_of_top(np.array([1.0, 3.0]), np.array([1, 0])).tolist()
    [0.0, 4.0, 4.0]
  """
  cost = _cumulative(bits, ranks) + position_bits(bits.shape[-1])
  return np.maximum.accumulate(cost, axis=-1)


def _cumulative(values: np.ndarray, ranks: np.ndarray) -> np.ndarray:
  """Sums over the l entries of the lowest ranks, ``[..., k + 1]``."""
  total = np.zeros((*values.shape[:-1], values.shape[-1] + 1))
  np.put_along_axis(total, ranks + 1, values, axis=-1)
  return np.cumsum(total, axis=-1)
