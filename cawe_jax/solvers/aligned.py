"""Projected descent that learns a gradient as a factor times a direction."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cawe_jax.memo import memoised
from cawe_jax.solvers.solver import (
  Evaluation,
  Oracle,
  Solver,
  SolverState,
  per_image,
  project,
)
from cawe_jax.types import Array, Mask

_TINY = 1e-30
_SAFE_DECAY = 0.9
_SIZE_DECAY = 0.97


class _Moments(NamedTuple):
  """Running means of values and of their squares, from zero."""

  mean: Array
  square: Array


class _Aligned(NamedTuple):
  """Memory of :func:`aligned`: running means, and the guard's values."""

  count: Array
  direction: Any
  residual: Any
  factor: _Moments
  length: Array
  usual_size: Array
  clean_direction: Mask
  zero_value: Array
  recent_value: Array
  safe_mask: Mask
  safe_count: Array


@memoised
def aligned(
  decay: float = 0.9,
  caution: float = 0.6,
  residual_caution: float = 1.5,
  floor: float = 0.3,
  outlier: float = 3.0,
  brake: float = 0.02,
  collapse: float = 0.25,
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

  *Brake and guard.* Entries fall more slowly where the value exceeds a share of its
  value at a mask of zeros. When a mask loses everything at once, the softmax saturates
  and no gradient leads back: then the mask returns to at least a running mean of the
  masks whose value was good.

  Args:
    decay: Of all running means, in (0, 1).
    caution: c for z and beta.
    residual_caution: c for r.
    floor: f above; small is close to a multiplicative update.
    outlier: Times the average size beyond which a step's gradient is shortened.
    brake: Share of the value at a mask of zeros above which entries fall slowly.
    collapse: Share that counts as collapse, in (0, 1].

  References:
    Breiman, Better subset regression using the nonnegative garrote, 1995.
    Zhang et al., Why are adaptive methods good for attention models?, 2020: clipping
    where the noise of a gradient has heavy tails.
  """

  def init(mask: Mask, zero_value: Array) -> SolverState:
    zeros = jax.tree.map(jnp.zeros_like, mask)
    zero = jnp.zeros_like(zero_value)
    many = jax.tree.map(lambda x: _Moments(x, x), zeros)
    one = _Moments(zero, zero)
    memory = _Aligned(
      zero, many, many, one, zero, zero, zeros, zero_value, zero, zeros, zero
    )
    return SolverState(mask, memory)

  def step(
    oracle: Oracle, state: SolverState, step_size: Array
  ) -> tuple[SolverState, Evaluation]:
    evaluation, memory, mask = oracle(state.mask), state.memory, state.mask
    count = memory.count + 1
    # The first step has no earlier direction to compare with.
    earlier = jnp.maximum(memory.count, 1)

    def along(gradient: Mask) -> Array:
      parts = jax.tree.map(
        lambda g, z, s: jnp.sum(g * z * s, tuple(range(1, s.ndim))),
        gradient,
        memory.clean_direction,
        mask,
      )
      return sum(jax.tree.leaves(parts))

    length = _running(decay, memory.length, along(evaluation.direction))
    usual = length / (1 - decay**earlier)
    known = jnp.abs(usual) > _TINY
    ratio = jnp.where(known, along(evaluation.gradient) / jnp.where(known, usual, 1), 0)
    # Remembered as it is: a mean of shortened sizes dies out where harm is rare.
    usual_size = _running(_SIZE_DECAY, memory.usual_size, jnp.abs(ratio))
    longest = outlier * memory.usual_size / (1 - _SIZE_DECAY**earlier)
    is_outlier = (memory.count >= _independent(decay)) & (jnp.abs(ratio) > longest)
    scale = jnp.where(is_outlier, longest / jnp.maximum(jnp.abs(ratio), _TINY), 1)
    gradient = jax.tree.map(lambda g: per_image(scale, g) * g, evaluation.gradient)
    factor = _add(decay, memory.factor, scale * ratio)
    raw_beta, beta_error = _estimate(decay, earlier, factor)
    beta = _shrink(raw_beta, beta_error, caution)

    def add_residual(g: Array, z: Array, moments: _Moments) -> _Moments:
      return _add(decay, moments, g - per_image(beta, z) * z)

    def add(z: Array, moments: _Moments) -> _Moments:
      return _add(decay, moments, z)

    direction = jax.tree.map(add, evaluation.direction, memory.direction)
    residual = jax.tree.map(
      add_residual, gradient, evaluation.direction, memory.residual
    )
    calm = jnp.clip(brake * memory.zero_value / (memory.recent_value + _TINY), 0, 1)

    def clean(s: Array, direction: _Moments) -> Array:
      return _shrink(*_estimate(decay, count, direction), caution)

    def move(
      s: Array, z_hat: Array, direction: _Moments, residual: _Moments, slope: Array
    ) -> Array:
      b, b_error = per_image(beta, s), per_image(beta_error, s)
      z, z_error = _estimate(decay, count, direction)
      r, r_error = _estimate(decay, count, residual)
      g = b * z_hat + _shrink(r, r_error, residual_caution)
      error = b**2 * z_error + b_error * z**2 + r_error
      u = (g + slope) / jnp.sqrt(g**2 + error + slope**2 + _TINY)
      u *= jnp.where(u > 0, per_image(calm, s), 1)
      return s - per_image(step_size, s) * (s + floor) / (1 + floor) * u

    clean_direction = jax.tree.map(clean, mask, direction)
    moved = project(
      jax.tree.map(
        move, mask, clean_direction, direction, residual, evaluation.penalty_gradient
      )
    )
    recent = (memory.recent_value + evaluation.value) / 2
    collapsed = recent > collapse * memory.zero_value

    def where_collapsed(yes: Array, no: Array) -> Array:
      return jnp.where(per_image(collapsed, yes), yes, no)

    def restore(s: Array, safe: Array) -> Array:
      weight = 1 - _SAFE_DECAY ** per_image(memory.safe_count, safe)
      return where_collapsed(jnp.maximum(s, safe / jnp.maximum(weight, _TINY)), s)

    def keep_safe(safe: Array, s: Array) -> Array:
      return where_collapsed(safe, _running(_SAFE_DECAY, safe, s))

    new = _Aligned(
      count,
      direction,
      residual,
      factor,
      length,
      usual_size,
      clean_direction,
      memory.zero_value,
      where_collapsed(recent / 2, recent),
      jax.tree.map(keep_safe, memory.safe_mask, mask),
      memory.safe_count + ~collapsed,
    )
    return SolverState(jax.tree.map(restore, moved, memory.safe_mask), new), evaluation

  settings = (
    f"decay={decay}, caution={caution}, residual_caution={residual_caution}, "
    f"floor={floor}, outlier={outlier}, brake={brake}, collapse={collapse}"
  )
  return Solver(f"aligned({settings})", init, step)


def _running(decay: float, mean: Array, new: Array) -> Array:
  return decay * mean + (1 - decay) * new


def _add(decay: float, moments: _Moments, new: Array) -> _Moments:
  mean, square = moments
  return _Moments(_running(decay, mean, new), _running(decay, square, new**2))


def _estimate(decay: float, count: Array, moments: _Moments) -> tuple[Array, Array]:
  """Mean of the values added and its squared standard error, after ``count [B]``."""
  n = per_image(count, moments.mean)
  mean, square = (x / (1 - decay**n) for x in moments)
  # A mean of one or two values shows no variance, hence the 5 %.
  variance = jnp.maximum(square - mean**2, 0.05 * square)
  return mean, variance / jnp.minimum(_independent(decay), n)


def _independent(decay: float) -> float:
  """How many independent values a running mean is worth."""
  return (1 + decay) / (1 - decay)


def _shrink(mean: Array, error_square: Array, caution: float) -> Array:
  """The non-negative garrote."""
  return mean * jnp.maximum(1 - caution**2 * error_square / (mean**2 + _TINY), 0)
