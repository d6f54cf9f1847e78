r"""What keeps a mask from losing everything before its gradient is known.

A classifier that has lost its class is flat: the value is large, and no gradient leads
back. Nothing here knows what value is large; a step's value V is compared with earlier
ones and with its own gradient G.

All of it is written for one mask whose entries are one array.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import optax

from cawe_jax.solvers.moments import TINY, running
from cawe_jax.types import Array

_RATIO_DECAY = 0.6
_SAFE_DECAY = 0.9
_RECENT_DECAY = 0.5
_USUAL_DECAY = 0.97
_SHARE_OF_LARGEST = 0.25
_SHARE_OF_PENALTIES = 0.5
_ROUNDING = 1e-4


class _Values(NamedTuple):
  """Running means of the values of a few steps, and of some thirty, from zero."""

  recent: Array
  usual: Array


def brake() -> optax.GradientTransformationExtraArgs:
  r"""Slow down the entries that fall, where falling may do harm.

  They fall at the speed

  .. math:: \min\Bigl(1, \frac{\bar V}{V}\Bigr)
    \min\Bigl(1, \frac{\langle |t|, s \rangle}{2 V}\Bigr),

  V of the last few steps. The running mean of the values is long and starts from zero:
  the first steps, which know nothing yet, are small ones, and after a draw that did
  much harm the mask waits until it has found what the harm came from. The second factor
  compares with the weighted penalties, of slope t: where they are small beside the
  value, there is little to be gained from a mask that is smaller still, and much to be
  lost.

  Positive updates are those of entries that fall: it stands before the step's sign.
  """

  def init(mask):
    del mask
    return _Values(jnp.zeros(()), jnp.zeros(()))

  def update(updates, state, mask=None, *, value, penalty_gradient, **known):
    del known
    worth = _SHARE_OF_PENALTIES * jnp.sum(jnp.abs(penalty_gradient) * mask)
    speed = _share(state.usual, state.recent) * _share(worth, state.recent)
    value = jnp.maximum(value, 0)
    recent = running(_RECENT_DECAY, state.recent, value)
    usual = running(_USUAL_DECAY, state.usual, value)
    return updates * jnp.where(updates > 0, speed, 1), _Values(recent, usual)

  return optax.GradientTransformationExtraArgs(init, update)


class _Safe(NamedTuple):
  """What the guard remembers.

  Attributes:
    ratio: Running mean of kappa.
    recent: Running mean of the values of the last few steps.
    largest: The largest value of any step.
    mask: Running mean of the masks whose gradient had not vanished.
    count: The number of masks in that mean.
  """

  ratio: Array
  recent: Array
  largest: Array
  mask: Array
  count: Array


def guard(vanished: float = 0.33) -> optax.GradientTransformationExtraArgs:
  r"""Lead a mask back whose gradient has vanished; it stands last in a chain.

  What the gradient promises for the way back to the whole image,

  .. math:: P = |\langle -G, 1 - s \rangle|, \qquad \kappa = \frac{P}{P + V},

  is at least V on each step's own draws where the distortion is convex in the mask s,
  hence :math:`\kappa \ge 1/2` whatever the scale, the network or the noise. Where
  :math:`\kappa` stays below a third and the value above a quarter of the largest seen,
  the gradient has vanished: the mask returns to at least a running mean of the masks
  for which it had not.

  Args:
    vanished: The mean of kappa below which a gradient has vanished, in [0, 1/2). With 0
      no mask is led back.
  """

  def init(mask):
    zero = jnp.zeros(())
    return _Safe(zero, zero, zero, jnp.zeros_like(mask), zero)

  def update(updates, state, mask=None, *, value, gradient, penalty_gradient, **known):
    del known
    value = jnp.maximum(value, 0)
    # A value far below what the penalties can weigh is rounding, and has lost nothing.
    rounding = _ROUNDING * jnp.sum(jnp.abs(penalty_gradient)) + TINY
    promise = jnp.abs(jnp.sum(gradient * (1 - mask))) + rounding
    kappa = promise / (promise + value)
    is_first = state.count == 0
    ratio = jnp.where(is_first, kappa, running(_RATIO_DECAY, state.ratio, kappa))
    recent = running(_RECENT_DECAY, state.recent, value)
    largest = jnp.maximum(state.largest, value)
    has_vanished = (ratio < vanished) & (recent > _SHARE_OF_LARGEST * largest)

    weight = 1 - _SAFE_DECAY**state.count
    least = jnp.where(has_vanished, state.mask / jnp.maximum(weight, TINY), 0)
    is_safe = ~has_vanished & (kappa >= vanished)
    safe = running(_SAFE_DECAY, state.mask, mask)
    new = _Safe(
      ratio,
      recent,
      largest,
      jnp.where(is_safe, safe, state.mask),
      state.count + is_safe.astype(state.count.dtype),
    )
    return jnp.maximum(updates, least - mask), new

  return optax.GradientTransformationExtraArgs(init, update)


def _share(part: Array, whole: Array) -> Array:
  """The part of the whole, in [0, 1]; 1 of nothing."""
  return jnp.clip((part + TINY) / (whole + TINY), 0, 1)
