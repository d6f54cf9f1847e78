"""How a mask is searched: start, solver, schedule, stopping rule, steps and draws.

A method says what is optimised, a recipe how. The published recipes are the papers';
``tuned`` was made for the least objective in a given time (docs/lab/solver.md,
docs/benchmarks.md); ``default`` and ``fast`` are two budgets of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cawe_jax import initial_masks, schedules, solvers, stopping
from cawe_jax.initial_masks import InitialMask
from cawe_jax.schedules import Schedule
from cawe_jax.solvers import Solver
from cawe_jax.stopping import Stopping


class Recipe(NamedTuple):
  """The parts that decide the way to the mask, not what a good mask is.

  Attributes:
    name: The preset's name.
    initial_mask: Where to start.
    solver: How to step.
    schedule: How multiplier and step size change.
    stopping: When an image is done.
    step_size: Multiplies the solver's updates, above 0; one number, or one for each
      image of a batch. Data: another value compiles nothing.
    num_steps: At most, at least 1.
    num_draws: Per step and image, at least 1.
    contrast: Two numbers, 0 <= low < high <= 1. Entries of the last mask below the
      first become 0, those above the second 1, and what is between is stretched.
  """

  name: str
  initial_mask: InitialMask
  solver: Solver
  schedule: Schedule
  stopping: Stopping
  step_size: Any
  num_steps: int
  num_draws: int
  contrast: tuple[float, float] = (0.0, 1.0)


def default() -> Recipe:
  """A thousand model evaluations: 16 to 60 s an image on two CPU cores."""
  return tuned(500)._replace(name="default")


def fast() -> Recipe:
  """400 model evaluations: 7 to 25 s an image on two CPU cores."""
  return tuned(200)._replace(name="fast")


def tuned(num_steps: int) -> Recipe:
  """The recipe for a budget of two model evaluations a step.

  Above 200 steps their sizes add up to the same: the more there are, the more of the
  noise averages out.

  Args:
    num_steps: At least 1; some 200 are needed for a good mask.

  Example:
    >>> recipe = tuned(350)
    >>> recipe.num_steps * recipe.num_draws, round(recipe.step_size, 3)
    (700, 0.114)
  """
  return Recipe(
    f"tuned({num_steps})",
    initial_masks.ones(),
    solvers.aligned(),
    schedules.continuation(),
    stopping.never(),
    step_size=0.2 * min(1.0, 200 / max(num_steps, 1)),
    num_steps=num_steps,
    num_draws=2,
    contrast=(0.04, 0.9),
  )


def eccv2022() -> Recipe:
  """Adam with step size 1e-3 from a mask of ones, 2000 steps of 64 draws.

  References:
    Kolek et al., ECCV 2022, Sec. 4.
  """
  return _published("eccv2022", step_size=1e-3, num_steps=2000, num_draws=64)


def cvpr2023() -> Recipe:
  """Adam with step size 1e-1 from a mask of ones, 300 steps of 16 draws.

  References:
    Kolek et al., CVPR 2023.
  """
  return _published("cvpr2023", step_size=1e-1, num_steps=300, num_draws=16)


def _published(name: str, step_size: float, num_steps: int, num_draws: int) -> Recipe:
  return Recipe(
    name,
    initial_masks.ones(),
    solvers.adam(),
    schedules.constant(),
    stopping.never(),
    step_size,
    num_steps,
    num_draws,
  )
