"""Projected descent: optax says where each mask goes, the box where it ends.

A chain of optax's transformations is written for one mask. It gets the gradient of the
distortion as its updates, the mask as its parameters, and by name all that is known of
the step: ``value``, ``gradient``, ``direction``, ``penalty_gradient`` (see
:class:`.Evaluation`) and ``step_size``. Each transformation takes what it needs of
these; optax's own take none.
"""

from __future__ import annotations

import abc
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cawe_jax.numerics.ambient import promotion
from cawe_jax.part import setting
from cawe_jax.solvers.solver import (
  Evaluation,
  Leaves,
  Oracle,
  Solver,
  SolverState,
  project,
)
from cawe_jax.types import Array, PerImage


class Descent(Solver):
  """Moves each mask by what a chain of transformations makes of its gradient."""

  @abc.abstractmethod
  def chain(self) -> optax.GradientTransformationExtraArgs:
    """The transformations, whose last updates are added to the mask."""

  def init(self, masks: Leaves) -> SolverState:
    """The masks, and the memory of each one's transformations."""
    return SolverState(masks, jax.vmap(self.chain().init)(masks))

  def step(
    self, oracle: Oracle, state: SolverState, step_size: PerImage
  ) -> tuple[SolverState, Evaluation]:
    """Evaluate the masks once, and move them."""
    evaluation = oracle(state.mask)
    known = {
      "value": evaluation.value,
      "gradient": evaluation.gradient,
      "direction": evaluation.direction,
      "penalty_gradient": evaluation.penalty_gradient,
      "step_size": step_size,
    }

    def move(gradient: Any, memory: optax.OptState, mask: Any, known: dict):
      return self.chain().update(gradient, memory, mask, **known)

    moves, memory = jax.vmap(move)(evaluation.gradient, state.memory, state.mask, known)
    moved = jax.tree.map(jnp.add, state.mask, moves)
    return SolverState(project(moved), memory), evaluation


class projected(Descent):
  """Projected descent along the updates of an optax transformation.

  Args:
    transformation: Made with a learning rate of 1, since the method's step size
      multiplies its updates: ``optax.adam(1.0)``. It gets the gradient of the whole
      objective. Make it once: two of them are never equal, and a program is compiled
      for each.
    label: How it is named in settings.
  """

  transformation: optax.GradientTransformation = setting()
  label: str = setting(default="projected(optax transformation)")

  @property
  def name(self) -> str:
    """The label."""
    return self.label

  def chain(self) -> optax.GradientTransformationExtraArgs:
    """Penalties, the transformation, and the step size."""
    given = of_others(self.transformation)
    return optax.chain(add_penalties(), given, multiply_by_step_size())


class adam(Descent):
  """Projected Adam: the papers' optimiser.

  Args:
    b1: Decay of the mean of gradients.
    b2: Decay of the mean of squares.
    eps: Added to the root of the latter.
  """

  b1: float = setting(default=0.9)
  b2: float = setting(default=0.999)
  eps: float = setting(default=1e-8)

  def chain(self) -> optax.GradientTransformationExtraArgs:
    """Penalties, Adam, and the step size."""
    adam = of_others(optax.adam(1.0, self.b1, self.b2, self.eps))
    return optax.chain(add_penalties(), adam, multiply_by_step_size())


def add_penalties() -> optax.GradientTransformationExtraArgs:
  """Add the gradient of the penalties: the updates become the whole objective's."""

  def update(updates, state, params=None, *, penalty_gradient, **known):
    del params, known
    return jax.tree.map(jnp.add, updates, penalty_gradient), state

  return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def multiply_by_step_size() -> optax.GradientTransformationExtraArgs:
  """Multiply the updates by the step size."""

  def update(updates, state, params=None, *, step_size, **known):
    del params, known
    return jax.tree.map(lambda u: step_size * u, updates), state

  return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def of_others(
  transformation: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
  """A transformation of optax, which may let floats and integers meet, as Adam does."""
  transformation = optax.with_extra_args_support(transformation)

  def update(updates, state, params=None, **known):
    with promotion():
      return transformation.update(updates, state, params, **known)

  return optax.GradientTransformationExtraArgs(transformation.init, update)


def slow_where_small(floor: float = 0.3) -> optax.GradientTransformationExtraArgs:
  """Go downhill, the more slowly the smaller an entry is: ``-pace(s) u``.

  Args:
    floor: See :func:`pace`.
  """

  def update(updates, state, mask=None, **known):
    del known
    return -pace(mask, floor) * updates, state

  return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def pace(mask: Array, floor: float) -> Array:
  """How fast entries of a mask s move: ``(s + f) / (1 + f)``.

  Args:
    mask: Entries in [0, 1].
    floor: f, at least 0; small is close to a multiplicative update.
  """
  return (mask + floor) / (1 + floor)
