"""How the Lagrange multiplier and the step size change over a run.

A schedule is a function of the progress in [0, 1) and the final multiplier of an image
that returns the factors on both; it is structure, hence memoised and hashable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

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


@memoised
def continuation(start: float = 3.0) -> Schedule:
  """The multiplier falls to its final value over the first half of the run.

  It begins at ``start`` times that and falls in a straight line, as the step size does
  to zero over the whole run. What matters little is given up early, and what was given
  up too early has half a run to come back.

  Args:
    start: Of the final multiplier, above 0; 1 is :func:`linear_decay`.

  Raises:
    ValueError: ``start`` is not a finite number above 0.

  Example:
    >>> schedule = continuation(3.0)
    >>> [float(schedule.multiplier(t, 20.0)) for t in (0.0, 0.25, 0.5, 0.75)]
    [60.0, 40.0, 20.0, 20.0]
  """
  if not (math.isfinite(start) and start > 0):
    raise ValueError(f"start is {start}; it must be a finite number above 0")

  def multiplier(progress: Array, final: Array) -> Array:
    return final * (1 + (start - 1) * jnp.maximum(1 - 2 * progress, 0))

  return Schedule(f"continuation({start})", multiplier, lambda t, x: x * (1 - t))
