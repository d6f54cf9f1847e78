"""How the Lagrange multiplier and the step size change over a run.

A schedule is a function of the progress in [0, 1) and the final multiplier of an image
that returns the factors on both; it is structure, hence memoised and hashable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cawe_jax.memo import memoised
from cawe_jax.types import Array


class Schedule(NamedTuple):
  """How a run proceeds.

  Attributes:
    name: How it was made.
    multiplier: ``(progress, final multiplier) -> multiplier``.
    step_size: ``(progress, full step size) -> step size``.
  """

  name: str
  multiplier: Callable[[Array, Array], Array]
  step_size: Callable[[Array, Array], Array]


@memoised
def constant() -> Schedule:
  """Both stay as they are: the published settings."""
  return Schedule("constant()", lambda t, x: x, lambda t, x: x)


@memoised
def linear_decay() -> Schedule:
  """The step size falls to zero in a straight line; the multiplier stays."""
  return Schedule("linear_decay()", lambda t, x: x, lambda t, x: x * (1 - t))
