"""Running means of noisy values, how sure they are, and what doubt leaves of them."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from cawe_jax.types import Array

TINY = 1e-30


class Moments(NamedTuple):
  """Running means of values and of their squares, from zero."""

  mean: Array
  square: Array


def running(decay: float, mean: Array, new: Array) -> Array:
  """A running mean after one more value; divide by ``1 - decay**count`` to read it."""
  return decay * mean + (1 - decay) * new


def add(decay: float, moments: Moments, new: Array) -> Moments:
  """Moments after one more value."""
  mean, square = moments
  return Moments(running(decay, mean, new), running(decay, square, new**2))


def estimate(decay: float, count: Array, moments: Moments) -> tuple[Array, Array]:
  """Mean of the ``count`` values added, and its squared standard error."""
  mean, square = (x / (1 - decay**count) for x in moments)
  # A mean of one or two values shows no variance, hence the 5 %.
  variance = jnp.maximum(square - mean**2, 0.05 * square)
  return mean, variance / jnp.minimum(independent(decay), count)


def independent(decay: float) -> float:
  """How many independent values a running mean is worth."""
  return (1 + decay) / (1 - decay)


def shrink(mean: Array, error_square: Array, caution: float | Array) -> Array:
  """The non-negative garrote: ``mean * max(1 - caution^2 error^2 / mean^2, 0)``."""
  square, doubt = mean**2, caution**2 * error_square
  is_sure = square > doubt
  return jnp.where(is_sure, mean * (1 - doubt / jnp.where(is_sure, square, 1)), 0)


def quotient(part: Array, whole: Array) -> Array:
  """``part / whole``, and 0 where the whole is not above 1e-18.

  Below that its square, which a derivative divides by, is no float32 any more.
  """
  is_enough = whole > 1e-18
  return jnp.where(is_enough, part / jnp.where(is_enough, whole, 1), 0)


class Line(NamedTuple):
  """Running means that a line ``y(x)`` is fitted to, from zero."""

  x: Array
  y: Array
  xx: Array
  xy: Array
  yy: Array


class Fit(NamedTuple):
  """A line through the means of x and y.

  Attributes:
    x: Mean of x.
    y: Mean of y.
    slope: The slope of y against x, shrunk.
    slope_error: Its squared standard error, before it was shrunk.
    error: Squared standard error of the mean of y for a given x.
  """

  x: Array
  y: Array
  slope: Array
  slope_error: Array
  error: Array

  def at(self, x: Array) -> tuple[Array, Array]:
    """The line at an x, and its squared standard error there."""
    away = x - self.x
    return self.y + self.slope * away, self.error + self.slope_error * away**2


def no_line() -> Line:
  """The means before the first point."""
  return Line(*jnp.zeros(5))


def add_point(decay: float, line: Line, x: Array, y: Array) -> Line:
  """The means after one more point."""
  new = Line(x, y, x**2, x * y, y**2)
  return Line(
    *(running(decay, mean, value) for mean, value in zip(line, new, strict=True))
  )


def fit(decay: float, count: Array, line: Line, caution: float) -> Fit:
  """The line of ``count`` points, its slope shrunk by its standard error."""
  mean = Line(*(x / (1 - decay**count) for x in line))
  number = jnp.minimum(independent(decay), count)
  spread = jnp.maximum(mean.xx - mean.x**2, 0)
  # As in :func:`estimate`, few points show too little.
  variance = jnp.maximum(mean.yy - mean.y**2, 0.05 * mean.yy)
  common = mean.xy - mean.x * mean.y
  slope = quotient(common, spread)
  left = jnp.maximum(variance - slope * common, 0.05 * variance)
  slope_error = quotient(left, spread * number)
  slope = shrink(slope, slope_error, caution)
  left = variance - 2 * slope * common + slope**2 * spread
  error = jnp.maximum(left, 0.05 * variance) / number
  return Fit(mean.x, mean.y, slope, slope_error, error)
