r"""What the numbers mean that a network returns.

A distortion reads logits of classes that exclude each other. An :class:`Output` brings
every other network to it: one label of a multi-label network is a choice between two
classes, present and absent, whose logits are ``(z_t, 0)``, since
``softmax((z, 0))[0] = sigmoid(z)``. So each distortion means for a label what it means
for a class. A regression has no probabilities; its change is measured in units of a
scale.
"""

from __future__ import annotations

import abc
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from cawe_jax import distortions
from cawe_jax.part import Part, as_part, name_of, setting
from cawe_jax.types import Array, Distortion, Outputs, Scalar, Target, Truth


class Output(Part, abc.ABC):
  """What the K numbers mean that a network returns for an image.

  Attributes:
    noun: What one of the K is: a class, a label, an output.
    is_probability: Whether scores are probabilities. Then the largest is the network's
      own choice, and a share of one can be retained.
  """

  noun: ClassVar[str]
  is_probability: ClassVar[bool] = True

  @abc.abstractmethod
  def score(self, outputs: Outputs, target: Target) -> Scalar:
    """What is explained, from ``[K]``: the target's probability, or its value."""

  @abc.abstractmethod
  def is_predicted(self, outputs: Outputs, target: Target) -> Truth:
    """Whether the network itself says the target, from ``[K]``; bool."""

  def adapt(self, distortion: Distortion) -> Distortion:
    """A method's distortion as one of this network's outputs.

    Raises:
      ValueError: It has no meaning here.
    """
    return distortion


class softmax(Output):
  """Logits of K classes, of which one is true; the default.

  Example:
    >>> float(softmax().score(jnp.zeros(4), 0))
    0.25
  """

  noun: ClassVar[str] = "class"

  def score(self, outputs: Outputs, target: Target) -> Scalar:
    """The class's probability."""
    return jax.nn.softmax(outputs)[target]

  def is_predicted(self, outputs: Outputs, target: Target) -> Truth:
    """Whether no class is more probable."""
    # Of outputs that are NaN, the first would be the largest.
    return (jnp.argmax(outputs) == target) & ~jnp.isnan(outputs[target])


class sigmoid(Output):
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

  noun: ClassVar[str] = "label"

  def score(self, outputs: Outputs, target: Target) -> Scalar:
    """The label's probability."""
    return jax.nn.sigmoid(outputs[target])

  def is_predicted(self, outputs: Outputs, target: Target) -> Truth:
    """Whether it is at least 1/2."""
    return outputs[target] >= 0

  def adapt(self, distortion: Distortion) -> Distortion:
    """The distortion of the label's presence and absence."""
    return _of_presence(as_part(distortion))


class regression(Output):
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

  noun: ClassVar[str] = "output"
  is_probability: ClassVar[bool] = False
  scale: float = setting()

  def check(self) -> None:
    """Refuse a scale that is not finite or not above 0."""
    if not (math.isfinite(self.scale) and self.scale > 0):
      raise ValueError(f"scale is {self.scale}; it must be finite and above 0")

  def score(self, outputs: Outputs, target: Target) -> Scalar:
    """The value."""
    return outputs[target]

  def is_predicted(self, outputs: Outputs, target: Target) -> Truth:
    """True: a value is what the network says."""
    return jnp.bool_(True)

  def adapt(self, distortion: Distortion) -> Distortion:
    """The squared change in units of the scale; or one that reads plain outputs."""
    if distortion is distortions.automatic:
      return _scaled_squared_error(self.scale)
    of_the_library = getattr(distortion, "__module__", None) == distortions.__name__
    if of_the_library and distortion is not distortions.logit_l2:
      raise ValueError(
        f"distortion {name_of(distortion)} is one of probabilities, which a regression "
        "has not; allowed are automatic, logit_l2 and functions of your own"
      )
    return distortion


class _scaled_squared_error(Part):
  scale: float = setting()

  def __call__(self, clean: Outputs, outputs: Outputs, target: Target) -> Scalar:
    return ((clean[target] - outputs[target]) / self.scale) ** 2


class _of_presence(Part):
  """A distortion of classes as one of a label's presence."""

  distortion: Distortion

  def __call__(self, clean: Outputs, outputs: Outputs, target: Target) -> Scalar:
    def pair(z: Outputs) -> Array:
      return jnp.stack([z[target], jnp.zeros_like(z[target])])

    return self.distortion(pair(clean), pair(outputs), jnp.int32(0))
