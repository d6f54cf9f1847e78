"""A batch of images on the devices, and the compiled programs applied to it.

It pads the batch so that it divides among the devices, places data the same way every
time, so that a program is found again, and halves the rows of a network call as long as
memory does not suffice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding

from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.engine import checks, programs
from cawe_jax.engine.programs import Assessment, Carry, StepWeights, ToPrepare, Window
from cawe_jax.methods import Method, contracts
from cawe_jax.numerics.devices import EVERYWHERE, SPLIT, halve_rows, local_mesh
from cawe_jax.numerics.streams import Stream
from cawe_jax.numerics.tiles import Tile, fit_tile
from cawe_jax.objective import Estimate, Weights
from cawe_jax.part import name_of
from cawe_jax.types import Array, History, Masks

T = TypeVar("T")

# Rows of one network call on a device. Four keep the activations in a CPU's cache; an
# accelerator wants many.
_ROWS = {"cpu": 4}
_ROWS_ELSEWHERE = 256
# Calls side by side, of steps alone. Two keep cores busy that wait for a third of the
# time where there is one. Each is compiled by itself: a program that runs a few times
# would take longer to compile than it saves.
_CALLS = {"cpu": 2}


class Session:
  """One batch and one method; everything it returns has the batch's own size B.

  Attributes:
    size: Number B of images.
    classifier: On all devices.
    lagrange_multiplier: The multiplier of each image, ``[B]``.
    method: The method, bound to the images' shape and the network's outputs.
    perturbation: The method's.
    output: The classifier's.
    num_draws: Draws per step and image: 1 where every draw is the same.
    rows: Obfuscations that the network gets at once on each device.
    active: Which of the padded images are the batch's own.
    problems: See :class:`cawe_jax.objective.Problem`; padded.
    initial_masks: Where the method starts; padded.
  """

  def __init__(
    self,
    classifier: Classifier,
    images: Array | np.ndarray,
    method: Method,
    *,
    key: Array,
    targets: Any,
    image_ids: Any,
    rows: int | None,
  ):
    contracts.check_method(method)
    key = checks.check_key(key)
    if rows is not None:
      contracts.check_count("rows", rows)
    batch = checks.check_images(images)
    self._is_single = np.ndim(images) == 3
    self.size = len(batch)
    self.output = classifier.output
    self.perturbation = method.perturbation
    self.num_draws = self.num_different(method.recipe.num_draws)
    self.rows = rows or _ROWS.get(jax.default_backend(), _ROWS_ELSEWHERE)
    self._mesh = local_mesh()
    self._everywhere = NamedSharding(self._mesh, EVERYWHERE)
    self.classifier = jax.device_put(classifier.settled(batch), self._everywhere)
    self.active = np.arange(self._padded_size()) < self.size
    tile = self._tile(self.rows, calls=1)
    shape = programs.rows_of(tile, self._share()), *batch.shape[1:]
    num_outputs = programs.count_outputs(self.classifier, shape, batch.dtype)
    bound = method.bind(batch.shape[1:], num_outputs, self.output)
    self.method = jax.device_put(bound, self._everywhere)
    given = checks.check_targets(classifier, targets, self.size)
    wanted = np.full(self.size, -1) if given is None else given
    ids = checks.check_ids(image_ids, batch)
    self._weights = self.pad(StepWeights(*_weights(method, self.size)))
    # A copy, which stays as it is when the caller's array changes.
    self.lagrange_multiplier = np.array(
      self._weights.weights.lagrange_multiplier[: self.size]
    )
    asked = self.pad(ToPrepare(batch, wanted.astype(np.int32), ids))
    self.problems, self.initial_masks = self.run(programs.prepare, key, asked)
    logits = np.asarray(self.problems.clean_logits)[: self.size]
    checks.check_logits(logits, wanted, classifier, method)

  def batched(self, tree: T) -> T:
    """What the caller gave, with an axis of images where there was one image."""
    return (
      jax.tree.map(lambda x: np.asarray(x)[None], tree) if self._is_single else tree
    )

  def answer(self, tree: T) -> T:
    """What the caller gets: without the axis of images where there was one image."""
    return jax.tree.map(lambda x: x[0], tree) if self._is_single else tree

  def start(self, masks: Masks | None = None) -> Carry:
    """The carry before the first step, from the given masks or the method's own."""
    if masks is None:
      masks = self.initial_masks
    else:
      shapes = [(self.size, *leaf.shape[1:]) for leaf in self.initial_masks]
      masks = self.pad(checks.check_masks("initial_masks", masks, shapes))
    active = jax.device_put(self.active)
    return programs.start(self.method, masks, active)

  def segment(self, carry: Carry, window: Window) -> tuple[Carry, History]:
    """See :func:`cawe_jax.engine.programs.segment`; the carry stays padded."""
    batch = self.problems, self._weights, carry
    calls = _CALLS.get(jax.default_backend(), 1)
    carry, history = self.run(programs.segment, window, batch, calls)
    return carry, self.crop(history)

  def assess(self, masks: Masks) -> Assessment:
    """See :func:`cawe_jax.engine.programs.assess`; on draws that no run sees."""
    count = self.num_different(programs.NUM_FRESH_DRAWS)
    return self._assess(masks, Stream.REPORT, count)

  def objective(self, masks: Masks, step: int, count: int) -> np.ndarray:
    """Distortion on ``count`` draws of a step and weighted terms, ``[B]``."""
    return self._assess(masks, step, count).objective

  def _assess(self, masks: Masks, step: int, count: int) -> Assessment:
    draws = np.uint32(step), np.int32(count)
    batch = self.problems, self._weights.weights, self.pad(masks), self.active
    return self.crop(self.run(programs.assess, draws, batch))

  def run(
    self, program: Callable, replicated: Any, batched: Any, calls: int = 1
  ) -> Any:
    """Run a program of :func:`cawe_jax.engine.programs.split_over_devices`.

    Args:
      program: It gets the method, the tile that fits, and the network.
      replicated: Goes to every device.
      batched: Padded, with a leading axis of images, which is split.
      calls: How many calls of the network there are side by side, if they fit.
    """
    split = NamedSharding(self._mesh, SPLIT)
    replicated = jax.device_put(replicated, self._everywhere)
    batched = jax.device_put(batched, split)

    def in_calls(rows: int) -> Any:
      static = self._tile(rows, calls), self._mesh
      return program(self.method, *static, self.classifier, replicated, batched)

    result, self.rows = halve_rows(in_calls, self.rows)
    return result

  def num_different(self, count: int) -> int:
    """How many of so many draws differ: 1 where every draw is the same."""
    return count if self.perturbation.is_random else 1

  def standard_error(self, estimate: Estimate, count: int) -> np.ndarray:
    """The standard error of a mean distortion over ``count`` draws, ``[B]``.

    0 where every draw is the same, NaN where a single one of many says nothing of it.
    """
    if not self.perturbation.is_random:
      return np.zeros_like(estimate.distortion)
    # The mean of squares minus the square of the mean is the biased variance.
    variance = np.maximum(estimate.distortion_square - estimate.distortion**2, 0)
    return (
      np.sqrt(variance / (count - 1)) if count > 1 else np.full_like(variance, np.nan)
    )

  def evaluate(
    self, masks: Masks, step: int, count: int
  ) -> tuple[Estimate, Masks, Masks]:
    """Distortion on ``count`` draws of a step, its gradient, and the penalties'."""
    draws = np.uint32(step), np.int32(count)
    batch = self.problems, self._weights.weights, self.pad(masks), self.active
    return self.crop(self.run(programs.evaluate, draws, batch))

  def estimate(self, masks: Masks, step: int, count: int) -> Estimate:
    """As :meth:`evaluate`, without the gradient, which costs half as much."""
    draws = np.uint32(step), np.int32(count)
    batch = self.problems, self.pad(masks), self.active
    return self.crop(self.run(programs.estimate, draws, batch))

  def crop(self, tree: Any) -> Any:
    """Without the padding, as NumPy arrays."""
    return jax.tree.map(lambda x: np.asarray(x)[: self.size], tree)

  def _share(self) -> int:
    """Images of each device, padding included.

    A power of two, so that few batch sizes are ever compiled; padding is never active
    and costs memory only.
    """
    return 1 << (-(-self.size // self._mesh.size) - 1).bit_length()

  def _padded_size(self) -> int:
    return self._share() * self._mesh.size

  def pad(self, tree: Any) -> Any:
    """As NumPy arrays that divide among the devices; the first image is repeated."""
    padding = self._padded_size() - self.size

    def pad(x: np.ndarray) -> np.ndarray:
      x = np.asarray(x)
      return np.concatenate([x, np.repeat(x[:1], padding, axis=0)]) if padding else x

    return jax.tree.map(pad, tree)

  def _tile(self, rows: int, calls: int) -> Tile:
    return fit_tile(rows, self._share(), self.num_draws, calls)


def _weights(method: Method, batch: int) -> tuple[Weights, np.ndarray]:
  def spread(name: str, value: Any) -> np.ndarray:
    if np.shape(value) not in ((), (batch,)):
      raise ValueError(
        f"{name} has shape {np.shape(value)}; it must be one number or one for each of "
        f"{batch} images"
      )
    return np.broadcast_to(np.asarray(value, np.float32), (batch,))

  penalties = tuple(
    spread(f"weight of {name_of(penalty)}", weight)
    for penalty, weight in zip(method.penalties, method.penalty_weights, strict=True)
  )
  multiplier = spread("lagrange_multiplier", method.lagrange_multiplier)
  return Weights(multiplier, penalties), spread("step_size", method.recipe.step_size)
