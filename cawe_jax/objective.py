r"""The Lagrangian, and its gradient in bounded memory.

.. math:: L(s) = E_v\, d(\Phi(x), \Phi(y(s, v))) + \lambda R(s) + \sum_j w_j P_j(s),
  \qquad y(s, v) = \mathrm{clip}(T^{-1}(s h + (1 - s) v), 0, 1)

(Kolek et al., ECCV 2022, Sec. 3; ``lambda`` multiplies the rate *normalised* by k.)

The network is evaluated on tiles of images x draws: see :mod:`cawe_jax.numerics.tiles`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from cawe_jax import penalties
from cawe_jax.numerics.tiles import Draws, Tile, mean_over_draws
from cawe_jax.outputs import Output, softmax
from cawe_jax.part import Part, as_part
from cawe_jax.types import (
  Array,
  BatchOfOutputs,
  Coefficients,
  Distortion,
  Draw,
  GreyImage,
  Image,
  Images,
  Instance,
  Key,
  Mask,
  Masked,
  Masks,
  Outputs,
  Penalty,
  PerImage,
  Perturbation,
  Representation,
  Scalar,
  Target,
)


class Classifier(Protocol):
  """The part of :class:`cawe_jax.Classifier` that the objective uses."""

  def __call__(self, images: Images, /) -> BatchOfOutputs:
    """What the network says of each image by itself.

    Args:
      images: Obfuscations of several images, in [0, 1].
    """
    ...


class Objective(Part):
  """The parts of a Lagrangian, bound to one image shape.

  The distortion reads the network's outputs, whose meaning ``output`` says.
  """

  representation: Representation
  perturbation: Perturbation
  distortion: Distortion
  penalties: tuple[Penalty, ...] = ()
  output: Output = softmax()

  def __post_init__(self) -> None:
    object.__setattr__(self, "distortion", as_part(self.distortion))
    if isinstance(self.penalties, tuple):  # JAX puts placeholders there
      object.__setattr__(self, "penalties", tuple(map(as_part, self.penalties)))
    super().__post_init__()

  @property
  def reading(self) -> Reading:
    """What is read in the network's outputs."""
    return Reading(self.distortion, self.output)


class Weights(NamedTuple):
  """What multiplies the terms, one value per image.

  Attributes:
    lagrange_multiplier: Weight of the normalised rate.
    penalties: Weight of every further penalty, in the objective's order.
  """

  lagrange_multiplier: Scalar
  penalties: tuple[Scalar, ...] = ()


class Problem(NamedTuple):
  """What the objective knows of one image; a batch adds a leading axis.

  Attributes:
    image: ``[H, W, C]`` in [0, 1].
    coefficients: ``T(image)``.
    grey_coefficients: ``T`` of the mean over channels, one channel.
    perturbation_state: What ``perturbation.init`` returned.
    clean_logits: The network's outputs for the image, ``[K]``.
    clean_distortion: Distortion of the image itself: 0, but for a class that is not
      predicted.
    target: Explained class, int.
    key: The key of all draws of this image.
  """

  image: Image
  coefficients: Coefficients
  grey_coefficients: Coefficients
  perturbation_state: Any
  clean_logits: Outputs
  clean_distortion: Scalar
  target: Target
  key: Key


class Estimate(NamedTuple):
  """Monte-Carlo means over draws for a batch of B images, each ``[B]``.

  Attributes:
    distortion: Mean.
    distortion_square: Mean of squares.
    score: Mean of the target's score, by default ``p_t(y)``.
    agreement: Share of draws for which the network itself says the target.
  """

  distortion: PerImage
  distortion_square: PerImage
  score: PerImage
  agreement: PerImage


class Gradients(NamedTuple):
  """With respect to B masks.

  Attributes:
    distortion: The gradient of the mean distortion.
    direction: Mean over draws of the gradient along a step of length 1 in the outputs:
      the way that changes that draw's distortion most, and does not lower the score.
  """

  distortion: Masks
  direction: Masks


class Terms(NamedTuple):
  """The unweighted parts of one image's objective that no draw enters."""

  rate: Scalar
  penalties: tuple[Scalar, ...]


def make_problem(
  objective: Objective, image: Image, clean_logits: Outputs, target: Target, key: Key
) -> Problem:
  """Compute once what every evaluation needs."""
  representation = objective.representation
  clean = objective.distortion(clean_logits, clean_logits, target)
  instance = Instance(image, clean_logits, target, representation)
  return Problem(
    image,
    representation.analysis(image),
    representation.analysis(jnp.mean(image, axis=-1, keepdims=True)),
    objective.perturbation.init(instance),
    clean_logits,
    jnp.where(jnp.isfinite(clean), clean, 0),  # a logarithm may be infinite there
    target,
    key,
  )


def mix(
  mask: Mask, coefficients: Coefficients, replacement: Coefficients
) -> Coefficients:
  """``s * h + (1 - s) * v``, leaf by leaf."""

  def one(s: Array, h: Array, v: Array) -> Array:
    # Copies for the channels instead of broadcasting: the transpose is then a sum of
    # slices, which a CPU adds up ten times faster than XLA reduces an axis of three.
    s = jnp.concatenate([s] * h.shape[-1], axis=-1)
    return s * h + (1 - s) * v

  return jax.tree.map(one, mask, coefficients, replacement)


def to_image(representation: Representation, coefficients: Coefficients) -> Image:
  """Synthesis, clipped to [0, 1].

  The clip passes the gradient at exactly 0 and 1, as torch does (`jnp.clip` halves
  it there): saturated pixels of the image sit at the bounds where a mask of ones
  starts.
  """
  image = representation.synthesis(coefficients)
  inside = (image >= 0) & (image <= 1)
  return jnp.where(inside, image, jax.lax.stop_gradient(jnp.clip(image, 0, 1)))


def obfuscate(objective: Objective, problem: Problem, mask: Mask, draw: Draw) -> Image:
  """One obfuscation ``y(s, v)``, ``[H, W, C]`` in [0, 1]."""
  kept = tuple(s * h for s, h in zip(mask, problem.coefficients, strict=True))
  masked = Masked(mask, kept, objective.representation, draw.stratum)
  replacement = objective.perturbation.sample(
    draw.key, problem.perturbation_state, masked
  )
  mixed = mix(mask, problem.coefficients, replacement)
  return to_image(objective.representation, mixed)


def explanation_image(objective: Objective, problem: Problem, mask: Mask) -> GreyImage:
  """The greyscale explanation ``clip(T^-1(s * T(grey x)))``, ``[H, W, 1]``."""
  kept = tuple(s * h for s, h in zip(mask, problem.grey_coefficients, strict=True))
  return to_image(objective.representation, kept)


def masked_image(objective: Objective, problem: Problem, mask: Mask) -> Image:
  """What the mask keeps, in colour and without noise, ``[H, W, C]`` in [0, 1]."""
  kept = tuple(s * h for s, h in zip(mask, problem.coefficients, strict=True))
  return to_image(objective.representation, kept)


def terms(objective: Objective, problem: Problem, mask: Mask) -> Terms:
  """Rate and penalties of one image, unweighted."""
  values: tuple[Scalar, ...] = ()
  if objective.penalties:
    explanation = explanation_image(objective, problem, mask)
    values = tuple(penalty(mask, explanation) for penalty in objective.penalties)
  return Terms(penalties.rate(mask), values)


def weighted(weights: Weights, term: Terms) -> Scalar:
  """``lambda R + sum_j w_j P_j``."""
  total = weights.lagrange_multiplier * term.rate
  for weight, value in zip(weights.penalties, term.penalties, strict=True):
    total += weight * value
  return total


def expected_distortion_and_gradients(
  objective: Objective,
  classifier: Classifier,
  tile: Tile,
  problems: Problem,
  masks: Masks,
  draws: Draws,
) -> tuple[Estimate, Gradients]:
  """Mean distortion of B masks over the given draws, and gradients of means over draws.

  They are taken tile by tile and added up, so that memory does not grow with the number
  of draws. Both gradients come from one pass back through the network: see ``_split``.

  Args:
    objective: The structure.
    classifier: Images ``[N, H, W, C]`` to outputs ``[N, K]``.
    tile: Shape of the network's input.
    problems: B problems.
    masks: B masks.
    draws: Which draws.
  """

  def part(problems: Problem, masks: Masks, draws: Draw, weight: Array):
    # A mask for each draw, so that each draw has a gradient of its own.
    count = weight.shape[1]
    copies = jax.tree.map(lambda s: jnp.repeat(s[:, None], count, 1), masks)

    def images(copies: Any) -> Images:
      stacks = jax.vmap(jax.vmap(_obfuscate(objective), (None, 0, 0)))
      return stacks(problems, copies, draws).reshape(-1, *problems.image.shape[1:])

    stack, to_masks = jax.vjp(images, copies)
    outputs, to_images = jax.vjp(classifier, stack)
    slopes, directions = jax.vmap(jax.vmap(_split(objective), (None, 0, None)))(
      problems.clean_logits, outputs.reshape(*weight.shape, -1), problems.target
    )
    (pulled,) = to_images(directions.reshape(outputs.shape))
    (per_draw,) = to_masks(pulled)

    def mean(weight: Array) -> Masks:
      # In full precision on every platform: terms of both signs nearly cancel.
      sums = functools.partial(jnp.einsum, "bl,bl...->b...", precision="highest")
      return jax.tree.map(functools.partial(sums, weight), per_draw)

    estimate = _summarise(objective, problems, outputs, weight)
    return estimate, Gradients(mean(weight * slopes), mean(weight))

  zeros = jnp.zeros(draws.active.shape, masks[0].dtype)
  nothing = jax.tree.map(jnp.zeros_like, masks)
  start = Estimate(*[zeros] * 4), Gradients(nothing, nothing)
  return mean_over_draws(part, start, tile, (problems, masks), problems.key, draws)


def _split(objective: Objective) -> Callable:
  """A function of one draw that splits its distortion's gradient, taken by the outputs.

  The gradient is ``slope * direction``, where the direction has norm 1 and never lowers
  the target's score. The slope differs from draw to draw and is largest for the few
  that do harm; the direction is much the same for all.
  """

  def split(clean: Outputs, outputs: Outputs, target: Target) -> tuple[Scalar, Outputs]:
    gradient = jax.grad(objective.distortion, 1)(clean, outputs, target)
    upwards = jax.grad(objective.output.score)(outputs, target)
    # Outputs of a saturated softmax have gradients whose squares underflow.
    scale = jnp.max(jnp.abs(gradient))
    scaled = gradient / jnp.where(scale > 0, scale, 1)
    norm = jnp.sqrt(jnp.maximum(jnp.sum(scaled**2), 1e-30))
    sign = jnp.where(jnp.vdot(scaled, upwards) < 0, -1.0, 1.0)
    return sign * norm * scale, sign * scaled / norm

  return split


def _obfuscate(objective: Objective) -> Callable:
  return functools.partial(obfuscate, objective)


def _summarise(
  objective: Objective, problems: Problem, outputs: Array, weight: Array
) -> Estimate:
  """Weighted sums of what the outputs ``[images * draws, K]`` are worth."""
  worths = jax.vmap(functools.partial(worth_of_draws, objective.reading))(
    problems.clean_logits, problems.target, outputs.reshape(*weight.shape, -1)
  )
  distortion = worths.distortion
  sums = (distortion, distortion**2, worths.score, worths.agreement)
  return Estimate(*(jnp.sum(weight * x.astype(weight.dtype), axis=1) for x in sums))


class Reading(NamedTuple):
  """What is read in a network's outputs: the distortion, and what they mean."""

  distortion: Distortion
  output: Output


class Worth(NamedTuple):
  """What single draws are worth.

  Attributes:
    distortion: The distortion.
    score: The target's score, by default ``p_t(y)``.
    agreement: Whether the network itself says the target.
  """

  distortion: Array
  score: Array
  agreement: Array


def worth_of_draws(
  reading: Reading, clean: Outputs, target: Target, outputs: Array
) -> Worth:
  """What the outputs ``[L, K]`` of draws of one image are worth, ``[L]`` each."""

  def one(outputs: Outputs) -> Worth:
    return Worth(
      reading.distortion(clean, outputs, target),
      reading.output.score(outputs, target),
      reading.output.is_predicted(outputs, target),
    )

  return jax.vmap(one)(outputs)
