"""The compiled programs: prepare, a segment of steps, evaluate, estimate, assess.

Each is a pure function of data for a batch of images, made for a hashable
:class:`~cawe_jax.methods.Structure`. The batch axis is split over the devices of a
mesh; every device works on its own images and none talks to another.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from cawe_jax import contracts
from cawe_jax import objective as objective_
from cawe_jax.devices import split_images
from cawe_jax.methods import Structure
from cawe_jax.objective import Classifier, Estimate, Problem, Terms, Weights
from cawe_jax.penalties import hard_rate, rate
from cawe_jax.solvers import Evaluation, SolverState, per_image
from cawe_jax.tiles import Draws, Tile
from cawe_jax.types import Array, History, Mask

SEGMENT_STEPS = 10
"""Steps between two looks at a run; changes nothing but how often one can look."""

NUM_FRESH_DRAWS = 64
"""Draws on which a finished mask is assessed."""

FRESH_STEP = 2**32 - 1
"""The step whose draws assess a mask; no run has as many steps."""


class StepWeights(NamedTuple):
  """Weights of B images and the solver's full step size, each ``[B]``."""

  weights: Weights
  step_size: Array


class Carry(NamedTuple):
  """All that goes from one step to the next, for B images.

  Attributes:
    solver: Masks and the solver's memory.
    stopping: The stopping rule's memory.
    active: Which images go on, ``[B]``.
    num_steps: Steps done, ``[B]``.
  """

  solver: SolverState
  stopping: Any
  active: Array
  num_steps: Array


class Window(NamedTuple):
  """Which steps a segment does, as int scalars.

  Attributes:
    start: First step.
    stop: One past the last.
    num_steps: Of the whole run; the schedule's progress is ``step / num_steps``.
    num_draws: Per step and image.
  """

  start: Array
  stop: Array
  num_steps: Array
  num_draws: Array


class Assessment(NamedTuple):
  """What is known of B masks at the end; see :class:`cawe_jax.types.Explanation`."""

  explanation: Array
  masked_image: Array
  score: Array
  masked_score: Array
  masked_agreement: Array
  estimate: Estimate
  rate: Array
  rate_l0: Array
  objective: Array


def _split_over_devices(program):
  """Compile ``program(structure, tile, classifier, replicated, batched)``.

  ``classifier`` and ``replicated`` go to every device, ``batched`` (leading axis B) is
  split over the mesh; so is the result.
  """

  def split(
    structure: Structure,
    tile: Tile,
    mesh: Mesh,
    classifier: Classifier,
    replicated: Any,
    batched: Any,
  ):
    def run(classifier: Classifier, replicated: Any, batched: Any) -> Any:
      bound = functools.partial(network, classifier)
      return program(structure, tile, bound, replicated, batched)

    return split_images(run, mesh)(classifier, replicated, batched)

  split.__name__ = program.__name__  # in logs and profiles
  return functools.wraps(program)(jax.jit(split, static_argnums=(0, 1, 2)))


@jax.jit
def network(classifier: Classifier, images: Array) -> Array:
  """The network by itself, which is traced once for all programs."""
  return classifier(images)


class ToPrepare(NamedTuple):
  """Images ``[B, H, W, C]``, targets ``[B]`` (-1: the predicted class), ids ``[B]``."""

  images: Array
  targets: Array
  image_ids: Array


class Prepared(NamedTuple):
  """Problems and first masks of B images."""

  problems: Problem
  initial_masks: Mask


@_split_over_devices
def prepare(
  structure: Structure,
  tile: Tile,
  classifier: Classifier,
  key: Array,
  batch: ToPrepare,
) -> Prepared:
  """What a run starts from."""
  clean_logits = _in_tiles(classifier, batch.images, tile)
  targets = jnp.where(batch.targets < 0, jnp.argmax(clean_logits, -1), batch.targets)
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch.image_ids)

  def one(image: Array, logits: Array, target: Array, key: Array):
    problem = objective_.make_problem(structure.objective, image, logits, target, key)
    mask = structure.initial_mask.make(key, structure.objective.representation)
    return problem, mask

  return Prepared(*jax.vmap(one)(batch.images, clean_logits, targets, keys))


@functools.partial(jax.jit, static_argnums=0)
def start(structure: Structure, masks: Mask, active: Array) -> Carry:
  """The carry before the first step; images that are not active are padding."""
  batch = active.shape[0]
  stopping = jax.tree.map(
    lambda x: jnp.broadcast_to(x, (batch, *jnp.shape(x))), structure.stopping.init()
  )
  carry = Carry(
    structure.solver.init(masks),
    stopping,
    active,
    jnp.zeros(batch, jnp.int32),
  )
  # Without weak types, which a step would make strong: another type, another program.
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x).type), carry)


@_split_over_devices
def segment(
  structure: Structure,
  tile: Tile,
  classifier: Classifier,
  window: Window,
  batch: tuple[Problem, StepWeights, Carry],
) -> tuple[Carry, History]:
  """At most ``SEGMENT_STEPS`` steps; the history is NaN where nothing was done."""
  problems, step_weights, carry = batch
  size = carry.active.shape[0]
  blank = jnp.full((size, SEGMENT_STEPS), jnp.nan)
  names = _penalty_names(structure)
  history = History(blank, blank, blank, blank, dict.fromkeys(names, blank))

  def body(index: Array, state: tuple[Carry, History]) -> tuple[Carry, History]:
    carry, history = state
    step = window.start + index
    carry, record = _step(
      structure, tile, classifier, problems, step_weights, window, step, carry
    )
    written = jax.tree.map(lambda h, r: h.at[:, index].set(r), history, record)
    return carry, written

  return jax.lax.fori_loop(0, window.stop - window.start, body, (carry, history))


def _step(
  structure: Structure,
  tile: Tile,
  classifier: Classifier,
  problems: Problem,
  step_weights: StepWeights,
  window: Window,
  step: Array,
  carry: Carry,
) -> tuple[Carry, History]:
  """One step of every active image, and what to write down about it, ``[B]`` each."""
  objective = structure.objective
  progress = step / window.num_steps
  multiplier = structure.schedule.multiplier(
    progress, step_weights.weights.lagrange_multiplier
  )
  step_size = structure.schedule.step_size(progress, step_weights.step_size)
  weights = step_weights.weights._replace(lagrange_multiplier=multiplier)
  draws = Draws(step, window.num_draws, carry.active)

  def oracle(masks: Mask) -> Evaluation:
    estimate, gradients = objective_.expected_distortion_and_gradients(
      objective, classifier, tile, problems, masks, draws
    )

    (value, terms), slope = _penalties(structure, masks, problems, weights)
    report = estimate.distortion, terms
    excess = estimate.distortion - problems.clean_distortion
    return Evaluation(excess, *gradients, value, slope, report)

  solver, evaluation = structure.solver.step(oracle, carry.solver, step_size)
  distortion, terms = evaluation.report
  value = distortion + evaluation.penalty
  stopping, stop = jax.vmap(structure.stopping.update, (0, 0, None))(
    carry.stopping, value, progress
  )
  # Objectives with another multiplier than the image's own are no sign that it is done.
  final = step_weights.weights.lagrange_multiplier
  is_final = jnp.isclose(multiplier, final, rtol=1e-2, atol=0)
  stop &= is_final
  stopping = jax.tree.map(
    lambda new, first: jnp.where(per_image(is_final, new), new, first),
    stopping,
    structure.stopping.init(),
  )
  active = carry.active

  def keep(new: Array, old: Array) -> Array:
    return jnp.where(per_image(active, new), new, old)

  record = History(
    value,
    distortion,
    terms.rate,
    multiplier,
    dict(zip(_penalty_names(structure), terms.penalties, strict=True)),
  )
  return (
    Carry(
      jax.tree.map(keep, solver, carry.solver),
      jax.tree.map(keep, stopping, carry.stopping),
      active & ~stop,
      carry.num_steps + active,
    ),
    jax.tree.map(lambda x: jnp.where(active, x, jnp.nan), record),
  )


def _penalties(
  structure: Structure, masks: Mask, problems: Problem, weights: Weights
) -> tuple[tuple[Array, Terms], Mask]:
  """Sums ``[B]`` of the weighted terms that no draw enters, the terms, gradients."""

  def penalty(mask: Mask, problem: Problem, weights: Weights) -> tuple[Array, Terms]:
    terms = objective_.terms(structure.objective, problem, mask)
    return objective_.weighted(weights, terms), terms

  return jax.vmap(jax.value_and_grad(penalty, has_aux=True))(masks, problems, weights)


def _penalty_names(structure: Structure) -> list[str]:
  return [contracts.name_of(penalty) for penalty in structure.objective.penalties]


@_split_over_devices
def evaluate(
  structure: Structure,
  tile: Tile,
  classifier: Classifier,
  draws: tuple[Array, Array],
  batch: tuple[Problem, Weights, Mask, Array],
) -> tuple[Estimate, Mask, Mask]:
  """Distortion on the draws ``(step, count)``, its gradient, and the penalties'."""
  problems, weights, masks, active = batch
  estimate, gradients = objective_.expected_distortion_and_gradients(
    structure.objective, classifier, tile, problems, masks, Draws(*draws, active)
  )
  _, slope = _penalties(structure, masks, problems, weights)
  return estimate, gradients.distortion, slope


@_split_over_devices
def estimate(
  structure: Structure,
  tile: Tile,
  classifier: Classifier,
  draws: tuple[Array, Array],
  batch: tuple[Problem, Mask, Array],
) -> Estimate:
  """As :func:`evaluate`, without the gradient."""
  problems, masks, active = batch
  return objective_.expected_distortion(
    structure.objective, classifier, tile, problems, masks, Draws(*draws, active)
  )


@_split_over_devices
def assess(
  structure: Structure,
  tile: Tile,
  classifier: Classifier,
  draws: tuple[Array, Array],
  batch: tuple[Problem, Weights, Mask, Array],
) -> Assessment:
  """All that is known of masks, on the draws ``(step, count)``."""
  problems, weights, masks, active = batch
  objective = structure.objective
  estimate = objective_.expected_distortion(
    objective, classifier, tile, problems, masks, Draws(*draws, active)
  )
  render = functools.partial(jax.vmap, in_axes=(0, 0))
  masked = render(functools.partial(objective_.masked_image, objective))(
    problems, masks
  )
  terms = render(functools.partial(objective_.terms, objective))(problems, masks)

  score = jax.vmap(objective.output.score)
  masked_logits = _in_tiles(classifier, masked, tile)
  return Assessment(
    render(functools.partial(objective_.explanation_image, objective))(problems, masks),
    masked,
    score(problems.clean_logits, problems.target),
    score(masked_logits, problems.target),
    jax.vmap(objective.output.is_predicted)(masked_logits, problems.target),
    estimate,
    jax.vmap(rate)(masks),
    jax.vmap(hard_rate)(masks),
    estimate.distortion + jax.vmap(objective_.weighted)(weights, terms),
  )


def _in_tiles(classifier: Classifier, images: Array, tile: Tile) -> Array:
  """Outputs ``[B, K]``, as many images at once as the tile has rows."""
  batch = images.shape[0]
  rows = min(tile.images * tile.draws * tile.calls, batch)
  padded = jnp.pad(images, ((0, -batch % rows), (0, 0), (0, 0), (0, 0)))
  logits = jax.lax.map(classifier, padded.reshape(-1, rows, *images.shape[1:]))
  return logits.reshape(-1, logits.shape[-1])[:batch]
