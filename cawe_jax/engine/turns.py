"""Finished masks are judged in turns, of as many draws as memory has room for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

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
    obfuscated_image: The first of those draws, ``[B, H, W, C]``.
    score: The target's, on the images themselves, ``[B]``.
    masked_score: That of the masked image without noise, ``[B]``.
    masked_agreement: Whether the network says the target for it, bool ``[B]``.
    objective: Distortion on the fresh draws plus the weighted terms, ``[B]``.
  """

  rendered: Rendered
  estimate: Estimate
  obfuscated_image: np.ndarray
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
    room: How many there is room for.
    masks: Padded, on the devices.
    active: Which images are asked about, padded, on the devices.
  """

  tile: Tile
  all: Which
  first: int
  room: int
  masks: Masks
  active: Any

  @property
  def which(self) -> Which:
    """The turn's draws; the last repeats itself where there is more room."""
    last = len(self.all.steps) - 1
    numbers = np.minimum(self.first + np.arange(self.room), last)
    return Which(*(values[numbers] for values in self.all))

  @property
  def num_draws(self) -> np.int32:
    """How many there are."""
    return np.int32(min(self.room, len(self.all.steps) - self.first))


def joined(parts: Sequence[T], count: int) -> T:
  """Turns one after the other, ``[B, count, ...]``."""
  return jax.tree.map(lambda *xs: np.concatenate(xs, axis=1)[:, :count], *parts)


def mean(worth: Worth) -> Estimate:
  """Means over the draws ``[B, D]``."""
  distortion = worth.distortion
  values = distortion, distortion**2, worth.score, worth.agreement
  return Estimate(*(x.mean(1, dtype=np.float64).astype(np.float32) for x in values))
