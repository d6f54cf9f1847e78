r"""Masks that keep (almost) nothing: how they are told, why, and what to try.

Keeping nothing costs no rate, and the distortion :math:`D_0` of noise in the place of
the whole image, at most 1 where it is one of probabilities. A mask of rate r costs at
least :math:`\lambda r`, since no distortion is negative. So it can win only where

.. math:: \lambda < D_0 / r,

whatever it keeps: with :math:`\lambda = 20` no mask of more than 5 % of the entries.
What is suggested is :math:`\lambda = D_0 / (2 r)`, where a mask of rate r that loses
half of what nothing loses costs just as much; r is what masks usually keep, a larger
share of a small image than of a large one.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from cawe_jax.types import Explanation

NEARLY_EMPTY_RATE = 1e-4
"""Masks whose mean is below this keep (almost) nothing."""

_ENOUGH_STEPS = 200  # see recipes.tuned
_UNCHANGED = 1e-4  # of a score: as good as nothing for a softmax that is saturated


class EmptyMaskWarning(UserWarning):
  """A mask keeps (almost) nothing; the text says why, and which multiplier to try."""


def is_nearly_empty(explanation: Explanation) -> np.ndarray:
  """Whether the mask keeps (almost) nothing, bool, of one image or of each of B."""
  return np.asarray(explanation.rate) < NEARLY_EMPTY_RATE


def changes_nothing(explanation: Explanation) -> np.ndarray:
  """Whether noise in the place of the whole image leaves the output as it is.

  Of explanations whose mask is nearly empty; then no mask changes anything.
  """
  score = np.asarray(explanation.score)
  change = np.abs(np.asarray(explanation.score_with_noise) - score)
  spread = np.asarray(explanation.distortion_standard_error)
  return (change <= _UNCHANGED * np.abs(score)) & (spread <= _UNCHANGED)


def multiplier_to_try(explanation: Explanation) -> np.ndarray:
  """At which multiplier a mask may win, where nothing is kept now; one number, or [B].

  Where a usual share of the entries that loses half of what nothing loses would cost
  just as much, but at most a quarter of the present one: the advice can be followed
  again, and once it is below what nothing loses even the whole image costs less.

  Example:
    >>> usual_share(64), round(usual_share(784), 3), usual_share(50_000)
    (0.25, 0.071, 0.05)
  """
  shapes = [np.shape(leaf)[-4:] for leaf in explanation.mask]
  share = usual_share(sum(map(math.prod, shapes)))
  highest = np.asarray(explanation.lagrange_multiplier) / 4
  return np.minimum(_cost_of_nothing(explanation) / (2 * share), highest)


def usual_share(num_entries: int) -> float:
  """The share of k entries that a mask usually keeps: two rows of a square, or 5 %."""
  return max(2 / math.sqrt(num_entries), 0.05)


def notice(explanation: Explanation) -> str:
  """One sentence where the mask of one image keeps (almost) nothing, else nothing."""
  if not is_nearly_empty(explanation):
    return ""
  if changes_nothing(explanation):
    return (
      "The mask keeps nothing, since nothing that a mask does changes the output: "
      "noise in the place of the whole image leaves the score at "
      f"{float(explanation.score):.3g}."
    )
  nothing = float(_cost_of_nothing(explanation))
  multiplier = float(explanation.lagrange_multiplier)
  why = f"keeping nothing costs {nothing:.2g}"
  if nothing < multiplier:
    share = 100 * nothing / multiplier
    why += f", and keeping more than {share:.2g} % costs more at λ = {multiplier:g}"
  advice = _advice(explanation, multiplier_to_try(explanation))
  return f"The mask keeps (almost) nothing, since {why}{advice}."


def warn(explanation: Explanation, stacklevel: int) -> None:
  """Warn, once and in one sentence, of masks that keep (almost) nothing.

  Args:
    explanation: The explanation of one image, or of a batch of B.
    stacklevel: As for ``warnings.warn``, counted from the caller of this function.
  """
  if text := _sentence(explanation):
    warnings.warn(text, EmptyMaskWarning, stacklevel=stacklevel + 1)


def warn_of_retaining(
  explanation: Explanation, reached: np.ndarray, stacklevel: int
) -> None:
  """Warn, once, of masks that keep (almost) nothing and yet retain enough.

  Args:
    explanation: The explanation of a batch of B images.
    reached: Which retain enough, ``[B]``.
    stacklevel: As for :func:`warn`.
  """
  which = np.flatnonzero(is_nearly_empty(explanation) & reached)
  if not len(which):
    return
  share = np.min(np.asarray(explanation.retained_probability)[which])
  warnings.warn(
    f"the masks of image(s) {_listed(which)} keep (almost) nothing, since "
    f"noise in the place of the whole image retains {share:.2g} of the probability",
    EmptyMaskWarning,
    stacklevel=stacklevel + 1,
  )


def _sentence(explanation: Explanation) -> str:
  empty = is_nearly_empty(explanation)
  if not empty.any():
    return ""
  if empty.ndim == 0:
    text = notice(explanation)
    return text[0].lower() + text[1:-1]
  which = f"{_listed(np.flatnonzero(empty))} of {len(empty)} (counted from 0)"
  keep = f"mask {which} keeps" if empty.sum() == 1 else f"the masks {which} keep"
  constant = changes_nothing(explanation)
  if np.all(constant[empty]):
    return (
      f"{keep} nothing, since nothing that a mask does changes the output: noise in "
      "the place of the whole image leaves the score as it is"
    )
  others = empty & ~constant
  highest = _cost_of_nothing(explanation)[others].max()
  least = multiplier_to_try(explanation)[others].min()
  return (
    f"{keep} (almost) nothing, since keeping nothing costs at most {highest:.2g} there"
    f"{_advice(explanation, least)}"
  )


def _listed(numbers: np.ndarray) -> str:
  """A few of them, and how many more.

  Example:
    >>> _listed(np.arange(3)), _listed(np.arange(100))
    ('0, 1, 2', '0, 1, 2, 3, 4, 5, 6, 7 and 92 more')
  """
  more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
  return ", ".join(map(str, numbers[:8])) + more


def _advice(explanation: Explanation, multiplier: Any) -> str:
  """What to try: more steps for a search that was far from done, a multiplier."""
  steps = int(np.max(explanation.num_steps))
  is_short = steps < _ENOUGH_STEPS and _is_unfinished(explanation)
  more = f"more than {steps} steps" if is_short else ""
  less = f"a multiplier of {_rounded(float(multiplier))}" if multiplier > 0 else ""
  tried = ", or ".join(filter(None, [more, less]))
  return f": try {tried}" if tried else ""


def _is_unfinished(explanation: Explanation) -> bool:
  """Whether a search ended where the rate alone costs more than keeping nothing."""
  rates = np.asarray(explanation.history.rate, float)
  last = np.take_along_axis(
    rates, np.maximum(np.isfinite(rates).sum(-1, keepdims=True) - 1, 0), -1
  )[..., 0]
  ended = last * np.asarray(explanation.lagrange_multiplier)
  too_dense = ended > _cost_of_nothing(explanation)
  return bool(np.any(too_dense & is_nearly_empty(explanation)))


def _cost_of_nothing(explanation: Explanation) -> np.ndarray:
  """The objective of a nearly empty mask without its rate."""
  weighted = np.multiply(explanation.lagrange_multiplier, explanation.rate)
  return np.asarray(explanation.objective - weighted)


def _rounded(value: float) -> str:
  """Two digits, rounded down.

  Example:
    >>> _rounded(0.01239), _rounded(5.08), _rounded(127.0)
    ('0.012', '5', '120')
  """
  unit = 10.0 ** (math.floor(math.log10(value)) - 1)
  return f"{math.floor(value / unit) * unit:.10g}"
