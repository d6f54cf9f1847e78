"""Finished masks are judged in turns, of as many draws as a tile has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import jax
import numpy as np

from cawe_jax.engine.judging import Rendered
from cawe_jax.numerics.tiles import Tile, Which
from cawe_jax.objective import Estimate, Worth
from cawe_jax.types import Masks

T = TypeVar("T")

NUM_FRESH_DRAWS = 64
"""Draws on which a finished mask is assessed."""


class Assessment(NamedTuple):
  """What is known of B masks at the end; see :class:`cawe_jax.types.Explanation`.

  Attributes:
    rendered: Pictures and terms.
    estimate: Means over fresh draws.
    score: The target's, on the images themselves, ``[B]``.
    masked_score: That of the masked image without noise, ``[B]``.
    masked_agreement: Whether the network says the target for it, bool ``[B]``.
    objective: Distortion on the fresh draws plus the weighted terms, ``[B]``.
  """

  rendered: Rendered
  estimate: Estimate
  score: np.ndarray
  masked_score: np.ndarray
  masked_agreement: np.ndarray
  objective: np.ndarray


class Turn(NamedTuple):
  """Some draws that are judged at once.

  Attributes:
    tile: What goes through the network at once.
    all: All draws that are judged.
    first: The number of the first of the turn.
    masks: Padded, on the devices.
    active: Which images are asked about, padded.
  """

  tile: Tile
  all: Which
  first: int
  masks: Masks
  active: np.ndarray

  @property
  def which(self) -> Which:
    """The turn's draws."""
    return Which(*map(self.cut, self.all))

  def cut(self, values: np.ndarray) -> np.ndarray:
    """The turn's of values of all draws; the last repeats itself."""
    last = len(self.all.steps) - 1
    return values[np.minimum(self.first + np.arange(self.tile.draws), last)]


def joined(parts: Sequence[T], count: int) -> T:
  """Turns one after the other, ``[B, count, ...]``."""
  return jax.tree.map(lambda *xs: np.concatenate(xs, axis=1)[:, :count], *parts)


def mean(worth: Worth) -> Estimate:
  """Means over the draws ``[B, D]``."""
  distortion = worth.distortion
  values = distortion, distortion**2, worth.score, worth.agreement
  return Estimate(*(x.mean(1, dtype=np.float64).astype(np.float32) for x in values))
