"""Which mask a search returns: the one it ended with, sharpened or not, or none.

The choice is made on draws of its own. What is reported is measured on others, so that
the luck of the winner is not reported with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from cawe_jax.engine.session import Session
from cawe_jax.numerics.streams import Stream
from cawe_jax.types import Masks

NUM_CHOICE_DRAWS = 32
"""Each candidate is evaluated on so many draws, without the gradient."""


def choose(session: Session, masks: Masks, low: float, high: float) -> Masks:
  """The masks ``[B, ...]`` of the lowest objective, image by image.

  Candidates are the masks as they are, the masks with contrast, in which a mask that is
  not quite finished becomes a clean one, and masks of zeros: for an unsure prediction
  the empty mask is often the optimum, and no path of small steps leads there.

  Args:
    session: Where they were searched.
    masks: As the last step left them.
    low: Entries below this become 0 with contrast.
    high: Entries above this become 1.
  """
  zeros = jax.tree.map(np.zeros_like, masks)
  return best_of(session, [*sharpened(masks, low, high), zeros])


def sharpened(masks: Masks, low: float, high: float) -> list[Masks]:
  """Masks with contrast, where there is any, and as they are."""
  plain = (low, high) == (0, 1)
  return [masks] if plain else [stretch(masks, low, high), masks]


def best_of(session: Session, candidates: Sequence[Masks]) -> Masks:
  """For each image, the mask of the lowest objective among several ``[B, ...]``.

  The first of equally good ones is taken, and none whose objective is NaN while another
  has a number: a network that divides by the norm of its image has no output for an
  empty one.
  """
  count = session.num_different(NUM_CHOICE_DRAWS)
  objectives = [session.objective(mask, Stream.CHOICE, count) for mask in candidates]
  best = np.argmin(np.where(np.isnan(objectives), np.inf, objectives), axis=0)
  return jax.tree.map(
    lambda *leaves: np.stack([leaves[b][i] for i, b in enumerate(best)]), *candidates
  )


def stretch(masks: Masks, low: float, high: float) -> Masks:
  """Masks whose entries below ``low`` are 0, above ``high`` 1, linear in between.

  Example:
    >>> stretch((np.array([[0.1, 0.5, 0.9]]),), 0.1, 0.9)[0].round(3).tolist()
    [[0.0, 0.5, 1.0]]
  """
  start, length = np.float32(low), np.float32(high - low)
  return jax.tree.map(lambda s: np.clip((s - start) / length, 0, 1), masks)
