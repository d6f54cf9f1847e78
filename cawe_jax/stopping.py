"""When an image's mask is good enough to stop; each image of a batch decides alone.

The objective of one step is an estimate on few draws. A rule therefore compares
averages over windows of steps, never two steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from cawe_jax.part import Part, setting
from cawe_jax.types import Array, Scalar, Truth


class Stopping(Part):
  """A rule for one image; by itself it never stops one: the published settings."""

  def init(self) -> Any:
    """The state before the first step."""
    return ()

  def update(self, state: Any, value: Scalar, progress: Scalar) -> tuple[Any, Truth]:
    """Look at a step.

    Args:
      state: What :meth:`init` or the step before returned.
      value: The objective of the step.
      progress: How far the run is, in [0, 1).

    Returns:
      The new state, and whether the image stops.
    """
    del value, progress
    return state, jnp.zeros((), bool)


class never(Stopping):
  """Every step is done: the published settings."""


class _Window(NamedTuple):
  """Sum and number of this window's values, and the means of the last ones."""

  total: Scalar
  count: Array
  index: Array
  best: Scalar
  failures: Array


class plateau(Stopping):
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

  window: float = setting(default=0.1)
  tolerance: float = setting(default=0.02)
  patience: int = setting(default=2)

  def check(self) -> None:
    """Refuse settings that are out of range."""
    if not 0 < self.window <= 1:
      raise ValueError(f"window is {self.window}; it must be above 0 and at most 1")
    if not 0 <= self.tolerance < 1:
      raise ValueError(
        f"tolerance is {self.tolerance}; it must be at least 0 and below 1"
      )
    if self.patience < 1:
      raise ValueError(f"patience is {self.patience}; it must be at least 1")

  def init(self) -> _Window:
    """An empty window."""
    zero = jnp.zeros((), jnp.int32)
    return _Window(jnp.zeros(()), zero, zero, jnp.full((), jnp.inf), zero)

  def update(
    self, state: _Window, value: Scalar, progress: Scalar
  ) -> tuple[_Window, Truth]:
    """Add a value to this window, or begin the next with it."""
    index = jnp.floor(progress / self.window + 1e-6).astype(jnp.int32)
    # This step begins a new window. The first one begins with the first value.
    over = (index > state.index) & (state.count > 0)
    mean = state.total / jnp.maximum(state.count, 1).astype(state.total.dtype)
    improved = mean < (1 - self.tolerance) * state.best
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
    return new, failures >= self.patience
