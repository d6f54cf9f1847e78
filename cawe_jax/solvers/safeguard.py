r"""What keeps a mask from losing everything before its gradient is known.

A classifier that has lost its class is flat: the value is large, and no gradient leads
back. Nothing here knows what value is large; a step's value V is compared with earlier
ones and with its own gradient G.

*Brake.* Entries fall at the speed

.. math:: \min\Bigl(1, \frac{\bar V}{V}\Bigr)
  \min\Bigl(1, b \frac{\langle t, s \rangle}{V}\Bigr),

V of the last few steps. The running mean of the values is long and starts from zero:
the first steps, which know nothing yet, are small ones, and after a draw that did much
harm the mask waits until it has found what the harm came from. The second factor
compares with the penalties, of slope t: where they weigh little beside the value, there
is little to be gained from a mask that is smaller still, and much to be lost.

*Guard.* What the gradient promises for the way back to the whole image,

.. math:: P = |\langle -G, 1 - s \rangle|, \qquad \kappa = \frac{P}{P + V},

is at least V on each step's own draws where the distortion is convex in the mask s,
hence :math:`\kappa \ge 1/2` whatever the scale, the network or the noise. Where
:math:`\kappa` is small for some steps and their value is not far below the largest
seen, the gradient has vanished: the mask returns to at least a running mean of the
masks for which it had not.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from cawe_jax.solvers.moments import TINY, running
from cawe_jax.solvers.solver import per_image
from cawe_jax.types import Array

_RATIO_DECAY = 0.6
_SAFE_DECAY = 0.9
_RECENT_DECAY = 0.5
_USUAL_DECAY = 0.97
_CONVEX = 0.5
_LARGE = 0.25  # of the largest value seen
_WORTH = 0.5  # b above
_ROUNDING = 1e-4


class Memory(NamedTuple):
  """What is remembered of B masks; ``[B]`` but for the masks.

  Attributes:
    ratio: Running mean of the ratio above.
    recent: Running mean of the values of the last few steps.
    usual: Running mean of many values, from zero.
    largest: Of the values.
    safe_mask: Running mean of the masks whose gradient had not vanished, ``[B, ...]``.
    safe_count: Of how many.
  """

  ratio: Array
  recent: Array
  usual: Array
  largest: Array
  safe_mask: Array
  safe_count: Array


def watch(masks: Array) -> Memory:
  """Before the first step on masks ``[B, ...]``."""
  zeros = jnp.zeros(len(masks))
  return Memory(zeros, zeros, zeros, zeros, jnp.zeros_like(masks), zeros)


def look(
  memory: Memory,
  masks: Array,
  values: Array,
  gradients: Array,
  slopes: Array,
  vanished: float,
) -> tuple[Memory, Array, Array]:
  """Look at a step.

  Args:
    memory: From :func:`watch` or the step before.
    masks: ``[B, ...]``.
    values: Above what the images themselves cost, ``[B]``.
    gradients: Of the values, like the masks.
    slopes: Of the penalties, like the masks: beside them, a value is rounding or not.
    vanished: Mean ratio below which a gradient has vanished, in [0, 1/2); 0: never.

  Returns:
    The new memory; how fast entries may fall, in [0, 1], ``[B]``; and masks that each
    mask must not be below, 0 where its gradient has not vanished.
  """
  axes = tuple(range(1, masks.ndim))
  value = jnp.maximum(values, 0)
  worth = _WORTH * jnp.sum(jnp.abs(slopes) * masks, axes)
  speed = _share(memory.usual, memory.recent) * _share(worth, memory.recent)
  nothing = _ROUNDING * jnp.sum(jnp.abs(slopes), axes) + TINY
  promise = jnp.abs(jnp.sum(gradients * (1 - masks), axes)) + nothing
  ratio = promise / (promise + value)
  nothing_safe = memory.safe_count == 0
  mean = jnp.where(nothing_safe, ratio, running(_RATIO_DECAY, memory.ratio, ratio))
  recent = running(_RECENT_DECAY, memory.recent, value)
  largest = jnp.maximum(memory.largest, value)
  lost = ~nothing_safe & (mean < vanished) & (recent > _LARGE * largest)

  weight = 1 - _SAFE_DECAY ** per_image(memory.safe_count, masks)
  least = memory.safe_mask / jnp.maximum(weight, TINY)
  # A step may see that its own mask is lost before the mean does.
  healthy = ~lost & (ratio >= vanished)
  safe = running(_SAFE_DECAY, memory.safe_mask, masks)
  new = Memory(
    jnp.where(lost, _CONVEX, mean),
    jnp.where(lost, recent / 2, recent),
    running(_USUAL_DECAY, memory.usual, value),
    largest,
    jnp.where(per_image(healthy, masks), safe, memory.safe_mask),
    memory.safe_count + healthy,
  )
  return new, speed, jnp.where(per_image(lost, masks), least, 0)


def _share(part: Array, whole: Array) -> Array:
  """In [0, 1]; 1 of nothing."""
  return jnp.clip((part + TINY) / (whole + TINY), 0, 1)
