"""When an image's mask is good enough to stop; each image of a batch decides alone.

The objective of one step is an estimate on few draws. A rule therefore compares
averages over windows of steps, never two steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from cawe_jax.memo import memoised
from cawe_jax.types import Array


class Stopping(NamedTuple):
  """A rule for one image.

  Attributes:
    name: How it was made.
    init: State before the first step.
    update: ``(state, objective of the step, progress in [0, 1)) -> (state, stop)``.
  """

  name: str
  init: Callable[[], Any]
  update: Callable[[Any, Array, Array], tuple[Any, Array]]


@memoised
def never() -> Stopping:
  """Every step is done: the published settings."""
  return Stopping(
    "never()", lambda: (), lambda state, value, progress: (state, jnp.zeros((), bool))
  )
