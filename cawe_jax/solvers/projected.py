"""Projected descent along the updates of an optax transformation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

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
