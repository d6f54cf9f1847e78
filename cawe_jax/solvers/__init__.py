"""Steps that move masks downhill inside the box [0, 1]."""

from cawe_jax.solvers.aligned import aligned
from cawe_jax.solvers.projected import adam, projected
from cawe_jax.solvers.solver import (
  Evaluation,
  Oracle,
  Solver,
  SolverState,
  per_image,
  project,
)

__all__ = [
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
