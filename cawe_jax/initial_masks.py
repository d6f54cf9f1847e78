"""Where the optimisation starts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.memo import memoised
from cawe_jax.types import Array, Mask, Representation


class InitialMask(NamedTuple):
  """How a mask begins.

  Attributes:
    name: How it was made.
    make: ``(key, representation) -> mask``; the key is the image's.
  """

  name: str
  make: Callable[[Array, Representation], Mask]


@memoised
def constant(value: float) -> InitialMask:
  """Every entry the same.

  Raises:
    ValueError: The value is outside [0, 1].
  """
  if not 0 <= value <= 1:
    raise ValueError(f"value is {value}; a mask entry must lie in [0, 1]")

  def make(key: Array, representation: Representation) -> Mask:
    return tuple(
      jnp.full(shape, value, jnp.float32) for shape in representation.mask_shapes
    )

  return InitialMask(f"constant({value})", make)


def ones() -> InitialMask:
  """Everything is kept: distortion 0. The published start."""
  return constant(1.0)


def zeros() -> InitialMask:
  """Nothing is kept; the gradient of a distortion of probabilities is small there."""
  return constant(0.0)


@memoised
def random() -> InitialMask:
  """Uniform in [0, 1], drawn from the image's key."""

  def make(key: Array, representation: Representation) -> Mask:
    flat = jax.random.uniform(key, (representation.num_entries,), jnp.float32)
    sizes = np.cumsum([math.prod(shape) for shape in representation.mask_shapes])
    parts = jnp.split(flat, sizes[:-1])
    return tuple(
      part.reshape(shape)
      for part, shape in zip(parts, representation.mask_shapes, strict=True)
    )

  return InitialMask("random()", make)
