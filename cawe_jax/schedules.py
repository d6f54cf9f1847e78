"""How the Lagrange multiplier and the step size change over a run.

A schedule is a function of the progress in [0, 1) and the final multiplier of an image
that returns the factors on both; it is structure, hence memoised and hashable.
"""

from __future__ import annotations

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
def continuation(
  start: float = 20.0, hold: float = 0.5, decay: float = 0.1
) -> Schedule:
  """The multiplier falls to its value, then the step size falls.

  Args:
    start: Multiplier at the beginning, where it is above the final one.
    hold: Share of the run at ``start``; then it falls geometrically and reaches its
      final value at the end.
    decay: The last step size as a share of the first, reached geometrically.
  """

  def multiplier(progress: Array, final: Array) -> Array:
    first = jnp.maximum(start, final)
    fraction = jnp.clip((progress - hold) / (1 - hold), 0, 1)
    return first * (final / first) ** fraction

  def step_size(progress: Array, full: Array) -> Array:
    return full * decay**progress

  name = f"continuation(start={start}, hold={hold}, decay={decay})"
  return Schedule(name, multiplier, step_size)
