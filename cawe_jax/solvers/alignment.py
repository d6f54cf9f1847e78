"""Projected descent that learns a gradient as a factor times a direction."""

from __future__ import annotations

import math
from typing import Any

import jax
import optax

from cawe_jax.numerics.rows import from_rows, to_rows
from cawe_jax.part import setting
from cawe_jax.solvers.descent import Descent, multiply_by_step_size, slow_where_small
from cawe_jax.solvers.direction import shorten_outliers
from cawe_jax.solvers.gradient_model import follow_direction
from cawe_jax.solvers.safeguard import brake, guard


class aligned(Descent):
  r"""Projected descent that learns a gradient as a factor times a direction.

  A chain of six transformations, each of which can stand in a chain of yours:
  :func:`~cawe_jax.solvers.direction.shorten_outliers`,
  :func:`~cawe_jax.solvers.gradient_model.follow_direction`,
  :func:`~cawe_jax.solvers.safeguard.brake`,
  :func:`~cawe_jax.solvers.descent.slow_where_small`, the step size,
  and :func:`~cawe_jax.solvers.safeguard.guard`.

  Args:
    decay: The decay of the running means of direction, factor and residual, in (0, 1).
    caution: How many standard errors the mean direction and the factor are shrunk by,
      at least 0, as the next two.
    residual_caution: How many standard errors bend and residual are shrunk by.
    floor: f of :func:`~cawe_jax.solvers.descent.pace`; small is close to a
      multiplicative update.
    outlier: Times the average size beyond which a step's gradient is spread over later
      steps, above 1.
    vanished: Ratio of promise and value below which a gradient has vanished, in
      [0, 1/2); 0 is without the guard.

  Raises:
    ValueError: An argument is out of range.
  """

  decay: float = setting(default=0.9)
  caution: float = setting(default=0.6)
  residual_caution: float = setting(default=1.3)
  floor: float = setting(default=0.3)
  outlier: float = setting(default=2.0)
  vanished: float = setting(default=0.33)

  def check(self) -> None:
    """Refuse settings that are out of range."""
    if not 0 < self.decay < 1:
      raise ValueError(f"decay is {self.decay}; it must be in (0, 1)")
    if not self.outlier > 1:
      raise ValueError(f"outlier is {self.outlier}; it must be above 1")
    if not 0 <= self.vanished < 0.5:
      raise ValueError(f"vanished is {self.vanished}; it must be in [0, 0.5)")
    for name in ("caution", "residual_caution", "floor"):
      value = getattr(self, name)
      if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} is {value}; it must be finite and at least 0")

  def chain(self) -> optax.GradientTransformationExtraArgs:
    """The six, on all entries of a mask as one array."""
    return in_rows(
      optax.chain(
        shorten_outliers(self.decay, self.caution, self.outlier),
        follow_direction(self.decay, self.caution, self.residual_caution, self.floor),
        brake(),
        slow_where_small(self.floor),
        multiply_by_step_size(),
        guard(self.vanished),
      )
    )


def in_rows(
  transformation: optax.GradientTransformationExtraArgs,
) -> optax.GradientTransformationExtraArgs:
  """Let a transformation see a mask as one array, see :func:`.to_rows`."""

  def update(updates, state, mask=None, **known):
    tree = jax.tree.structure(mask)

    def joined(value: Any) -> Any:
      is_mask = jax.tree.structure(value) == tree  # type: ignore[operator]
      return to_rows(value) if is_mask else value

    seen = {name: joined(value) for name, value in known.items()}
    moves, state = transformation.update(joined(updates), state, joined(mask), **seen)
    return from_rows(moves, mask), state

  return optax.GradientTransformationExtraArgs(
    lambda mask: transformation.init(to_rows(mask)), update
  )
