"""Projected descent that learns a gradient as a factor times a direction."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.memo import memoised
from cawe_jax.rows import even_rows
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
  """Memory of :func:`aligned`: running means, and the guard's values.

  What there is one of for each entry is flat, see ``_flatten``; the rest is ``[B]``.
  """

  count: Array
  direction: _Moments
  residual: _Moments
  factor: _Moments
  length: Array
  usual_size: Array
  zero_value: Array
  recent_value: Array
  safe_mask: Array
  safe_count: Array


@memoised
def aligned(
  decay: float = 0.9,
  caution: float = 0.6,
  residual_caution: float = 1.3,
  floor: float = 0.3,
  outlier: float = 2.0,
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

  *Brake and guard.* Entries fall more slowly where the value exceeds a share of the
  ``zero_value`` (see :class:`.Solver`). When a mask loses everything at once, the
  softmax saturates and no gradient leads back: then the mask returns to at least a
  running mean of the masks whose value was good.

  Args:
    decay: Of the running means of direction, factor and residual, in (0, 1).
    caution: c for z and beta, at least 0, as the next three.
    residual_caution: c for r.
    floor: f above; small is close to a multiplicative update.
    outlier: Times the average size beyond which a step's gradient is shortened, above
      1. Where harm is rare and yet all that matters, take 3 or more.
    brake: Share of the ``zero_value`` above which entries fall slowly.
    collapse: Share that counts as collapse, in (0, 1].

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
  if not 0 < collapse <= 1:
    raise ValueError(f"collapse is {collapse}; it must be in (0, 1]")
  for name, value in {
    "caution": caution,
    "residual_caution": residual_caution,
    "floor": floor,
    "brake": brake,
  }.items():
    if not (math.isfinite(value) and value >= 0):
      raise ValueError(f"{name} is {value}; it must be finite and at least 0")

  def init(mask: Mask, zero_value: Array) -> SolverState:
    zeros = jnp.zeros_like(_flatten(mask))
    zero = jnp.zeros_like(zero_value)
    many, one = _Moments(zeros, zeros), _Moments(zero, zero)
    memory = _Aligned(zero, many, many, one, zero, zero, zero_value, zero, zeros, zero)
    return SolverState(mask, memory)

  def step(
    oracle: Oracle, state: SolverState, step_size: Array
  ) -> tuple[SolverState, Evaluation]:
    evaluation, memory = oracle(state.mask), state.memory
    s, gradient, direction, slope = map(
      _flatten,
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
    known_direction = _shrink(*_estimate(decay, earlier, memory.direction), caution)

    def along(gradient: Array) -> Array:
      return jnp.sum(gradient * known_direction * s, axis=(1, 2))

    length = _running(decay, memory.length, along(direction))
    usual = length / (1 - decay**earlier)
    has_length = jnp.abs(usual) > _TINY
    ratio = jnp.where(has_length, along(gradient) / jnp.where(has_length, usual, 1), 0)
    # Remembered as it is: a mean of shortened sizes dies out where harm is rare.
    usual_size = _running(_SIZE_DECAY, memory.usual_size, jnp.abs(ratio))
    longest = outlier * memory.usual_size / (1 - _SIZE_DECAY**earlier)
    is_outlier = (memory.count >= _independent(decay)) & (jnp.abs(ratio) > longest)
    scale = jnp.where(is_outlier, longest / jnp.maximum(jnp.abs(ratio), _TINY), 1)
    factor = _add(decay, memory.factor, scale * ratio)
    raw_beta, beta_error = _estimate(decay, earlier, factor)
    beta = _shrink(raw_beta, beta_error, caution)
    b, b_error = per_image(beta, s), per_image(beta_error, s)

    directions = _add(decay, memory.direction, direction)
    residual = per_image(scale, s) * gradient - b * direction
    residuals = _add(decay, memory.residual, residual)
    z, z_error = _estimate(decay, count, directions)
    r, r_error = _estimate(decay, count, residuals)
    g = b * _shrink(z, z_error, caution) + _shrink(r, r_error, residual_caution)
    error = b**2 * z_error + b_error * z**2 + r_error
    u = (g + slope) / jnp.sqrt(g**2 + error + slope**2 + _TINY)
    bearable = brake * memory.zero_value + _TINY
    calm = jnp.clip(bearable / (memory.recent_value + _TINY), 0, 1)
    u *= jnp.where(u > 0, per_image(calm, s), 1)
    moved = s - per_image(step_size, s) * (s + floor) / (1 + floor) * u

    recent = (memory.recent_value + jnp.maximum(evaluation.value, 0)) / 2
    collapsed = recent > collapse * memory.zero_value
    lost = per_image(collapsed, s)
    weight = 1 - _SAFE_DECAY ** per_image(memory.safe_count, s)
    safe = memory.safe_mask / jnp.maximum(weight, _TINY)

    new = _Aligned(
      count,
      directions,
      residuals,
      factor,
      length,
      usual_size,
      memory.zero_value,
      jnp.where(collapsed, recent / 2, recent),
      jnp.where(lost, memory.safe_mask, _running(_SAFE_DECAY, memory.safe_mask, s)),
      memory.safe_count + ~collapsed,
    )
    mask = jnp.where(lost, jnp.maximum(moved, safe), moved)
    return SolverState(project(_unflatten(mask, state.mask)), new), evaluation

  settings = (
    f"decay={decay}, caution={caution}, residual_caution={residual_caution}, "
    f"floor={floor}, outlier={outlier}, brake={brake}, collapse={collapse}"
  )
  return Solver(f"aligned({settings})", init, step)


def _flatten(mask: Mask) -> Array:
  """Masks of any leaves as ``[B, rows, n]``, filled up with zeros.

  Each leaf by itself would be a dozen small programs, and slow ones: see ``even_rows``.
  """
  leaves = jax.tree.leaves(mask)
  flat = jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
  rows, length = even_rows(flat.shape[1])
  padding = rows * length - flat.shape[1]
  return jnp.pad(flat, ((0, 0), (0, padding))).reshape(len(flat), rows, length)


def _unflatten(flat: Array, like: Mask) -> Mask:
  """What ``_flatten`` was given; ``like`` is a mask of the same leaves."""
  leaves, tree = jax.tree.flatten(like)
  ends = np.cumsum([leaf[0].size for leaf in leaves])
  flat = flat.reshape(len(flat), -1)
  parts = jnp.split(flat[:, : ends[-1]], ends[:-1], axis=1)
  pairs = zip(parts, leaves, strict=True)
  return jax.tree.unflatten(tree, [x.reshape(leaf.shape) for x, leaf in pairs])


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
