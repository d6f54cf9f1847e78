"""How the Lagrange multiplier and the step size change over a run."""

from __future__ import annotations

import math

import jax.numpy as jnp

from cawe_jax.part import Part, setting
from cawe_jax.types import PerImage, Scalar


class Schedule(Part):
  """How a run proceeds; by itself it changes nothing: the published settings."""

  def multiplier(self, progress: Scalar, final: PerImage | Scalar) -> PerImage | Scalar:
    """The multiplier at a progress in [0, 1), from the image's own, the final one."""
    del progress
    return final

  def step_size(self, progress: Scalar, full: PerImage | Scalar) -> PerImage | Scalar:
    """The step size at a progress in [0, 1), from the recipe's, the full one."""
    del progress
    return full


class constant(Schedule):
  """Both stay as they are: the published settings."""


class linear_decay(Schedule):
  """The step size falls to zero in a straight line; the multiplier stays."""

  def step_size(self, progress: Scalar, full: PerImage | Scalar) -> PerImage | Scalar:
    """What is left of the full step size."""
    return full * (1 - progress)


class continuation(linear_decay):
  """The multiplier falls to its final value over the first half of the run.

  It begins at ``start`` times that and falls in a straight line, as the step size does
  to zero over the whole run. What matters little is given up early, and what was given
  up too early has half a run to come back.

  Args:
    start: The first multiplier in units of the final one, above 0; 1 is
      :class:`linear_decay`.

  Raises:
    ValueError: ``start`` is not a finite number above 0.

  Example:
    >>> schedule = continuation(3.0)
    >>> [float(schedule.multiplier(t, 20.0)) for t in (0.0, 0.25, 0.5, 0.75)]
    [60.0, 40.0, 20.0, 20.0]
  """

  start: float = setting(default=3.0)

  def check(self) -> None:
    """Refuse a start that is not a finite number above 0."""
    if not (math.isfinite(self.start) and self.start > 0):
      raise ValueError(f"start is {self.start}; it must be a finite number above 0")

  def multiplier(self, progress: Scalar, final: PerImage | Scalar) -> PerImage | Scalar:
    """A line from ``start`` times the final multiplier, which half a run has."""
    return final * (1 + (self.start - 1) * jnp.maximum(1 - 2 * progress, 0))
