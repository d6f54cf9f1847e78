r"""What the numbers mean that a network returns.

A distortion reads logits of classes that exclude each other. An :class:`Output` brings
every other network to it: one label of a multi-label network is a choice between two
classes, present and absent, whose logits are ``(z_t, 0)``, since
``softmax((z, 0))[0] = sigmoid(z)``. So each distortion means for a label what it means
for a class. A regression has no probabilities; its change is measured in units of a
scale.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cawe_jax import distortions
from cawe_jax.memo import memoised
from cawe_jax.types import Array, Distortion


class Output(NamedTuple):
  """What the K numbers mean that a network returns for an image.

  Attributes:
    name: How it was made, e.g. ``regression(2.0)``.
    noun: What one of the K is: a class, a label, an output.
    is_probability: Whether scores are probabilities. Then the largest is the network's
      own choice, and a share of one can be retained.
    score: ``(outputs [K], target) -> scalar``, what is explained: the target's
      probability, or its value.
    is_predicted: ``(outputs [K], target) -> bool``, whether the network says so itself.
    adapt: A method's distortion to the one of this network's outputs; equal distortions
      to the same object. Raises ValueError for one that has no meaning here.
  """

  name: str
  noun: str
  is_probability: bool
  score: Callable[[Array, Array], Array]
  is_predicted: Callable[[Array, Array], Array]
  adapt: Callable[[Distortion], Distortion]


@memoised
def softmax() -> Output:
  """Logits of K classes, of which one is true; the default.

  Example:
    >>> float(softmax().score(jnp.zeros(4), 0))
    0.25
  """
  return Output(
    "softmax()",
    "class",
    True,
    lambda outputs, target: jax.nn.softmax(outputs)[target],
    lambda outputs, target: jnp.argmax(outputs) == target,
    lambda distortion: distortion,
  )


@memoised
def sigmoid() -> Output:
  """Logits of K labels, each true or not.

  The target is one label, explained by its own probability; the others are not looked
  at. It counts as predicted where that is at least 1/2. Distortions of the library or
  of yours get the logits ``(z_t, 0)`` of the label's presence and absence, with target
  0, so that ``kl`` is the divergence of two coins.

  Example:
    >>> float(sigmoid().score(jnp.zeros(4), 0))
    0.5
    >>> distortion = sigmoid().adapt(distortions.label_squared_error)
    >>> float(distortion(jnp.array([0.0, 99.0]), jnp.array([99.0, 0.0]), 0))
    0.25
  """
  return Output(
    "sigmoid()",
    "label",
    True,
    lambda outputs, target: jax.nn.sigmoid(outputs[target]),
    lambda outputs, target: outputs[target] >= 0,
    _of_presence,
  )


@memoised
def regression(scale: float) -> Output:
  r"""K real numbers; the target is one of them.

  .. math:: d = ((f_t(x) - f_t(y)) / \mathrm{scale})^2

  Retained probabilities are NaN; the value itself is reported, on the image, with noise
  and without. A distortion of yours gets the outputs as they are.

  Args:
    scale: A change that matters, in the output's unit, above 0, e.g. its standard
      deviation over a dataset. The Lagrange multiplier then weighs as for a
      probability, where a change of 1 is all there is.

  Raises:
    ValueError: The scale is not finite or not above 0; or, for a method, its distortion
      is one of probabilities.

  Example:
    >>> distortion = regression(2.0).adapt(distortions.automatic)
    >>> float(distortion(jnp.array([5.0]), jnp.array([2.0]), 0))
    2.25
  """
  if not (math.isfinite(scale) and scale > 0):
    raise ValueError(f"scale is {scale}; it must be finite and above 0")

  def scaled_squared_error(clean: Array, outputs: Array, target: Array) -> Array:
    return ((clean[target] - outputs[target]) / scale) ** 2

  def adapt(distortion: Distortion) -> Distortion:
    if distortion is distortions.automatic:
      return scaled_squared_error
    own = distortion.__module__ != distortions.__name__
    if own or distortion is distortions.logit_l2:
      return distortion
    raise ValueError(
      f"distortion {distortion.__name__} is one of probabilities, which a regression "
      "has not; allowed are automatic, logit_l2 and functions of your own"
    )

  return Output(
    f"regression({scale})",
    "output",
    False,
    lambda outputs, target: outputs[target],
    lambda outputs, target: jnp.bool_(True),
    adapt,
  )


@functools.cache
def _of_presence(distortion: Distortion) -> Distortion:
  """A distortion of classes as one of a label's presence."""

  def of_presence(clean: Array, outputs: Array, target: Array) -> Array:
    def pair(z: Array) -> Array:
      return jnp.stack([z[target], jnp.zeros_like(z[target])])

    return distortion(pair(clean), pair(outputs), jnp.int32(0))

  return of_presence
