"""The compiled programs: prepare, a segment of steps, evaluate, estimate, assess.

Each is a pure function of a :class:`~cawe_jax.methods.BoundMethod`, a network and a
batch of images. The batch axis is split over the devices of a
mesh; every device works on its own images and none talks to another.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from cawe_jax import objective as objective_
from cawe_jax.methods import BoundMethod
from cawe_jax.numerics.devices import local_mesh, split_images
from cawe_jax.numerics.tiles import Draws, Tile
from cawe_jax.objective import Classifier, Estimate, Problem, Terms, Weights
from cawe_jax.part import name_of
from cawe_jax.penalties import hard_rate, rate
from cawe_jax.solvers import Evaluation, SolverState, per_image
from cawe_jax.types import Array, History, Instance, Mask, Masks, Scalar

SEGMENT_STEPS = 10
"""Steps between two looks at a run; changes nothing but how often one can look."""

NUM_FRESH_DRAWS = 64
"""Draws on which a finished mask is assessed."""


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
    num_steps: Steps of the whole run; the schedule's progress is ``step / num_steps``.
    num_draws: Draws of each image in a step.
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


def split_over_devices(program):
  """Compile ``program(method, tile, classifier, replicated, batched)``.

  ``method``, ``classifier`` and ``replicated`` go to every device, ``batched`` (leading
  axis B) is split over the mesh; so is the result.
  """

  def split(
    method: BoundMethod,
    tile: Tile,
    mesh: Mesh,
    classifier: Classifier,
    replicated: Any,
    batched: Any,
  ):
    def run(
      method: BoundMethod, classifier: Classifier, replicated: Any, batched: Any
    ) -> Any:
      bound = functools.partial(network, classifier)
      return program(method, tile, bound, replicated, batched)

    return split_images(run, mesh)(method, classifier, replicated, batched)

  split.__name__ = program.__name__  # in logs and profiles
  return functools.wraps(program)(jax.jit(split, static_argnums=(1, 2)))


@jax.jit
def network(classifier: Classifier, images: Array) -> Array:
  """The network by itself, which is traced once for all programs."""
  return classifier(images)


def count_outputs(classifier: Classifier, shape: tuple[int, ...], dtype: Any) -> int:
  """How many numbers the network returns for images ``[N, H, W, C]``; runs nothing.

  It is traced as the programs do it, so that theirs find the trace.
  """
  mesh = local_mesh()
  images = jax.ShapeDtypeStruct((shape[0] * mesh.size, *shape[1:]), dtype)
  return jax.eval_shape(split_images(network, mesh), classifier, images).shape[1]


class ToPrepare(NamedTuple):
  """Images ``[B, H, W, C]``, targets ``[B]`` (-1: the predicted class), ids ``[B]``."""

  images: Array
  targets: Array
  image_ids: Array


class Prepared(NamedTuple):
  """Problems and first masks of B images."""

  problems: Problem
  initial_masks: Masks


@split_over_devices
def prepare(
  method: BoundMethod,
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
    problem = objective_.make_problem(method.objective, image, logits, target, key)
    instance = Instance(image, logits, target, method.objective.representation)
    mask = method.initial_mask.make(key, instance)
    return problem, mask

  return Prepared(*jax.vmap(one)(batch.images, clean_logits, targets, keys))


@jax.jit
def start(method: BoundMethod, masks: Masks, active: Array) -> Carry:
  """The carry before the first step; images that are not active are padding."""
  batch = active.shape[0]
  stopping = jax.tree.map(
    lambda x: jnp.broadcast_to(x, (batch, *jnp.shape(x))), method.stopping.init()
  )
  carry = Carry(
    method.solver.init(masks),
    stopping,
    active,
    jnp.zeros(batch, jnp.int32),
  )
  # Without weak types, which a step would make strong: another type, another program.
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x).type), carry)


@split_over_devices
def segment(
  method: BoundMethod,
  tile: Tile,
  classifier: Classifier,
  window: Window,
  batch: tuple[Problem, StepWeights, Carry],
) -> tuple[Carry, History]:
  """At most ``SEGMENT_STEPS`` steps; the history is NaN where nothing was done."""
  problems, step_weights, carry = batch
  size = carry.active.shape[0]
  blank = jnp.full((size, SEGMENT_STEPS), jnp.nan)
  names = _penalty_names(method)
  history = History(blank, blank, blank, blank, dict.fromkeys(names, blank))

  def body(index: Array, state: tuple[Carry, History]) -> tuple[Carry, History]:
    carry, history = state
    step = window.start + index
    carry, record = _step(
      method, tile, classifier, problems, step_weights, window, step, carry
    )
    written = jax.tree.map(lambda h, r: h.at[:, index].set(r), history, record)
    return carry, written

  return jax.lax.fori_loop(0, window.stop - window.start, body, (carry, history))


def _step(
  method: BoundMethod,
  tile: Tile,
  classifier: Classifier,
  problems: Problem,
  step_weights: StepWeights,
  window: Window,
  step: Array,
  carry: Carry,
) -> tuple[Carry, History]:
  """One step of every active image, and what to write down about it, ``[B]`` each."""
  objective = method.objective
  progress = step.astype(jnp.float32) / window.num_steps.astype(jnp.float32)
  multiplier = method.schedule.multiplier(
    progress, step_weights.weights.lagrange_multiplier
  )
  step_size = method.schedule.step_size(progress, step_weights.step_size)
  weights = step_weights.weights._replace(lagrange_multiplier=multiplier)
  draws = Draws(step, window.num_draws, carry.active)

  def oracle(masks: Masks) -> Evaluation:
    estimate, gradients = objective_.expected_distortion_and_gradients(
      objective, classifier, tile, problems, masks, draws
    )

    (value, terms), slope = _penalties(method, masks, problems, weights)
    report = estimate.distortion, terms
    excess = estimate.distortion - problems.clean_distortion
    return Evaluation(excess, *gradients, value, slope, report)

  solver, evaluation = method.solver.step(oracle, carry.solver, step_size)
  distortion, terms = evaluation.report
  value = distortion + evaluation.penalty
  stopping, stop = jax.vmap(method.stopping.update, (0, 0, None))(
    carry.stopping, value, progress
  )
  # Objectives with another multiplier than the image's own are no sign that it is done.
  final = step_weights.weights.lagrange_multiplier
  is_final = jnp.isclose(multiplier, final, rtol=1e-2, atol=0)
  stop &= is_final
  stopping = jax.tree.map(
    lambda new, first: jnp.where(per_image(is_final, new), new, first),
    stopping,
    method.stopping.init(),
  )
  active = carry.active

  def keep(new: Array, old: Array) -> Array:
    # Of the old one's type, whatever the parts of a method computed in.
    return jnp.where(per_image(active, new), new.astype(old.dtype), old)

  record = History(
    value,
    distortion,
    terms.rate,
    multiplier,
    dict(zip(_penalty_names(method), terms.penalties, strict=True)),
  )
  return (
    Carry(
      jax.tree.map(keep, solver, carry.solver),
      jax.tree.map(keep, stopping, carry.stopping),
      active & ~stop,
      carry.num_steps + active.astype(jnp.int32),
    ),
    jax.tree.map(lambda x: jnp.where(active, x, jnp.nan), record),
  )


def _penalties(
  method: BoundMethod, masks: Masks, problems: Problem, weights: Weights
) -> tuple[tuple[Array, Terms], Masks]:
  """Sums ``[B]`` of the weighted terms that no draw enters, the terms, gradients."""

  def penalty(mask: Mask, problem: Problem, weights: Weights) -> tuple[Scalar, Terms]:
    terms = objective_.terms(method.objective, problem, mask)
    return objective_.weighted(weights, terms), terms

  return jax.vmap(jax.value_and_grad(penalty, has_aux=True))(masks, problems, weights)


def _penalty_names(method: BoundMethod) -> list[str]:
  return [name_of(penalty) for penalty in method.objective.penalties]


@split_over_devices
def evaluate(
  method: BoundMethod,
  tile: Tile,
  classifier: Classifier,
  draws: tuple[Array, Array],
  batch: tuple[Problem, Weights, Masks, Array],
) -> tuple[Estimate, Masks, Masks]:
  """Distortion on the draws ``(step, count)``, its gradient, and the penalties'."""
  problems, weights, masks, active = batch
  estimate, gradients = objective_.expected_distortion_and_gradients(
    method.objective, classifier, tile, problems, masks, Draws(*draws, active)
  )
  _, slope = _penalties(method, masks, problems, weights)
  return estimate, gradients.distortion, slope


@split_over_devices
def estimate(
  method: BoundMethod,
  tile: Tile,
  classifier: Classifier,
  draws: tuple[Array, Array],
  batch: tuple[Problem, Masks, Array],
) -> Estimate:
  """As :func:`evaluate`, without the gradient."""
  problems, masks, active = batch
  return objective_.expected_distortion(
    method.objective, classifier, tile, problems, masks, Draws(*draws, active)
  )


@split_over_devices
def assess(
  method: BoundMethod,
  tile: Tile,
  classifier: Classifier,
  draws: tuple[Array, Array],
  batch: tuple[Problem, Weights, Masks, Array],
) -> Assessment:
  """All that is known of masks, on the draws ``(step, count)``."""
  problems, weights, masks, active = batch
  objective = method.objective
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


def rows_of(tile: Tile, batch: int) -> int:
  """How many of B images go through the network at once, when there are no draws."""
  return min(tile.images * tile.draws * tile.calls, batch)


def _in_tiles(classifier: Classifier, images: Array, tile: Tile) -> Array:
  """Outputs ``[B, K]``, as many images at once as the tile has rows."""
  batch = images.shape[0]
  rows = rows_of(tile, batch)
  padded = jnp.pad(images, ((0, -batch % rows), (0, 0), (0, 0), (0, 0)))
  logits = jax.lax.map(classifier, padded.reshape(-1, rows, *images.shape[1:]))
  return logits.reshape(-1, logits.shape[-1])[:batch]
