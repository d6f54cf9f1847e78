"""Steps that move masks downhill inside the box [0, 1].

A :class:`Solver` works on a batch of masks (leading axis) and never mixes its members.
It sees the objective only as an *oracle* ``masks -> (values [B], gradients)`` and knows
nothing of images, so that a Frank-Wolfe or a line-search step, which asks the oracle
more than once, has the same form as a gradient step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cawe_jax.memo import memoised
from cawe_jax.types import Array, Mask


class Evaluation(NamedTuple):
  """What the oracle returns for B masks: a noisy part and an exact part.

  Attributes:
    value: Of the part that is estimated from draws, ``[B]``.
    gradient: Of that part with respect to the masks.
    penalty: Of the part that no draw enters, ``[B]``.
    penalty_gradient: Of that part.
    report: Anything that the caller wants handed through.
  """

  value: Array
  gradient: Mask
  penalty: Array
  penalty_gradient: Mask
  report: Any = None


Oracle = Callable[[Mask], Evaluation]


class SolverState(NamedTuple):
  """Masks ``[B, ...]`` and whatever the solver remembers of each."""

  mask: Mask
  memory: Any


class Solver(NamedTuple):
  """A pair of pure functions.

  Attributes:
    name: How it was made.
    init: ``(masks [B, ...], value at masks of zeros [B]) -> state``.
    step: ``(oracle, state, step_size [B]) -> (state, evaluation)``.
  """

  name: str
  init: Callable[[Mask, Array], SolverState]
  step: Callable[[Oracle, SolverState, Array], tuple[SolverState, Evaluation]]


def project(mask: Mask) -> Mask:
  """The nearest mask in the box [0, 1]."""
  return jax.tree.map(lambda leaf: jnp.clip(leaf, 0, 1), mask)


@memoised
def projected(transformation: optax.GradientTransformation, name: str = "") -> Solver:
  """Projected descent along the updates of an optax transformation.

  Args:
    transformation: Made with a learning rate of 1, since the method's step size
      multiplies its updates: ``optax.adam(1.0)``. It is applied to every image of a
      batch on its own.
    name: How it is named in settings.
  """

  def init(mask: Mask, zero_value: Array) -> SolverState:
    del zero_value
    return SolverState(mask, jax.vmap(transformation.init)(mask))

  def step(
    oracle: Oracle, state: SolverState, step_size: Array
  ) -> tuple[SolverState, Evaluation]:
    evaluation = oracle(state.mask)
    gradient = jax.tree.map(jnp.add, evaluation.gradient, evaluation.penalty_gradient)
    updates, memory = jax.vmap(transformation.update)(
      gradient, state.memory, state.mask
    )
    moved = jax.tree.map(
      lambda s, u: s + per_image(step_size, u) * u, state.mask, updates
    )
    return SolverState(project(moved), memory), evaluation

  return Solver(name or "projected(optax transformation)", init, step)


@memoised
def adam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Solver:
  """Projected Adam: the papers' optimiser.

  Args:
    b1: Decay of the mean of gradients.
    b2: Decay of the mean of squares.
    eps: Added to the root of the latter.
  """
  return projected(optax.adam(1.0, b1, b2, eps), f"adam(b1={b1}, b2={b2}, eps={eps})")


class _Denoised(NamedTuple):
  """Memory of :func:`denoised`: moments, step counts, and the guard's values."""

  mean: Mask
  square: Mask
  count: Array
  zero_value: Array
  recent_value: Array
  safe_mask: Mask
  safe_count: Array


@memoised
def denoised(
  decay: float = 0.9,
  caution: float = 0.6,
  floor: float = 0.3,
  collapse: float = 0.25,
) -> Solver:
  r"""Projected descent that trusts a gradient only as far as it exceeds its noise.

  Most entries of a mask matter so little that the Monte-Carlo noise of their gradient
  exceeds the slope of the rate. Adam divides by that noise, so that they wander. Here,
  with the running mean m of an entry's gradient, the standard error e of that mean and
  the exact slope t of the penalties,

  .. math:: g = m \max(1 - e^2 / m^2, 0), \qquad
    u = \frac{g + t}{\sqrt{g^2 + e^2 + t^2}}, \qquad
    s \leftarrow s - \eta \frac{s + f}{1 + f} u,

  which is the non-negative garrote (Breiman, 1995): an entry without evidence only
  feels the rate and goes to zero. The factor ``(s + f) / (1 + f)`` slows an entry down
  as it becomes small.

  *Guard.* When a mask loses everything at once, the softmax saturates and no gradient
  leads back. So a running mean of the masks whose value was good is kept, and the mask
  returns to at least that when the value goes beyond a share of its value at zero.

  Args:
    decay: Of both running moments, in (0, 1).
    caution: c above: by how many standard errors a gradient must exceed its noise.
    floor: f above; small is close to a multiplicative update.
    collapse: Share of the value at a mask of zeros that counts as collapse, in (0, 1].
  """
  independent = (1 + decay) / (1 - decay)  # effective number of gradients in the mean

  def init(mask: Mask, zero_value: Array) -> SolverState:
    zeros = jax.tree.map(jnp.zeros_like, mask)
    nothing = jnp.zeros_like(zero_value)
    memory = _Denoised(zeros, zeros, nothing, zero_value, nothing, zeros, nothing)
    return SolverState(mask, memory)

  def step(
    oracle: Oracle, state: SolverState, step_size: Array
  ) -> tuple[SolverState, Evaluation]:
    evaluation, memory = oracle(state.mask), state.memory
    count = memory.count + 1
    mean = _running(decay, memory.mean, evaluation.gradient)
    square = _running(
      decay, memory.square, jax.tree.map(jnp.square, evaluation.gradient)
    )

    def move(s: Array, mean: Array, square: Array, slope: Array) -> Array:
      n = per_image(count, s)
      m, q = mean / (1 - decay**n), square / (1 - decay**n)
      # A mean of one or two gradients shows no variance, hence the 5 %.
      variance = jnp.maximum(q - m**2, 0.05 * q)
      error_square = variance / jnp.minimum(independent, n)
      g = m * jnp.maximum(1 - caution**2 * error_square / (m**2 + _TINY), 0)
      u = (g + slope) / jnp.sqrt(g**2 + error_square + slope**2 + _TINY)
      return s - per_image(step_size, s) * (s + floor) / (1 + floor) * u

    moved = project(
      jax.tree.map(move, state.mask, mean, square, evaluation.penalty_gradient)
    )
    recent = (memory.recent_value + evaluation.value) / 2
    collapsed = recent > collapse * memory.zero_value

    def where_collapsed(yes: Array, no: Array) -> Array:
      return jnp.where(per_image(collapsed, yes), yes, no)

    def restore(s: Array, safe: Array) -> Array:
      weight = 1 - _SAFE_DECAY ** per_image(memory.safe_count, safe)
      return where_collapsed(jnp.maximum(s, safe / jnp.maximum(weight, _TINY)), s)

    mask = jax.tree.map(restore, moved, memory.safe_mask)
    safe_mask = jax.tree.map(
      where_collapsed,
      memory.safe_mask,
      _running(_SAFE_DECAY, memory.safe_mask, state.mask),
    )
    recent = where_collapsed(recent / 2, recent)
    safe_count = memory.safe_count + ~collapsed
    new = _Denoised(
      mean, square, count, memory.zero_value, recent, safe_mask, safe_count
    )
    return SolverState(mask, new), evaluation

  name = (
    f"denoised(decay={decay}, caution={caution}, floor={floor}, collapse={collapse})"
  )
  return Solver(name, init, step)


_TINY = 1e-30
_SAFE_DECAY = 0.9


def _running(decay: float, mean: Mask, new: Mask) -> Mask:
  return jax.tree.map(lambda m, x: decay * m + (1 - decay) * x, mean, new)


def per_image(values: Array, like: Array) -> Array:
  """Reshape ``[B]`` to broadcast against ``[B, ...]``."""
  return jnp.reshape(values, values.shape + (1,) * (like.ndim - values.ndim))
