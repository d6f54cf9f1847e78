"""Running means of noisy values, how sure they are, and what doubt leaves of them."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from cawe_jax.solvers.solver import per_image
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
  """Mean of the values added and its squared standard error, after ``count [B]``."""
  n = per_image(count, moments.mean)
  mean, square = (x / (1 - decay**n) for x in moments)
  # A mean of one or two values shows no variance, hence the 5 %.
  variance = jnp.maximum(square - mean**2, 0.05 * square)
  return mean, variance / jnp.minimum(independent(decay), n)


def independent(decay: float) -> float:
  """How many independent values a running mean is worth."""
  return (1 + decay) / (1 - decay)


def shrink(mean: Array, error_square: Array, caution: float | Array) -> Array:
  """The non-negative garrote: ``mean * max(1 - caution^2 error^2 / mean^2, 0)``."""
  return mean * jnp.maximum(1 - caution**2 * error_square / (mean**2 + TINY), 0)
