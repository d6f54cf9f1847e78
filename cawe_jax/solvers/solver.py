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

from cawe_jax.types import Array, Mask


class Evaluation(NamedTuple):
  """What the oracle returns for B masks: a noisy part and an exact part.

  Attributes:
    value: Of the part that is estimated from draws, above what it is for the images
      themselves, ``[B]``.
    gradient: Of that part with respect to the masks.
    direction: What ``gradient`` is roughly a multiple of, with far less noise: see
      :class:`cawe_jax.objective.Gradients`. Zeros where there is no such thing.
    penalty: Of the part that no draw enters, ``[B]``.
    penalty_gradient: Of that part.
    report: Anything that the caller wants handed through.
  """

  value: Array
  gradient: Mask
  direction: Mask
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
    init: ``masks [B, ...] -> state``.
    step: ``(oracle, state, step_size [B]) -> (state, evaluation)``.
  """

  name: str
  init: Callable[[Mask], SolverState]
  step: Callable[[Oracle, SolverState, Array], tuple[SolverState, Evaluation]]


def project(mask: Mask) -> Mask:
  """The nearest mask in the box [0, 1]."""
  return jax.tree.map(lambda leaf: jnp.clip(leaf, 0, 1), mask)


def per_image(values: Array, like: Array) -> Array:
  """Reshape ``[B]`` to broadcast against ``[B, ...]``."""
  return jnp.reshape(values, values.shape + (1,) * (like.ndim - values.ndim))
