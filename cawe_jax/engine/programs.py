"""The compiled programs of a search: prepare, start, a segment of steps.

Each is a pure function of a :class:`~cawe_jax.methods.BoundMethod`, a network and a
batch of images. The batch axis is split over the devices of a mesh; every device works
on its own images and none talks to another. :mod:`cawe_jax.engine.judging` has those
that judge what was found.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from cawe_jax import objective as objective_
from cawe_jax.methods import BoundMethod
from cawe_jax.numerics.devices import local_mesh, split_images
from cawe_jax.numerics.tiles import Draws, Tile
from cawe_jax.objective import Classifier, Estimate, Problem, Terms, Weights
from cawe_jax.part import name_of
from cawe_jax.solvers import Evaluation, SolverState, per_image
from cawe_jax.types import Array, History, Instance, Mask, Masks, Scalar

SEGMENT_STEPS = 10
"""Steps between two looks at a run; changes nothing but how often one can look."""


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
  """Which steps a segment does.

  Attributes:
    start: First step, as all steps a uint32 scalar.
    stop: One past the last.
    num_steps: Steps of the whole run; the schedule's progress is ``step / num_steps``.
    num_draws: Draws of each image in a step, an int32 scalar.
  """

  start: Array
  stop: Array
  num_steps: Array
  num_draws: Array

  @classmethod
  def of(cls, start: int, stop: int, num_steps: int, num_draws: int) -> Window:
    """Of numbers, each of its type."""
    whole = np.uint32(num_steps)
    return cls(np.uint32(start), np.uint32(stop), whole, np.int32(num_draws))


class LastStep(NamedTuple):
  """What the last step of a segment saw of the B masks before it.

  Attributes:
    estimate: Means over its draws.
    gradient: The gradient of the mean distortion by the masks.
  """

  estimate: Estimate
  gradient: Masks


def split_over_devices(program: Callable[..., Any]) -> Callable[..., Any]:
  """Compile ``program(*shapes, everywhere, batch)``, once for each mesh and shapes.

  ``everywhere`` goes to every device, ``batch`` (leading axis B) is split over the
  mesh; so is the result. It is called with the mesh, a tuple of the shapes, such as
  ``(tile,)`` or ``()``, and both.
  """

  def split(mesh: Mesh, shapes: tuple[Tile, ...], everywhere: Any, batch: Any) -> Any:
    return split_images(functools.partial(program, *shapes), mesh)(everywhere, batch)

  split.__name__ = program.__name__  # in logs and profiles
  return functools.wraps(program)(jax.jit(split, static_argnums=(0, 1)))


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
  """What is known of B images before a run.

  Attributes:
    images: ``[B, H, W, C]``.
    clean_logits: What the network says of them, ``[B, K]``.
    targets: ``[B]``; -1 for the class of the largest output.
    image_ids: ``[B]``.
  """

  images: Array
  clean_logits: Array
  targets: Array
  image_ids: Array


class Prepared(NamedTuple):
  """Problems and first masks of B images."""

  problems: Problem
  initial_masks: Masks


@split_over_devices
def prepare(everywhere: tuple[BoundMethod, Array], batch: ToPrepare) -> Prepared:
  """What a run starts from; everywhere are the method and the key."""
  method, key = everywhere
  largest = jnp.argmax(batch.clean_logits, -1)
  targets = jnp.where(batch.targets < 0, largest, batch.targets)
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch.image_ids)

  def one(image: Array, logits: Array, target: Array, key: Array):
    problem = objective_.make_problem(method.objective, image, logits, target, key)
    instance = Instance(image, logits, target, method.objective.representation)
    mask = method.initial_mask.make(key, instance)
    return problem, mask

  return Prepared(*jax.vmap(one)(batch.images, batch.clean_logits, targets, keys))


@split_over_devices
def start(method: BoundMethod, batch: tuple[Masks, Array]) -> Carry:
  """The carry before the first step; images that are not active are padding."""
  masks, active = batch
  size = active.shape[0]
  stopping = jax.tree.map(
    lambda x: jnp.broadcast_to(x, (size, *jnp.shape(x))), method.stopping.init()
  )
  carry = Carry(
    method.solver.init(masks),
    stopping,
    active,
    jnp.zeros(size, jnp.int32),
  )
  # Without weak types, which a step would make strong: another type, another program.
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x).type), carry)


@split_over_devices
def segment(
  tile: Tile,
  everywhere: tuple[BoundMethod, Classifier, Window],
  batch: tuple[Problem, StepWeights, Carry],
) -> tuple[Carry, History, LastStep]:
  """At most ``SEGMENT_STEPS`` steps; the history is NaN where nothing was done.

  A segment of one step tells the gradient at any masks, so that nothing else has the
  network's gradient in it, which takes longest to compile.
  """
  method, classifier, window = everywhere
  problems, step_weights, carry = batch
  classifier = functools.partial(network, classifier)
  size = carry.active.shape[0]
  blank = jnp.full((size, SEGMENT_STEPS), jnp.nan)
  names = _penalty_names(method)
  history = History(blank, blank, blank, blank, dict.fromkeys(names, blank))
  nothing = jax.tree.map(jnp.zeros_like, carry.solver.mask)
  none = jnp.zeros(size, jnp.float32)
  last = LastStep(Estimate(*[none] * len(Estimate._fields)), nothing)
  state = carry, history, last

  def body(
    index: Array, state: tuple[Carry, History, LastStep]
  ) -> tuple[Carry, History, LastStep]:
    carry, history, _ = state
    step = window.start + index
    carry, record, last = _step(
      method, tile, classifier, problems, step_weights, window, step, carry
    )
    written = jax.tree.map(lambda h, r: h.at[:, index].set(r), history, record)
    return carry, written, jax.tree.map(lambda x, y: x.astype(y.dtype), last, state[2])

  return jax.lax.fori_loop(np.uint32(0), window.stop - window.start, body, state)


def _step(
  method: BoundMethod,
  tile: Tile,
  classifier: Classifier,
  problems: Problem,
  step_weights: StepWeights,
  window: Window,
  step: Array,
  carry: Carry,
) -> tuple[Carry, History, LastStep]:
  """One step of every active image, what to write down of it, and what it saw."""
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

    (value, terms), slope = penalties_and_slopes(method, masks, problems, weights)
    report = estimate, terms
    excess = estimate.distortion - problems.clean_distortion
    return Evaluation(excess, *gradients, value, slope, report)

  solver, evaluation = method.solver.step(oracle, carry.solver, step_size)
  estimate, terms = evaluation.report
  value = estimate.distortion + evaluation.penalty
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
    estimate.distortion,
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
    LastStep(estimate, evaluation.gradient),
  )


def penalties_and_slopes(
  method: BoundMethod, masks: Masks, problems: Problem, weights: Weights
) -> tuple[tuple[Array, Terms], Masks]:
  """Sums ``[B]`` of the weighted terms that no draw enters, the terms, gradients."""

  def penalty(mask: Mask, problem: Problem, weights: Weights) -> tuple[Scalar, Terms]:
    terms = objective_.terms(method.objective, problem, mask)
    return objective_.weighted(weights, terms), terms

  return jax.vmap(jax.value_and_grad(penalty, has_aux=True))(masks, problems, weights)


def _penalty_names(method: BoundMethod) -> list[str]:
  return [name_of(penalty) for penalty in method.objective.penalties]
