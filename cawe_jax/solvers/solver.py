"""Steps that move masks downhill inside the box [0, 1].

A :class:`Solver` works on a batch of masks (leading axis) and never mixes its members.
It sees the objective only as an *oracle* ``masks -> (values [B], gradients)`` and knows
nothing of images, so that a Frank-Wolfe or a line-search step, which asks the oracle
more than once, has the same form as a gradient step.
"""

from __future__ import annotations

import abc
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Float

from cawe_jax.part import Part
from cawe_jax.types import Array, PerImage

Leaves = tuple[Float[Array, "B ..."], ...]
"""B masks, or a gradient by them; what an entry's axes mean is nothing to a solver."""


class Evaluation(NamedTuple):
  """What the oracle returns for B masks: a noisy part and an exact part.

  Attributes:
    value: The noisy part, which is estimated from draws, above what it is for the
      images themselves, ``[B]``.
    gradient: The gradient of the noisy part with respect to the masks.
    direction: What ``gradient`` is roughly a multiple of, with far less noise: see
      :class:`cawe_jax.objective.Gradients`. Zeros where there is no such thing.
    penalty: The exact part, which no draw enters, ``[B]``.
    penalty_gradient: The gradient of the exact part.
    report: Anything that the caller wants handed through.
  """

  value: PerImage
  gradient: Leaves
  direction: Leaves
  penalty: PerImage
  penalty_gradient: Leaves
  report: Any = None


class Oracle(Protocol):
  """All that a solver sees of an objective."""

  def __call__(self, masks: Leaves, /) -> Evaluation:
    """Evaluate B masks; one step's oracle makes the same draws at every call.

    Args:
      masks: Any masks in [0, 1], not only those of the step before.
    """
    ...


class SolverState(NamedTuple):
  """Masks ``[B, ...]`` and whatever the solver remembers of each."""

  mask: Leaves
  memory: Any


class Solver(Part, abc.ABC):
  """A pair of pure functions."""

  @abc.abstractmethod
  def init(self, masks: Leaves) -> SolverState:
    """The state before the first step, from masks ``[B, ...]``."""

  @abc.abstractmethod
  def step(
    self, oracle: Oracle, state: SolverState, step_size: PerImage
  ) -> tuple[SolverState, Evaluation]:
    """One step.

    Args:
      oracle: Evaluates masks ``[B, ...]``.
      state: What :meth:`init` or the step before returned.
      step_size: The step size of each image, ``[B]``.

    Returns:
      The new state, and the evaluation of the masks before the step, unchanged: the
      history and the check of optimality read it.
    """


def project(mask: tuple[Array, ...]) -> tuple[Array, ...]:
  """The nearest mask in the box [0, 1], of leaves of any shape."""
  return jax.tree.map(lambda leaf: jnp.clip(leaf, 0, 1), mask)


def per_image(values: Array, like: Array) -> Array:
  """Reshape ``[B]`` to broadcast against ``[B, ...]``."""
  return jnp.reshape(values, values.shape + (1,) * (like.ndim - values.ndim))
