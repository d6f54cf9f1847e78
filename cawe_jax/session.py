"""A batch of images on the devices, and the compiled programs applied to it.

It pads the batch so that it divides among the devices, places data the same way every
time, so that a program is found again, and halves the rows of a network call as long as
memory does not suffice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from cawe_jax import checks, contracts, programs
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.devices import EVERYWHERE, SPLIT, local_mesh
from cawe_jax.methods import Method
from cawe_jax.objective import Estimate, Weights
from cawe_jax.programs import Assessment, Carry, StepWeights, ToPrepare, Window
from cawe_jax.tiles import Tile, fit_tile
from cawe_jax.types import Array, History, Mask

# Rows of one network call on a device. Four keep the activations in a CPU's cache; an
# accelerator wants many.
_ROWS = {"cpu": 4}
_ROWS_ELSEWHERE = 256
# Calls side by side. Two keep cores busy that wait for a third of the time where there
# is one. Each is compiled by itself, so that more would take longer to start.
_CALLS = {"cpu": 2}


class Session:
  """One batch and one method; everything it returns has the batch's own size B.

  Attributes:
    size: Number B of images.
    lagrange_multiplier: Of each image, ``[B]``.
    perturbation: The method's.
    output: The classifier's.
    num_draws: Draws per step and image: 1 where every draw is the same.
    rows: Obfuscations that the network gets at once on each device.
    problems: See :class:`cawe_jax.objective.Problem`; padded.
    initial_masks: Where the method starts; padded.
  """

  def __init__(
    self,
    classifier: Classifier,
    images: np.ndarray,
    method: Method,
    *,
    key: Array,
    targets: Any,
    image_ids: Any,
    rows: int | None,
  ):
    checks.check_method(method)
    checks.check_key(key)
    if rows is not None and rows < 1:
      raise ValueError(f"rows is {rows}; it must be at least 1")
    self.size = len(images)
    self.output = classifier.output
    self._structure = method.bind(images.shape[1:], self.output)
    checks.check_structure(self._structure)
    self._mesh = local_mesh()
    self._everywhere = NamedSharding(self._mesh, EVERYWHERE)
    self._classifier = jax.device_put(classifier, self._everywhere)
    self.rows = rows or _ROWS.get(jax.default_backend(), _ROWS_ELSEWHERE)
    recipe = method.recipe
    self.perturbation = method.perturbation
    self.num_draws = self.num_different(recipe.num_draws)
    given = checks.check_integers("targets", targets, self.size)
    wanted = np.full(self.size, -1) if given is None else given
    ids = checks.check_ids(image_ids, images)
    self._weights = self._pad(StepWeights(*_weights(method, self.size)))
    # A copy, which stays as it is when the caller's array changes.
    self.lagrange_multiplier = np.array(
      self._weights.weights.lagrange_multiplier[: self.size]
    )
    self._active = np.arange(len(self._weights.step_size)) < self.size
    batch = self._pad(ToPrepare(images, wanted.astype(np.int32), ids))
    try:
      prepared = self._run(programs.prepare, key, batch)
    except Exception:
      # Inside a program an error is JAX's, of many lines; this one names the part.
      self._check_distortion(jax.eval_shape(classifier, images[:1]).shape[1])
      raise
    self.problems, self.initial_masks = prepared
    logits = np.asarray(self.problems.clean_logits)[: self.size]
    checks.check_logits(logits, wanted, classifier, method)
    self._check_distortion(logits.shape[1])

  def start(self, masks: Mask | None = None) -> Carry:
    """The carry before the first step, from the given masks or the method's own."""
    if masks is None:
      masks = self.initial_masks
    else:
      shapes = [(self.size, *leaf.shape[1:]) for leaf in self.initial_masks]
      masks = self._pad(checks.check_masks("initial_masks", masks, shapes))
    active = jax.device_put(self._active)
    return programs.start(self._structure, masks, active)

  def segment(self, carry: Carry, window: Window) -> tuple[Carry, History]:
    """See :func:`cawe_jax.programs.segment`; the carry stays padded."""
    batch = self.problems, self._weights, carry
    carry, history = self._run(programs.segment, window, batch)
    return carry, self.crop(history)

  def assess(self, masks: Mask) -> Assessment:
    """See :func:`cawe_jax.programs.assess`; on draws that no run sees."""
    count = self.num_different(programs.NUM_FRESH_DRAWS)
    return self._assess(masks, programs.FRESH_STEP, count)

  def objective(self, masks: Mask, step: int, count: int) -> np.ndarray:
    """Distortion on ``count`` draws of a step and weighted terms, ``[B]``."""
    return self._assess(masks, step, count).objective

  def _assess(self, masks: Mask, step: int, count: int) -> Assessment:
    draws = np.uint32(step), np.int32(count)
    batch = self.problems, self._weights.weights, self._pad(masks), self._active
    return self.crop(self._run(programs.assess, draws, batch))

  def num_different(self, count: int) -> int:
    """Of so many draws: 1 where every draw is the same."""
    return count if self.perturbation.is_random else 1

  def standard_error(self, estimate: Estimate, count: int) -> np.ndarray:
    """Of the mean distortion over ``count`` draws, ``[B]``.

    0 where every draw is the same, NaN where a single one of many says nothing of it.
    """
    if not self.perturbation.is_random:
      return np.zeros_like(estimate.distortion)
    # The mean of squares minus the square of the mean is the biased variance.
    variance = np.maximum(estimate.distortion_square - estimate.distortion**2, 0)
    return (
      np.sqrt(variance / (count - 1)) if count > 1 else np.full_like(variance, np.nan)
    )

  def evaluate(self, masks: Mask, step: int, count: int) -> tuple[Estimate, Mask, Mask]:
    """Distortion on ``count`` draws of a step, its gradient, and the penalties'."""
    draws = np.uint32(step), np.int32(count)
    batch = self.problems, self._weights.weights, self._pad(masks), self._active
    return self.crop(self._run(programs.evaluate, draws, batch))

  def estimate(self, masks: Mask, step: int, count: int) -> Estimate:
    """As :meth:`evaluate`, without the gradient, which costs half as much."""
    draws = np.uint32(step), np.int32(count)
    batch = self.problems, self._pad(masks), self._active
    return self.crop(self._run(programs.estimate, draws, batch))

  def crop(self, tree: Any) -> Any:
    """Without the padding, as NumPy arrays."""
    return jax.tree.map(lambda x: np.asarray(x)[: self.size], tree)

  def _check_distortion(self, num_outputs: int) -> None:
    contracts.check_distortion(self._structure.objective.distortion, num_outputs)

  def _pad(self, tree: Any) -> Any:
    # A power of two for each device, so that few batch sizes are ever compiled; padding
    # is never active and costs memory only.
    per_device = -(-self.size // self._mesh.size)
    padding = (1 << (per_device - 1).bit_length()) * self._mesh.size - self.size

    def pad(x: np.ndarray) -> np.ndarray:
      x = np.asarray(x)
      return np.concatenate([x, np.repeat(x[:1], padding, axis=0)]) if padding else x

    return jax.tree.map(pad, tree)

  def _tile(self) -> Tile:
    num_images = len(self._active) // self._mesh.size
    calls = _CALLS.get(jax.default_backend(), 1)
    return fit_tile(self.rows, num_images, self.num_draws, calls)

  def _run(self, program: Callable, replicated: Any, batched: Any) -> Any:
    split = NamedSharding(self._mesh, SPLIT)
    replicated = jax.device_put(replicated, self._everywhere)
    batched = jax.device_put(batched, split)
    while True:
      static = self._structure, self._tile(), self._mesh
      try:
        return jax.block_until_ready(
          program(*static, self._classifier, replicated, batched)
        )
      except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) or self.rows == 1:
          raise
        self.rows //= 2


def _weights(method: Method, batch: int) -> tuple[Weights, np.ndarray]:
  def spread(name: str, value: Any) -> np.ndarray:
    if np.shape(value) not in ((), (batch,)):
      raise ValueError(
        f"{name} has shape {np.shape(value)}; it must be one number or one for each of "
        f"{batch} images"
      )
    return np.broadcast_to(np.asarray(value, np.float32), (batch,))

  penalties = tuple(
    spread(f"weight of {contracts.name_of(penalty)}", weight)
    for penalty, weight in zip(method.penalties, method.penalty_weights, strict=True)
  )
  multiplier = spread("lagrange_multiplier", method.lagrange_multiplier)
  return Weights(multiplier, penalties), spread("step_size", method.recipe.step_size)
