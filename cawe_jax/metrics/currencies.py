r"""What kept entries cost: energy and bits, which pixels and wavelets share.

One per cent of the pixels and one per cent of the wavelet coefficients are equally many
numbers, but not equally much of an image: a few coarse coefficients hold nearly all of
its energy, and most fine ones are next to nothing. Two measures can be compared across
representations.

*Energy* is the share of the squared coefficients.

*Bits* are the length of an ideal code from which the kept entries can be decoded:

- their values, in steps of 1/255 (a pixel's own), under a Cauchy law for each noise
  group with that group's median and median absolute deviation;
- where they are: ``log2 C(k, l)`` for l of k entries.

The step makes the two comparable: in an orthonormal basis rounding a coefficient and
rounding a pixel do the image the same harm. (A wavelet transform is orthonormal up to
its borders if its wavelet is orthogonal, e.g. Daubechies; a redundant frame is not.)
The two parameters of each group are not counted, being some hundred bits in all.

The tails must be heavy, because an edge's coefficient is far out in its band. On four
photographs the values of the finest band of db3 cost 2.7 to 5.5 bits each, at most 7 %
above their empirical entropy, and the largest twentieth of them 10 to 15; under a
Laplace law, the usual model, 3.7 to 5.5 and 12 to 25. A pixel's cost 7 to 9.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from cawe_jax.types import Array, Coefficients

STEP = 1 / 255
"""Between two values that the code tells apart."""

# Where half of a group is the same value, its scale would be 0.
_MINIMUM_SCALE = STEP / 16


PerEntry = Float[Array, "k"]
"""A real number for each entry of a mask, leaf by leaf."""


def energy(coefficients: Coefficients) -> PerEntry:
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


def value_bits(coefficients: Coefficients) -> PerEntry:
  r"""Code length of the values of one image's entries, summed over channels.

  With ``q`` the distance to the group's median, rounded to whole steps of size ``D``,
  and ``b`` the group's median absolute deviation, the law gives a value the probability

  .. math:: P(q) = \frac{1}{\pi} \left( \arctan \frac{q + D / 2}{b}
    - \arctan \frac{q - D / 2}{b} \right)

  Args:
    coefficients: Leaves ``[orientations, h, w, C]``, one noise group each.

  Returns:
    ``-log2 P``, above 0, ``[k]``, entries leaf by leaf.

  Example:
    >>> grey = jnp.full((1, 1, 3, 1), 0.5).at[0, 0, 1].set(1.0)
    >>> [round(float(bits), 1) for bits in value_bits((grey,))]
    [0.1, 19.6, 0.1]
  """

  def bits(leaf: Array) -> Array:
    centred = leaf - jnp.median(leaf)
    scale = jnp.maximum(jnp.median(jnp.abs(centred)), _MINIMUM_SCALE)
    low = (jnp.abs(jnp.round(centred / STEP)) - 0.5) * STEP / scale
    high = low + STEP / scale
    # The difference of two arc tangents, without the loss of digits where both are near
    # a right angle.
    angle = jnp.arctan2(high - low, 1 + low * high)
    return -jnp.sum(jnp.log2(angle / jnp.pi), -1).ravel()

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
    bits: The bits of each entry's value, ``[..., k]``.
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
