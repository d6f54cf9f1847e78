r"""What is known of a noisy gradient: a factor, a bend and what is left.

For one draw the gradient of a distortion is a slope a times a direction z. Let
:math:`P = \langle z, 1 - s \rangle` be how far the output of the draw has moved. Where
the slope is a line in P, :math:`a = \alpha + \kappa P`, and the noise of the entries is
independent, the mean over draws is

.. math:: E[a z_i] = (\alpha + \kappa E[P])\, E[z_i]
  + \kappa (1 - s_i) \operatorname{Var} z_i.

The first term is the *factor*, one number that all entries agree on, times the mean
direction. The second, the *bend*, is what an entry's own noise does: it needs the
variance of the directions, which is known far better than a product of noises, and one
more number. What neither explains is the *residual*. Each is believed as far as its
standard error allows.

All of it is written for one mask whose entries are one array.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from cawe_jax.solvers.descent import pace
from cawe_jax.solvers.direction import Directions, measure, no_directions
from cawe_jax.solvers.moments import (
  TINY,
  Fit,
  Line,
  Moments,
  add,
  add_point,
  estimate,
  fit,
  no_line,
  quotient,
  shrink,
)
from cawe_jax.types import Array

_SPREAD_DECAY = 0.97
_HALVINGS = 12
# By so much noise does not raise a variance within a step: a direction would have to be
# seventeen standard deviations long in all entries. A network that wakes up does, as
# where an inpainted image was the image itself so far: directions are suddenly a
# million times as long, and beside the variance before, the gradient would be a
# multiple that no later step could forget.
_WAKES = 10


class _Model(NamedTuple):
  """What is remembered of earlier steps.

  Attributes:
    directions: The directions.
    factor: The factor, as a line in how far the output has moved.
    spread: Long running means of the directions and their squares.
    bend: The number that the bend is a multiple of.
    residual: What factor and bend leave of the gradients.
  """

  directions: Directions
  factor: Line
  spread: Moments
  bend: Moments
  residual: Moments


def follow_direction(
  decay: float = 0.9,
  caution: float = 0.6,
  residual_caution: float = 1.3,
  floor: float = 0.3,
) -> optax.GradientTransformationExtraArgs:
  r"""Model the gradient, and compare it with its error and the slope of the penalties.

  The gradient is modelled as

  .. math:: g = \hat \beta \hat z + \hat \kappa (1 - s) \operatorname{Var} z + \hat r,

  where the hats are running means, shrunk by their standard errors,
  ``x max(1 - c^2 e^2 / x^2, 0)`` (non-negative garrote). With the exact slope t of the
  penalties the updates become

  .. math:: u = \frac{g + t}{\sqrt{g^2 + e^2 + t^2}},

  where e is the standard error of g. An entry without evidence only feels the rate;
  one with more noise than evidence moves slowly.

  All entries move along the mean direction at once, so the factor changes within a
  step, and with the factor of its beginning many entries would go too far and back
  again. So the factor is the one that the step *ends* with, an implicit step: the line
  of factors at the movement that this factor leads to.

  Args:
    decay: The decay of the running means of direction, factor and residual, in (0, 1).
    caution: c for z and the factor, at least 0, as the next.
    residual_caution: c for the bend and r.
    floor: The least pace at which the mask will move, see :func:`.pace`.

  References:
    Breiman, Better subset regression using the nonnegative garrote, 1995.
    Toulis and Airoldi, Asymptotic and finite-sample properties of estimators based on
    stochastic gradients, 2017: implicit steps are stable for any step size.
  """

  def init(mask):
    zeros, zero = jnp.zeros_like(mask), jnp.zeros(())
    leaves = Moments(zeros, zeros)
    return _Model(no_directions(mask), no_line(), leaves, Moments(zero, zero), leaves)

  def update(
    updates, state, mask=None, *, direction, penalty_gradient, step_size, **known
  ):
    del known
    earlier = jnp.maximum(state.directions.count, 1)
    lost = 1 - mask
    mean, mean_error = estimate(decay, earlier, state.directions.moments)
    spread = lost * _variance(earlier, state.spread)
    kappa, kappa_error = estimate(decay, earlier, state.bend)
    bend = shrink(kappa, kappa_error, residual_caution) * spread
    line = fit(decay, earlier, state.factor, caution)
    beta, beta_error = line.at(jnp.sum(mean * lost))
    beta = shrink(beta, beta_error, caution)

    # This step's own.
    ratio, directions = measure(
      decay, caution, state.directions, mask, updates - bend, direction
    )
    known_mean = shrink(mean, mean_error, caution)
    spreads = add(_SPREAD_DECAY, state.spread, direction)
    wakes = jnp.sum(lost * _variance(earlier + 1, spreads)) > _WAKES * jnp.sum(spread)
    multiple = jnp.where(wakes, 0, _bend(updates, spread, lost, mean, known_mean))
    memory = _Model(
      directions,
      add_point(decay, state.factor, jnp.sum(direction * lost), ratio),
      spreads,
      add(decay, state.bend, multiple),
      add(decay, state.residual, updates - beta * direction - bend),
    )
    z, z_error = estimate(decay, directions.count, directions.moments)
    r, r_error = estimate(decay, directions.count, memory.residual)
    along = shrink(z, z_error, caution)
    beside = bend + shrink(r, r_error, residual_caution)
    error = beta**2 * z_error + beta_error * z**2 + kappa_error * spread**2 + r_error
    slope = penalty_gradient

    def steps(factor: Array) -> Array:
      g = factor * along + beside
      return (g + slope) / jnp.sqrt(g**2 + error + slope**2 + TINY)

    def moved(factor: Array) -> Array:
      """By how much less the output will have moved after a step with this factor."""
      new = mask - step_size * pace(mask, floor) * steps(factor)
      return jnp.sum(mean * (jnp.clip(new, 0, 1) - mask))

    farthest = jnp.sum(jnp.abs(mean) * step_size * pace(mask, floor))
    return steps(_final_factor(beta, line, moved, farthest)), memory

  return optax.GradientTransformationExtraArgs(init, update)


def _variance(count: Array, spread: Moments) -> Array:
  """The variance of the directions so far."""
  mean, square = (x / (1 - _SPREAD_DECAY**count) for x in spread)
  return jnp.maximum(square - mean**2, 0)


def _bend(
  gradient: Array, spread: Array, lost: Array, mean: Array, known: Array
) -> Array:
  """The multiple of the spread that a step's gradient has, beside the mean direction.

  The products weigh an entry by what it has lost, which is best where the noise of the
  gradient is the direction's, and by as much of the mean direction that this itself
  counts nothing.
  """
  share = quotient(jnp.sum(lost * mean), jnp.sum(known * mean))
  weights = lost - share * known
  return quotient(jnp.sum(weights * gradient), jnp.sum(weights * spread))


def _final_factor(
  beta: Array, line: Fit, moved: Callable[[Array], Array], farthest: Array
) -> Array:
  """The factor that is the line's where a step with this very factor leads.

  Where the distortion is convex the line does not rise, and there is one such factor,
  found by bisection.
  """
  slope = jnp.minimum(line.slope, 0)
  width = jnp.abs(slope) * farthest

  def halve(_, ends):
    low, high = ends
    middle = (low + high) / 2
    is_below = beta - slope * moved(middle) > middle
    return jnp.where(is_below, middle, low), jnp.where(is_below, high, middle)

  low, high = jax.lax.fori_loop(0, _HALVINGS, halve, (beta - width, beta + width))
  return (low + high) / 2
