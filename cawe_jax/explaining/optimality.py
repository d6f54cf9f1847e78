r"""How far a mask is from the conditions of an optimum, on fresh draws.

At the optimum of the Lagrangian L no entry gains by going: where the mask is above 0
its gradient is not positive, where it is below 1 not negative. For a mask s the gap

.. math:: \gamma = \max_{m \in [0, 1]^k} \langle -\nabla L(s), m - s \rangle

is 0 where they hold; for a convex distortion no mask is better by more than it (Frank
and Wolfe). It has two parts: kept entries that should go, and dropped ones that should
come back. A maximum over noisy gradients would be large for every mask. So the draws
are cut into groups; each in turn is measured along the direction that the others see,
as far as they are sure of it, which makes each part's mean an unbiased estimate of what
that direction gains to first order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cawe_jax.engine.session import Session
from cawe_jax.numerics.flat_masks import flat
from cawe_jax.numerics.streams import Stream
from cawe_jax.types import Explanation, Masks

NUM_GROUPS, GROUP_DRAWS = 8, 8
"""The check evaluates a mask on so many groups of so many draws, with the gradient."""

_SURE = _CERTAIN = 2.0  # standard errors
_CONSIDERABLE = 0.25  # of the objective


class Optimality(NamedTuple):
  """What the conditions of an optimum say of B masks, each ``[B]``.

  Attributes:
    should_go: What lowering kept entries would gain, to first order, in units of the
      objective; 0 at an optimum, and of either sign by chance.
    should_return: What raising dropped entries would gain.
    gap_standard_error: Standard error of ``should_go + should_return``.
  """

  should_go: np.ndarray
  should_return: np.ndarray
  gap_standard_error: np.ndarray


def check(session: Session, masks: Masks) -> Optimality:
  """Measure the conditions at masks ``[B, ...]``.

  Args:
    session: Images and method.
    masks: As ``Explanation.mask`` has them.
  """
  count = session.num_different(GROUP_DRAWS)
  # Without chance one group is what all of them would be.
  groups = session.num_different(NUM_GROUPS)
  slope = flat(session.penalise(masks)[1])
  slopes = np.stack(
    [
      flat(session.evaluate(masks, Stream.CHECK + group, count).gradient) + slope
      for group in range(groups)
    ]
  )
  everyone = np.broadcast_to(slopes, (NUM_GROUPS, *slopes.shape[1:]))
  return conditions(everyone, flat(masks))


def unknown(size: int) -> Optimality:
  """NaN for ``size`` masks that were not checked, such as those of a fixed budget."""
  nothing = np.full(size, np.nan, np.float32)
  return Optimality(nothing, nothing, nothing)


def is_doubtful(
  should_go: Any, should_return: Any, gap_standard_error: Any, objective: Any
) -> np.ndarray:
  """Where the gap is two standard errors and a quarter of the objective, any shape.

  Example:
    >>> is_doubtful(0.01, 0.09, np.array([0.02, 0.06]), 0.3).tolist()
    [True, False]
    >>> bool(is_doubtful(0.01, 0.09, 0.02, 0.5))  # a fifth of the objective
    False
  """
  gap = np.add(should_go, should_return)
  sure = gap > _CERTAIN * np.asarray(gap_standard_error)
  return sure & (gap > _CONSIDERABLE * np.abs(objective))


def doubt(explanation: Explanation) -> str:
  """One sentence where one mask :func:`is_doubtful`, else nothing."""
  go, back = explanation.should_go, explanation.should_return
  error, objective = explanation.gap_standard_error, explanation.objective
  if not is_doubtful(go, back, error, objective):
    return ""
  what = "dropped entries should return" if back > go else "kept entries should go"
  steps = int(explanation.num_steps)
  return (
    f"Perhaps not the best mask: by the gradient on fresh draws, {what}; try more than "
    f"{steps} steps."
  )


def conditions(slopes: np.ndarray, masks: np.ndarray) -> Optimality:
  """From gradients of the objective on G groups of draws, ``[G, B, k]``.

  Args:
    slopes: Gradients, the mean of each group's draws.
    masks: ``[B, k]``.

  Example:
    >>> masks = np.array([[1.0, 0.0, 0.5]])
    >>> slopes = np.broadcast_to(np.array([0.2, -0.1, 0.0]), (4, 1, 3))
    >>> found = conditions(slopes, masks)
    >>> float(found.should_go[0]), float(found.should_return[0])
    (0.2, 0.1)
  """
  number = len(slopes)
  total, square = slopes.sum(0), (slopes**2).sum(0)
  go, back = [], []
  for slope in slopes:
    mean = (total - slope) / (number - 1)
    variance = np.maximum((square - slope**2) / (number - 1) - mean**2, 0)
    error = np.sqrt(variance / (number - 2))
    go.append(np.sum(np.where(mean > _SURE * error, slope * masks, 0), -1))
    gain = np.where(mean < -_SURE * error, -slope * (1 - masks), 0)
    back.append(np.sum(gain, -1))
  gap = np.add(go, back)
  # Each pair of groups enters twice, once with either as the measured one: where all is
  # noise, the groups' values are no more than half as independent as they look.
  error = 2 * gap.std(axis=0, ddof=1) / number**0.5
  return Optimality(np.mean(go, 0), np.mean(back, 0), error)
