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
  """What the oracle returns for B masks.

  Attributes:
    value: Objective, ``[B]``.
    gradient: Of the objective with respect to the masks.
    report: Anything that the caller wants handed through.
  """

  value: Array
  gradient: Mask
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
    init: Masks ``[B, ...]`` to state.
    step: ``(oracle, state, step_size [B]) -> (state, evaluation)``.
  """

  name: str
  init: Callable[[Mask], SolverState]
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

  def init(mask: Mask) -> SolverState:
    return SolverState(mask, jax.vmap(transformation.init)(mask))

  def step(
    oracle: Oracle, state: SolverState, step_size: Array
  ) -> tuple[SolverState, Evaluation]:
    evaluation = oracle(state.mask)
    updates, memory = jax.vmap(transformation.update)(
      evaluation.gradient, state.memory, state.mask
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


def per_image(values: Array, like: Array) -> Array:
  """Reshape ``[B]`` to broadcast against ``[B, ...]``."""
  return jnp.reshape(values, values.shape + (1,) * (like.ndim - values.ndim))
