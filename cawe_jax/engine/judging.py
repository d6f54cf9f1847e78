"""The compiled programs that judge finished masks, draw by draw.

The network has a program of its own, which all methods share; the others do what
differs between methods and are soon compiled. So another perturbation, representation
or distortion does not compile the network again only to look at masks. What needs the
network's gradient has it inside: :func:`evaluate` here, and the steps of a search
(:mod:`cawe_jax.engine.programs`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from cawe_jax import objective as objective_
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.engine.programs import network, penalties_and_slopes, split_over_devices
from cawe_jax.methods import BoundMethod
from cawe_jax.numerics.devices import split_images
from cawe_jax.numerics.tiles import Draws, Tile, Which, stack_draws, stack_images
from cawe_jax.objective import Estimate, Problem, Reading, Weights, Worth
from cawe_jax.penalties import hard_rate, rate
from cawe_jax.types import Array, Draw, Mask, Masks


@split_over_devices
def draw(
  method: BoundMethod, tile: Tile, which: Which, batch: tuple[Problem, Masks, Array]
) -> Array:
  """Obfuscations of B masks, ``[B, D, H, W, C]``."""
  problems, masks, active = batch
  of_draws = functools.partial(_obfuscations, method)
  part = jax.vmap(of_draws)
  return stack_draws(part, tile, (problems, masks), problems.key, which, active)


def _obfuscations(method: BoundMethod, problem: Problem, mask: Mask, draws: Draw):
  """Those of one image, ``[D, H, W, C]``."""
  one = functools.partial(objective_.obfuscate, method.objective)
  return jax.vmap(one, (None, None, 0))(problem, mask, draws)


def _shared(program: Callable) -> Callable:
  """Compile ``program(tile, shared, batch, active)``, which knows no method."""

  def split(tile: Tile, mesh: Mesh, shared: Any, batch: tuple[Any, Array]) -> Any:
    def run(shared: Any, batch: tuple[Any, Array]) -> Any:
      return program(tile, shared, *batch)

    return split_images(run, mesh)(shared, batch)

  split.__name__ = program.__name__
  return functools.wraps(program)(jax.jit(split, static_argnums=(0, 1)))


@_shared
def forward(tile: Tile, classifier: Classifier, images: Array, active: Array) -> Array:
  """What the network says of ``[B, D, H, W, C]``, ``[B, D, K]``."""

  def part(images: Array) -> Array:
    outputs = network(classifier, images.reshape(-1, *images.shape[2:]))
    return outputs.reshape(*images.shape[:2], -1)

  return stack_images(part, tile, (images,), active)


@_shared
def worth(
  tile: None, reading: Reading, outputs: Array, problems: tuple[Array, Array]
) -> Worth:
  """What outputs ``[B, D, K]`` are worth, beside the clean ones and the target."""
  del tile
  of_image = functools.partial(objective_.worth_of_draws, reading)
  return jax.vmap(of_image)(*problems, outputs)


@split_over_devices
def evaluate(
  method: BoundMethod,
  tile: Tile,
  everywhere: tuple[Classifier, Array, Array],
  batch: tuple[Problem, Masks, Array],
) -> tuple[Estimate, Masks]:
  """Means over the first draws of a step, and the distortion's gradient by the masks.

  ``everywhere`` has the network, the step and the number of draws.

  To give the gradient from one program to the next would take half as long again.
  """
  (classifier, step, count), (problems, masks, active) = everywhere, batch
  estimate, gradients = objective_.expected_distortion_and_gradients(
    method.objective,
    functools.partial(network, classifier),
    tile,
    problems,
    masks,
    Draws(step, count, active),
  )
  return estimate, gradients.distortion


class Rendered(NamedTuple):
  """What is known of B masks without the network.

  Attributes:
    explanation: The greyscale explanations, ``[B, H, W, 1]``.
    masked_image: What masks keep, in colour and without noise, ``[B, H, W, C]``.
    rate: ``[B]``.
    rate_l0: Share of entries above zero, ``[B]``.
    penalty: Sum of the weighted terms that no draw enters, ``[B]``.
    slope: Its gradient.
  """

  explanation: Array
  masked_image: Array
  rate: Array
  rate_l0: Array
  penalty: Array
  slope: Masks


@split_over_devices
def render(
  method: BoundMethod,
  tile: Tile,
  nothing: tuple[()],
  batch: tuple[Problem, Weights, Masks],
) -> Rendered:
  """Pictures and terms of masks."""
  del tile, nothing
  problems, weights, masks = batch
  objective = method.objective
  grey, colour = (
    jax.vmap(functools.partial(function, objective))(problems, masks)
    for function in (objective_.explanation_image, objective_.masked_image)
  )
  (penalty, _), slope = penalties_and_slopes(method, masks, problems, weights)
  rates = jax.vmap(rate)(masks), jax.vmap(hard_rate)(masks)
  return Rendered(grey, colour, *rates, penalty, slope)
