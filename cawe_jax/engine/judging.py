"""The compiled programs that judge finished masks, draw by draw.

The network has a program of its own, which all methods share; the others do what
differs between methods and are soon compiled. So another perturbation, representation
or distortion does not compile the network again only to look at masks. What needs the
network's gradient asks the program of the search's steps for it
(:func:`cawe_jax.engine.programs.segment`).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax

from cawe_jax import objective as objective_
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.engine.programs import network, penalties_and_slopes, split_over_devices
from cawe_jax.methods import BoundMethod
from cawe_jax.numerics.tiles import Tile, Which, stack_draws, stack_images
from cawe_jax.objective import Problem, Reading, Weights, Worth
from cawe_jax.penalties import hard_rate, rate
from cawe_jax.types import Array, Masks


class Drawn(NamedTuple):
  """Obfuscations of B masks.

  Attributes:
    images: ``[B, D, H, W, C]``.
    first: The first of the D alone, ``[B, H, W, C]``.
  """

  images: Array
  first: Array


@split_over_devices
def draw(
  tile: Tile,
  everywhere: tuple[BoundMethod, Which, Array],
  batch: tuple[Problem, Masks, Array],
) -> Drawn:
  """Obfuscations; everywhere are the method, D draws, and how many are wanted."""
  (method, which, count), (problems, masks, active) = everywhere, batch
  one = functools.partial(objective_.obfuscate, method.objective)
  part = jax.vmap(jax.vmap(one, (None, None, 0)))
  data = problems, masks
  images = stack_draws(part, tile, data, problems.key, which, count, active)
  return Drawn(images, images[:, 0])


@split_over_devices
def forward(
  tile: Tile, everywhere: tuple[Classifier, Array], batch: tuple[Array, Array]
) -> Array:
  """What the network says of images ``[B, D, H, W, C]``, ``[B, D, K]``.

  Everywhere are the network and how many of D are asked about.
  """
  (classifier, count), (images, active) = everywhere, batch

  def part(images: Array) -> Array:
    outputs = network(classifier, images.reshape(-1, *images.shape[2:]))
    return outputs.reshape(*images.shape[:2], -1)

  return stack_images(part, tile, (), images, count, active)


@split_over_devices
def worth(reading: Reading, batch: tuple[Array, Array, Array]) -> Worth:
  """What outputs are worth, ``[B, D]`` each: of clean ones, targets, and outputs."""
  return jax.vmap(functools.partial(objective_.worth_of_draws, reading))(*batch)


class Rendered(NamedTuple):
  """What is known of B masks without the network.

  Attributes:
    explanation: The greyscale explanations, ``[B, H, W, 1]``.
    masked_image: What masks keep, in colour and without noise, ``[B, H, W, C]``.
    rate: ``||s||_1 / k``, ``[B]``.
    rate_l0: Share of entries above zero, ``[B]``.
  """

  explanation: Array
  masked_image: Array
  rate: Array
  rate_l0: Array


@split_over_devices
def render(method: BoundMethod, batch: tuple[Problem, Masks]) -> Rendered:
  """Pictures and rates of masks."""
  grey, colour = (
    jax.vmap(functools.partial(function, method.objective))(*batch)
    for function in (objective_.explanation_image, objective_.masked_image)
  )
  _, masks = batch
  return Rendered(grey, colour, jax.vmap(rate)(masks), jax.vmap(hard_rate)(masks))


@split_over_devices
def penalise(
  method: BoundMethod, batch: tuple[Problem, Weights, Masks]
) -> tuple[Array, Masks]:
  """Sums ``[B]`` of the weighted terms that no draw enters, and their gradients."""
  problems, weights, masks = batch
  (penalty, _), slope = penalties_and_slopes(method, masks, problems, weights)
  return penalty, slope
