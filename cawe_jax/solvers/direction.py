r"""The factor of a noisy gradient along a direction that is known better.

The Monte-Carlo gradient of a distortion is dominated by the few draws that do harm. The
way in which a mask moves the output is much the same for all draws, and its mean has
far less relative noise. So the gradient G of a step is measured along the mean
direction of earlier steps,

.. math:: \beta = \langle G, \hat z \rangle / \langle Z, \hat z \rangle,

where Z is the step's own direction and :math:`\hat z` the running mean, shrunk by its
standard error, and the products weigh an entry by its mask: one number from all
entries, hence little noise.

All of it is written for one mask whose entries are one array.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import optax

from cawe_jax.solvers.moments import (
  TINY,
  Moments,
  add,
  estimate,
  independent,
  running,
  shrink,
)
from cawe_jax.types import Array

_SIZE_DECAY = 0.97


class Directions(NamedTuple):
  """What is remembered of the directions of earlier steps.

  Attributes:
    count: Their number.
    moments: Running means of the directions and of their squares.
    length: Running mean of their lengths along the mean direction.
  """

  count: Array
  moments: Moments
  length: Array


def no_directions(mask: Array) -> Directions:
  """The memory before the first step."""
  zeros, zero = jnp.zeros_like(mask), jnp.zeros(())
  return Directions(zero, Moments(zeros, zeros), zero)


def measure(
  decay: float,
  caution: float,
  memory: Directions,
  mask: Array,
  gradient: Array,
  direction: Array,
) -> tuple[Array, Directions]:
  """The factor of a step's gradient along the earlier mean direction.

  Args:
    decay: The decay of the running means.
    caution: How many standard errors the mean direction is shrunk by.
    memory: What is remembered of earlier steps.
    mask: Weighs the entries.
    gradient: The step's.
    direction: The step's.

  Returns:
    The factor, 0 where no direction is known yet, and the memory with the step's own
    direction.
  """
  # The first step has no earlier direction to compare with.
  earlier = jnp.maximum(memory.count, 1)
  known = shrink(*estimate(decay, earlier, memory.moments), caution) * mask
  length = running(decay, memory.length, jnp.sum(direction * known))
  usual = length / (1 - decay**earlier)
  has_length = jnp.abs(usual) > TINY
  along = jnp.sum(gradient * known)
  factor = jnp.where(has_length, along / jnp.where(has_length, usual, 1), 0)
  moments = add(decay, memory.moments, direction)
  return factor, Directions(memory.count + 1, moments, length)


class _Sizes(NamedTuple):
  """What is remembered of the sizes of earlier steps' gradients.

  Attributes:
    directions: What is remembered of their directions.
    usual: Long running mean of the sizes.
    whole: Running mean of the sizes.
    left: The same of what shortening left of them.
  """

  directions: Directions
  usual: Array
  whole: Array
  left: Array


def shorten_outliers(
  decay: float = 0.9, caution: float = 0.6, outlier: float = 2.0
) -> optax.GradientTransformationExtraArgs:
  """Spread a gradient that is far longer than usual over many steps.

  A draw that does harm once in hundreds would otherwise outweigh all that is
  remembered, and for the next ten steps the mask would follow one sample of noise. So
  its gradient is shortened, and what was cut off is given back by the steps that
  follow: each is lengthened by the ratio of the mean size before and after. Without
  that the mean gradient would be too small, most of all where few draws do all the
  harm, and masks too sparse. The average is known from the step on that fills the
  memory.

  Args:
    decay: The decay of the running means of directions and sizes, in (0, 1).
    caution: How many standard errors the mean direction is shrunk by, at least 0.
    outlier: A gradient that is more than so many times as long as on average is
      shortened to that, above 1.

  References:
    Zhang et al., Why are adaptive methods good for attention models?, 2020: clipping
    where the noise of a gradient has heavy tails.
  """

  def init(mask):
    return _Sizes(no_directions(mask), *jnp.zeros(3))

  def update(updates, state, mask=None, *, direction, **known):
    del known
    factor, directions = measure(
      decay, caution, state.directions, mask, updates, direction
    )
    size, count = jnp.abs(factor), state.directions.count
    longest = outlier * state.usual / (1 - _SIZE_DECAY ** jnp.maximum(count, 1))
    is_outlier = (count >= independent(decay)) & (size > longest)
    scale = jnp.where(is_outlier, longest / jnp.maximum(size, TINY), 1)
    # Compared with sizes as they were: a mean of shortened ones dies out where harm is
    # rare.
    usual = running(_SIZE_DECAY, state.usual, size)
    whole = running(decay, state.whole, size)
    left = running(decay, state.left, scale * size)
    lengthen = jnp.where(left > TINY, whole / jnp.maximum(left, TINY), 1)
    return lengthen * scale * updates, _Sizes(directions, usual, whole, left)

  return optax.GradientTransformationExtraArgs(init, update)
