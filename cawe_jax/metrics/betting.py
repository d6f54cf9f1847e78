r"""A lower bound of a mean that holds with a given confidence, whatever the law.

Somebody who believes that the mean is m bets at fair odds. The opponent stakes a part
of the capital on each value being above m:

.. math:: K_t(m) = \prod_{i \le t} (1 + \lambda_i (x_i - m))

If the mean is at most m, the capital does not grow on average, and it ever reaches
1 / alpha with a probability of at most alpha (Ville's inequality). The bound is the
largest m at which it was reached. No normal distribution is assumed and no number of
values has to be fixed before one looks: a part of the capital each is bet as is best
for 32, 128, 512 and 2,048 values. Where values vary little, as those of good masks do,
the bound is much nearer to the mean than one that knows only their range.
"""

from __future__ import annotations

import numpy as np

_MOST_AT_STAKE = 0.75
"""Share of the capital that one value can lose."""

_PLANS = (32, 128, 512, 2048)
"""Numbers of values for which equal parts of the capital are bet."""

_HALVINGS = 40


def lower_bound(values: np.ndarray, confidence: float) -> np.ndarray:
  """A number that the mean of a law is not below, with the given confidence.

  It may be computed again and again as values come in: all of these bounds hold
  together with that confidence, so that one may stop when one likes.

  Args:
    values: Independent draws of the law, in [0, 1], in the order in which they were
      drawn, ``[..., n]``.
    confidence: Above 0 and below 1.

  Returns:
    Bounds ``[...]`` in [0, 1], each for its own law.

  Example:
    >>> lower_bound(np.ones(64), 0.95).round(3)
    np.float64(0.934)
    >>> lower_bound(np.tile([0.8, 1.0], 64), 0.95).round(2)  # the mean is 0.9
    np.float64(0.87)

  References:
    Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting,
    2023, Sec. 4.
  """
  values = np.asarray(values, np.float64)
  wanted = -np.log1p(-confidence)
  stakes = _stakes(values, wanted)
  low, high = np.zeros(values.shape[:-1]), np.ones(values.shape[:-1])
  for _ in range(_HALVINGS):
    middle = (low + high) / 2
    reached = _largest_log_capital(values, stakes, middle) >= wanted
    low, high = np.where(reached, middle, low), np.where(reached, high, middle)
  return low


def _stakes(values: np.ndarray, wanted: np.ndarray | float) -> np.ndarray:
  """How much each part of the capital stakes on each value, ``[plans, ..., n]``.

  It knows the values before it alone, and is the more, the less they vary.
  """
  times = np.arange(1, values.shape[-1] + 1)
  # As if one more value, of a half, had come first.
  means = (0.5 + np.cumsum(values, -1)) / (times + 1)
  variances = (0.25 + np.cumsum((values - means) ** 2, -1)) / (times + 1)
  first = np.full((*values.shape[:-1], 1), 0.25)
  before = np.concatenate([first, variances[..., :-1]], axis=-1)
  return np.stack([np.sqrt(2 * wanted / (before * plan)) for plan in _PLANS])


def _largest_log_capital(
  values: np.ndarray, stakes: np.ndarray, mean: np.ndarray
) -> np.ndarray:
  """Logarithm of the largest capital on the way of betting against means ``[...]``."""
  mean = mean[..., None]
  stakes = np.minimum(stakes, _MOST_AT_STAKE / mean)
  parts = np.cumsum(np.log1p(stakes * (values - mean)), -1)
  return (np.logaddexp.reduce(parts, axis=0) - np.log(len(_PLANS))).max(-1)
