"""Where the optimisation starts."""

from __future__ import annotations

import abc
import math

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.part import Part, setting
from cawe_jax.types import Instance, Key, Mask, Representation


class InitialMask(Part, abc.ABC):
  """How a mask begins."""

  @abc.abstractmethod
  def make(self, key: Key, instance: Instance) -> Mask:
    """The first mask of one image, float32 in [0, 1].

    Args:
      key: The image's own.
      instance: The image, what the network says of it, and the representation.
    """


class constant(InitialMask):
  """Every entry is the same.

  Raises:
    ValueError: The value is outside [0, 1].
  """

  value: float = setting()

  def check(self) -> None:
    """Refuse a value that no mask entry can have."""
    if not 0 <= self.value <= 1:
      raise ValueError(f"value is {self.value}; a mask entry must lie in [0, 1]")

  def make(self, key: Key, instance: Instance) -> Mask:
    """The value everywhere."""
    shapes = instance.representation.mask_shapes
    return tuple(jnp.full(shape, self.value, jnp.float32) for shape in shapes)


def ones() -> InitialMask:
  """Everything is kept: distortion 0. The published start."""
  return constant(1.0)


def zeros() -> InitialMask:
  """Nothing is kept; the gradient of a distortion of probabilities is small there."""
  return constant(0.0)


class random(InitialMask):
  """Uniform in [0, 1], drawn from the image's key."""

  def make(self, key: Key, instance: Instance) -> Mask:
    """One draw."""
    return uniform(key, instance.representation)


def uniform(key: Key, representation: Representation) -> Mask:
  """A mask whose entries are uniform in [0, 1), float32.

  Example:
    >>> from cawe_jax.representations import pixel
    >>> uniform(jax.random.key(0), pixel()((4, 6, 3)))[0].shape
    (1, 4, 6, 1)
  """
  shapes = representation.mask_shapes
  entries = jax.random.uniform(key, (representation.num_entries,), jnp.float32)
  ends = np.cumsum([math.prod(shape) for shape in shapes])
  parts = jnp.split(entries, ends[:-1])
  return tuple(x.reshape(shape) for x, shape in zip(parts, shapes, strict=True))
