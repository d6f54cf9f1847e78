"""When an image's mask is good enough to stop; each image of a batch decides alone.

The objective of one step is an estimate on few draws. A rule therefore compares
averages over windows of steps, never two steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from cawe_jax.memo import memoised
from cawe_jax.types import Array


class Stopping(NamedTuple):
  """A rule for one image.

  Attributes:
    name: How it was made.
    init: State before the first step.
    update: ``(state, objective of the step, progress in [0, 1)) -> (state, stop)``.
  """

  name: str
  init: Callable[[], Any]
  update: Callable[[Any, Array, Array], tuple[Any, Array]]


@memoised
def never() -> Stopping:
  """Every step is done: the published settings."""
  return Stopping(
    "never()", lambda: (), lambda state, value, progress: (state, jnp.zeros((), bool))
  )


class _Window(NamedTuple):
  """Sum and number of this window's values, and the means of the last ones."""

  total: Array
  count: Array
  index: Array
  best: Array
  failures: Array


@memoised
def plateau(
  window: float = 0.1, tolerance: float = 0.02, patience: int = 2
) -> Stopping:
  """Stop when the objective no longer falls.

  The run is cut into windows. A window fails if its mean objective is not lower than
  the lowest one before by at least a share ``tolerance`` of it; after ``patience``
  failures in a row the image stops.

  It is meant for a constant step size, as in the published presets. A falling step size
  is itself a plan for when to stop. No image stops while a schedule's multiplier is not
  yet its own.

  Args:
    window: Length of a window as a share of the run, in (0, 1].
    tolerance: Relative improvement that counts, at least 0 and below 1.
    patience: Number of failures, at least 1.

  Raises:
    ValueError: An argument is out of range.
  """
  if not 0 < window <= 1:
    raise ValueError(f"window is {window}; it must be above 0 and at most 1")
  if not 0 <= tolerance < 1:
    raise ValueError(f"tolerance is {tolerance}; it must be at least 0 and below 1")
  if patience < 1:
    raise ValueError(f"patience is {patience}; it must be at least 1")

  def init() -> _Window:
    zero = jnp.zeros((), jnp.int32)
    return _Window(jnp.zeros(()), zero, zero, jnp.full((), jnp.inf), zero)

  def update(state: _Window, value: Array, progress: Array) -> tuple[_Window, Array]:
    index = jnp.floor(progress / window + 1e-6).astype(jnp.int32)
    # This step begins a new window. The first one begins with the first value.
    over = (index > state.index) & (state.count > 0)
    mean = state.total / jnp.maximum(state.count, 1)
    improved = mean < (1 - tolerance) * state.best
    failures = jnp.where(
      over, jnp.where(improved, 0, state.failures + 1), state.failures
    )
    new = _Window(
      jnp.where(over, value, state.total + value),
      jnp.where(over, 1, state.count + 1),
      index,
      jnp.where(over, jnp.minimum(state.best, mean), state.best),
      failures,
    )
    return new, failures >= patience

  name = f"plateau(window={window}, tolerance={tolerance}, patience={patience})"
  return Stopping(name, init, update)
