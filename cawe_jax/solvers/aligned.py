"""Projected descent that learns a gradient as a factor times a direction."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp

from cawe_jax.memo import memoised
from cawe_jax.rows import flatten, unflatten
from cawe_jax.solvers import safeguard
from cawe_jax.solvers.moments import (
  TINY,
  Moments,
  add,
  estimate,
  independent,
  running,
  shrink,
)
from cawe_jax.solvers.solver import (
  Evaluation,
  Oracle,
  Solver,
  SolverState,
  per_image,
  project,
)
from cawe_jax.types import Array, Mask

_SIZE_DECAY = 0.97


class _Aligned(NamedTuple):
  """Memory of :func:`aligned`: running means, and the guard's.

  What there is one of for each entry is flat, see ``flatten``; the rest is ``[B]``.
  """

  count: Array
  direction: Moments
  residual: Moments
  factor: Moments
  length: Array
  usual_size: Array
  safeguard: safeguard.Memory


@memoised
def aligned(
  decay: float = 0.9,
  caution: float = 0.6,
  residual_caution: float = 1.3,
  floor: float = 0.3,
  outlier: float = 2.0,
  vanished: float = 0.33,
) -> Solver:
  r"""Projected descent that learns a gradient as a factor times a direction.

  The Monte-Carlo gradient of a distortion is dominated by the few draws that do harm.
  The way in which a mask moves the output is much the same for all draws, and its mean
  has far less relative noise. So the gradient G of a step is modelled as

  .. math:: g = \beta \hat z + \hat r, \qquad
    \beta = \langle G, \hat z \rangle / \langle Z, \hat z \rangle, \qquad
    r = G - \beta Z,

  where Z is the step's own direction, the hats are running means of earlier steps
  shrunk by their standard errors, ``x max(1 - c^2 e^2 / x^2, 0)`` (non-negative
  garrote), and the products weigh an entry by its mask: one number from all entries,
  hence little noise. With the exact slope t of the penalties,

  .. math:: u = \frac{g + t}{\sqrt{g^2 + e^2 + t^2}}, \qquad
    s \leftarrow s - \eta \frac{s + f}{1 + f} u,

  where e is the standard error of g. An entry without evidence only feels the rate and
  goes to zero; one with more noise than evidence moves slowly; ``(s + f) / (1 + f)``
  slows an entry down as it becomes small.

  *Outliers.* A step whose gradient is more than ``outlier`` times as long along the
  direction as it is on average is shortened to that. A draw that does harm once in
  hundreds would otherwise outweigh all that is remembered, and for the next ten steps
  the mask would follow one sample of noise. The average is known from the step on that
  fills the memory.

  *Brake and guard.* See :mod:`cawe_jax.solvers.safeguard`.

  Args:
    decay: Of the running means of direction, factor and residual, in (0, 1).
    caution: c for z and beta, at least 0, as the next two.
    residual_caution: c for r.
    floor: f above; small is close to a multiplicative update.
    outlier: Times the average size beyond which a step's gradient is shortened, above
      1. Where harm is rare and yet all that matters, take 3 or more.
    vanished: Ratio of promise and value below which a gradient has vanished, in
      [0, 1/2); 0 is without the guard.

  Raises:
    ValueError: An argument is out of range.

  References:
    Breiman, Better subset regression using the nonnegative garrote, 1995.
    Zhang et al., Why are adaptive methods good for attention models?, 2020: clipping
    where the noise of a gradient has heavy tails.
  """
  if not 0 < decay < 1:
    raise ValueError(f"decay is {decay}; it must be in (0, 1)")
  if not outlier > 1:
    raise ValueError(f"outlier is {outlier}; it must be above 1")
  if not 0 <= vanished < 0.5:
    raise ValueError(f"vanished is {vanished}; it must be in [0, 0.5)")
  for name, value in {
    "caution": caution,
    "residual_caution": residual_caution,
    "floor": floor,
  }.items():
    if not (math.isfinite(value) and value >= 0):
      raise ValueError(f"{name} is {value}; it must be finite and at least 0")

  def init(mask: Mask) -> SolverState:
    flat = flatten(mask)
    zeros, zero = jnp.zeros_like(flat), jnp.zeros(len(flat))
    many, one = Moments(zeros, zeros), Moments(zero, zero)
    memory = _Aligned(zero, many, many, one, zero, zero, safeguard.watch(flat))
    return SolverState(mask, memory)

  def step(
    oracle: Oracle, state: SolverState, step_size: Array
  ) -> tuple[SolverState, Evaluation]:
    evaluation, memory = oracle(state.mask), state.memory
    s, gradient, direction, slope = map(
      flatten,
      (
        state.mask,
        evaluation.gradient,
        evaluation.direction,
        evaluation.penalty_gradient,
      ),
    )
    count = memory.count + 1
    # The first step has no earlier direction to compare with.
    earlier = jnp.maximum(memory.count, 1)
    known_direction = shrink(*estimate(decay, earlier, memory.direction), caution)

    def along(gradient: Array) -> Array:
      return jnp.sum(gradient * known_direction * s, axis=(1, 2))

    length = running(decay, memory.length, along(direction))
    usual = length / (1 - decay**earlier)
    has_length = jnp.abs(usual) > TINY
    ratio = jnp.where(has_length, along(gradient) / jnp.where(has_length, usual, 1), 0)
    # Remembered as it is: a mean of shortened sizes dies out where harm is rare.
    usual_size = running(_SIZE_DECAY, memory.usual_size, jnp.abs(ratio))
    longest = outlier * memory.usual_size / (1 - _SIZE_DECAY**earlier)
    is_outlier = (memory.count >= independent(decay)) & (jnp.abs(ratio) > longest)
    scale = jnp.where(is_outlier, longest / jnp.maximum(jnp.abs(ratio), TINY), 1)
    factor = add(decay, memory.factor, scale * ratio)
    raw_beta, beta_error = estimate(decay, earlier, factor)
    beta = shrink(raw_beta, beta_error, caution)
    b, b_error = per_image(beta, s), per_image(beta_error, s)

    directions = add(decay, memory.direction, direction)
    residual = per_image(scale, s) * gradient - b * direction
    residuals = add(decay, memory.residual, residual)
    z, z_error = estimate(decay, count, directions)
    r, r_error = estimate(decay, count, residuals)
    g = b * shrink(z, z_error, caution) + shrink(r, r_error, residual_caution)
    error = b**2 * z_error + b_error * z**2 + r_error
    u = (g + slope) / jnp.sqrt(g**2 + error + slope**2 + TINY)
    safe, speed, least = safeguard.look(
      memory.safeguard, s, evaluation.value, gradient, slope, vanished
    )
    u *= jnp.where(u > 0, per_image(speed, s), 1)
    moved = s - per_image(step_size, s) * (s + floor) / (1 + floor) * u
    mask = project(unflatten(jnp.maximum(moved, least), state.mask))
    new = _Aligned(count, directions, residuals, factor, length, usual_size, safe)
    return SolverState(mask, new), evaluation

  settings = (
    f"decay={decay}, caution={caution}, residual_caution={residual_caution}, "
    f"floor={floor}, outlier={outlier}, vanished={vanished}"
  )
  return Solver(f"aligned({settings})", init, step)
