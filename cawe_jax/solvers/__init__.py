"""Steps that move masks downhill inside the box [0, 1]."""

from cawe_jax.solvers.alignment import aligned
from cawe_jax.solvers.descent import Descent, adam, projected
from cawe_jax.solvers.solver import (
  Evaluation,
  Oracle,
  Solver,
  SolverState,
  per_image,
  project,
)

__all__ = [
  "Descent",
  "Evaluation",
  "Oracle",
  "Solver",
  "SolverState",
  "adam",
  "aligned",
  "per_image",
  "project",
  "projected",
]
