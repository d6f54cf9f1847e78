"""Several perturbations, of which each draw takes one."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.part import setting
from cawe_jax.perturbations.fixed import zeros
from cawe_jax.perturbations.noise import adaptive_gaussian
from cawe_jax.types import Array, Coefficients, Instance, Key, Masked, Perturbation


class mixture(Perturbation):
  """One of several perturbations for each draw, so that a mask must hold under all.

  A mask that is found under noise alone often fits the noise: without it the network
  no longer says the class. One that is found under noise for one half of the draws and
  zeros for the other may hold under both at the same rate.

  Which part a draw takes follows its stratum (:class:`~cawe_jax.types.Masked`), not
  chance alone: of two draws of a step one is of each of two equal parts, and the 64
  draws on which a mask is assessed are shared out exactly. Draws of the parts are those
  that they would have by themselves. All parts are computed for every draw, so one that
  takes long, such as inpainting, takes as long as without the others.

  Args:
    parts: At least one perturbation.
    weights: How often each is drawn, above 0, up to a common factor; by default all
      equally often.

  Raises:
    ValueError: There is no part, or weights do not fit the parts or are not above 0.

  Example:
    >>> mixture()
    mixture(parts=(adaptive_gaussian(), zeros()))
    >>> mixture((adaptive_gaussian(), zeros()), weights=(3, 1)).shares
    (0.75, 0.25)
  """

  parts: tuple[Perturbation, ...] = (adaptive_gaussian(), zeros())
  weights: tuple[float, ...] | None = setting(default=None)

  def __post_init__(self) -> None:
    if isinstance(self.parts, list):
      object.__setattr__(self, "parts", tuple(self.parts))
    super().__post_init__()

  def check(self) -> None:
    """Refuse weights that do not fit the parts."""
    if not isinstance(self.parts, tuple):  # JAX puts placeholders there
      return
    if not self.parts:
      raise ValueError("parts is empty; a mixture needs at least one perturbation")
    if self.weights is None:
      return
    if len(self.weights) != len(self.parts):
      raise ValueError(
        f"weights has {len(self.weights)} numbers; it must have one for each of "
        f"{len(self.parts)} parts"
      )
    if not all(math.isfinite(w) and w > 0 for w in self.weights):
      raise ValueError(f"weights is {self.weights}; every weight must be above 0")

  @property
  def name(self) -> str:
    """With the names of the parts."""
    weights = "" if self.weights is None else f", weights={self.weights}"
    return f"mixture(parts={self.parts}{weights})"

  @property
  def shares(self) -> tuple[float, ...]:
    """The share of the draws that each part has; they add up to 1."""
    weights = self.weights or (1.0,) * len(self.parts)
    return tuple(weight / sum(weights) for weight in weights)

  def init(self, instance: Instance) -> tuple[Any, ...]:
    """The states of the parts."""
    return tuple(part.init(instance) for part in self.parts)

  def sample(self, key: Key, state: tuple[Any, ...], masked: Masked) -> Coefficients:
    """A draw of the part whose share holds the draw's stratum."""
    starts = [0.0, *itertools.accumulate(self.shares)][:-1]
    stratum = jnp.asarray(masked.stratum)
    later = stratum >= np.asarray(starts[1:], stratum.dtype)
    chosen = jnp.count_nonzero(later).astype(jnp.int32)
    draws = []
    for part, inner, start, share in zip(
      self.parts, state, starts, self.shares, strict=True
    ):
      # Within its share a part's strata are as even as those of the whole.
      within = jnp.clip((stratum - start) / share, 0, 1)
      draws.append(part.sample(key, inner, masked._replace(stratum=within)))

    def choose(*leaves: Array) -> Array:
      return jax.lax.select_n(chosen, *leaves)

    return jax.tree.map(choose, *draws)
