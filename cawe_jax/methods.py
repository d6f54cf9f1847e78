"""Explanation methods: bundles of parts, with weights.

A :class:`Method` is a value without logic. Change a part with ``method._replace(...)``,
or write a new bundle; nothing else has to know.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cawe_jax import distortions, initial_masks, penalties, perturbations, schedules
from cawe_jax import representations, solvers
from cawe_jax import stopping as stopping_
from cawe_jax.initial_masks import InitialMask
from cawe_jax.objective import Objective
from cawe_jax.schedules import Schedule
from cawe_jax.solvers import Solver
from cawe_jax.stopping import Stopping
from cawe_jax.types import BindRepresentation, Distortion, Penalty, Perturbation


class MethodWeights(NamedTuple):
  """What multiplies the terms: data, so that other values compile nothing.

  Attributes:
    lagrange_multiplier: Weight of the rate ``||s||_1 / k``, at least 0.
    penalties: Weight of every further penalty, in order, at least 0.
    step_size: Multiplies the solver's updates, above 0.
  """

  lagrange_multiplier: float
  penalties: tuple[float, ...]
  step_size: float


class Structure(NamedTuple):
  """What a compiled program is made for: a method bound to an image shape."""

  objective: Objective
  initial_mask: InitialMask
  solver: Solver
  schedule: Schedule
  stopping: Stopping


class Method(NamedTuple):
  """Everything that `explain` needs besides a classifier and an image."""

  name: str
  representation: BindRepresentation
  perturbation: Perturbation
  distortion: Distortion
  penalties: tuple[Penalty, ...]
  initial_mask: InitialMask
  solver: Solver
  schedule: Schedule
  stopping: Stopping
  weights: MethodWeights
  num_steps: int
  num_draws: int

  def bind(self, image_shape: tuple[int, int, int]) -> Structure:
    """The hashable part, for images of shape ``(H, W, C)``."""
    objective = Objective(
      self.representation(image_shape), self.perturbation, self.distortion, self.penalties
    )
    return Structure(
      objective, self.initial_mask, self.solver, self.schedule, self.stopping
    )


def cartoonx(
  lagrange_multiplier: float = 20.0,
  *,
  representation: BindRepresentation | None = None,
  perturbation: Perturbation | None = None,
  distortion: Distortion = distortions.automatic,
  initial_mask: InitialMask | None = None,
  solver: Solver | None = None,
  schedule: Schedule | None = None,
  stopping: Stopping | None = None,
  step_size: float = 0.1,
  num_steps: int = 100,
  num_draws: int = 4,
) -> Method:
  """CartoonX: a sparse mask on wavelet coefficients."""
  return Method(
    "cartoonx",
    representation or representations.wavelet(),
    perturbation or perturbations.adaptive_gaussian(),
    distortion,
    (),
    initial_mask or initial_masks.ones(),
    solver or solvers.adam(),
    schedule or schedules.constant(),
    stopping or stopping_.never(),
    MethodWeights(lagrange_multiplier, (), step_size),
    num_steps,
    num_draws,
  )
