"""A batch of images on the devices, and the compiled programs applied to it.

It pads the batch so that it divides among the devices, places data the same way every
time, so that a program is found again, and halves the rows of a network call as long as
memory does not suffice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding

from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.engine import checks, judging, programs
from cawe_jax.engine.programs import Carry, LastStep, StepWeights, ToPrepare, Window
from cawe_jax.engine.turns import NUM_FRESH_DRAWS, Assessment, Turn, joined, mean
from cawe_jax.methods import Method, contracts
from cawe_jax.numerics.devices import EVERYWHERE, SPLIT, halve_rows, local_mesh
from cawe_jax.numerics.streams import Stream
from cawe_jax.numerics.tiles import Tile, Which, fit_tile
from cawe_jax.objective import Estimate, Weights, Worth
from cawe_jax.part import name_of
from cawe_jax.types import Array, History, Masks

T = TypeVar("T")

# Rows of one network call on a device. Four keep the activations in a CPU's cache; an
# accelerator wants many.
_ROWS = {"cpu": 4}
_ROWS_ELSEWHERE = 256
# Calls side by side, of steps alone. Two keep cores busy that wait for a third of the
# time where there is one. Each is compiled by itself: a program that runs a few times
# would take longer to compile than it saves, and so would the steps of a short run.
_CALLS = {"cpu": 2}
_SHORT_RUN = 400  # evaluations, of all images of a device
# Draws of each image in one call that judges masks, if so many rows fit.
_JUDGED_DRAWS = {"cpu": 2}
_JUDGED_DRAWS_ELSEWHERE = 8
# Bytes of the draws that are judged in one turn, all images of a device together.
_TURN_BYTES = {"cpu": 2**22}
_TURN_BYTES_ELSEWHERE = 2**28


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
    evaluations = method.recipe.num_steps * self.num_draws * self._share()
    is_short = evaluations < _SHORT_RUN
    self._calls = 1 if is_short else _CALLS.get(jax.default_backend(), 1)
    self.classifier = self._copied(classifier.settled(batch))
    self.active = np.arange(self._padded_size()) < self.size
    tile = self._judging_tile(self.rows)
    self._shape = batch.shape[1:]
    shape = tile.images * tile.draws, *self._shape
    num_outputs = programs.count_outputs(self.classifier, shape, batch.dtype)
    bound = method.bind(self._shape, num_outputs, self.output)
    self.method = self._copied(bound)
    given = checks.check_targets(classifier, targets, self.size)
    wanted = np.full(self.size, -1) if given is None else given
    ids = checks.check_ids(image_ids, batch)
    weights = StepWeights(*_weights(method, self.size))
    self._weights = self._split(self.pad(weights))
    # A copy, which stays as it is when the caller's array changes.
    self.lagrange_multiplier = np.array(weights.weights.lagrange_multiplier)
    logits = self._outputs(self.pad(batch))
    checks.check_logits(logits[: self.size], wanted, classifier, method)
    asked = self.pad((batch, wanted.astype(np.int32), ids))
    images, targets, image_ids = self._split(asked)
    to_prepare = ToPrepare(images, self._split(logits), targets, image_ids)
    self.problems, self.initial_masks = self._run(
      programs.prepare, (self.method, self._copied(key)), to_prepare
    )

  def batched(self, tree: T) -> T:
    """What the caller gave, with an axis of images where there was one image."""
    return (
      jax.tree.map(lambda x: np.asarray(x)[None], tree) if self._is_single else tree
    )

  def answer(self, tree: T) -> T:
    """What the caller gets: without the axis of images where there was one image."""
    return jax.tree.map(lambda x: x[0], tree) if self._is_single else tree

  def checked(self, name: str, masks: Masks) -> Masks:
    """Masks ``[B, ...]`` of this batch, refused by their name where they do not fit."""
    shapes = [(self.size, *leaf.shape[1:]) for leaf in self.initial_masks]
    return checks.check_masks(name, masks, shapes)

  def start(self, masks: Masks | None = None) -> Carry:
    """The carry before the first step, from the given masks or the method's own.

    Raises:
      ValueError: Entries are outside [0, 1].
    """
    if masks is None:
      masks = self.initial_masks
      name = self.method.initial_mask.name
      self.checked(f"initial_mask {name!r}", self.crop(masks))
    else:
      masks = self._split(self.pad(self.checked("initial_masks", masks)))
    return self._begin(masks)

  def _begin(self, masks: Masks) -> Carry:
    """From masks on the devices."""
    batch = masks, self._split(self.active)
    return self._run(programs.start, self.method, batch)

  def segment(self, carry: Carry, window: Window) -> tuple[Carry, History]:
    """See :func:`cawe_jax.engine.programs.segment`; the carry stays padded."""
    carry, history, _ = self._advance(carry, window)
    return carry, self.crop(history)

  def evaluate(self, masks: Masks, step: int, count: int) -> LastStep:
    """As :meth:`estimate`, and the gradient of the mean distortion by the masks."""
    window = Window.of(step, step + 1, 2**32 - 1, self.num_different(count))
    carry = self._begin(self._split(self.pad(masks)))
    _, _, found = self._advance(carry, window)
    return self.crop(found)

  def _advance(self, carry: Carry, window: Window) -> tuple[Carry, History, LastStep]:
    everywhere = self.method, self.classifier, self._copied(window)
    batch = self.problems, self._weights, carry

    def in_calls(rows: int) -> tuple[Carry, History, LastStep]:
      tile = fit_tile(rows, self._share(), self.num_draws, self._calls)
      return self._run(programs.segment, everywhere, batch, tile)

    result, self.rows = halve_rows(in_calls, self.rows)
    return result

  def assess(self, masks: Masks) -> Assessment:
    """All that is known of masks, on draws that no run sees."""
    batch = self.problems, self._split(self.pad(masks))
    rendered = self.crop(self._run(judging.render, self.method, batch))
    estimate, obfuscated = self._report(masks)
    clean = np.asarray(self.problems.clean_logits)
    masked = self._outputs(self.pad(rendered.masked_image))
    said = self.crop(self._worth(self._split(np.stack([clean, masked], axis=1))))
    penalty, _ = self.penalise(masks)
    checks.check_judged(estimate.distortion, self.classifier)
    return Assessment(
      rendered,
      estimate,
      obfuscated,
      said.score[:, 0],
      said.score[:, 1],
      said.agreement[:, 1],
      estimate.distortion + penalty,
    )

  def _report(self, masks: Masks) -> tuple[Estimate, np.ndarray]:
    """Means over draws that no run sees, and the image of the first of them."""

    def judge(turn: Turn) -> tuple[Worth, Any]:
      drawn, outputs = self._observe(turn)
      return self._worth(outputs), drawn.first

    which = self._of_step(Stream.REPORT, NUM_FRESH_DRAWS)
    worths, images = zip(*self._in_turns(judge, masks, which), strict=True)
    return mean(joined(worths, len(which.steps))), images[0]

  def penalise(self, masks: Masks) -> tuple[np.ndarray, Masks]:
    """Weighted terms that no draw enters, ``[B]``, and their gradients."""
    batch = self.problems, self._weights.weights, self._split(self.pad(masks))
    return self.crop(self._run(judging.penalise, self.method, batch))

  def objective(self, masks: Masks, step: int, count: int) -> np.ndarray:
    """Distortion on ``count`` draws of a step and weighted terms, ``[B]``."""
    return self.estimate(masks, step, count).distortion + self.penalise(masks)[0]

  def estimate(self, masks: Masks, step: int, count: int) -> Estimate:
    """Means over ``count`` draws of a step, or over the one that they all are."""
    return mean(self.worth(masks, self._of_step(step, count)))

  def clean_scores(self) -> np.ndarray:
    """What is explained, on the images themselves, ``[B]``."""
    clean = np.asarray(self.problems.clean_logits)[:, None]
    return self.crop(self._worth(self._split(clean))).score[:, 0]

  def worth(
    self, masks: Masks, which: Which, wanted: np.ndarray | None = None
  ) -> Worth:
    """What single draws are worth, ``[B, D]`` each.

    Args:
      masks: Masks ``[B, ...]``.
      which: D draws.
      wanted: Bool ``[B]``; the network is not asked about the other images, whose
        values mean nothing.
    """

    def judge(turn: Turn) -> Worth:
      return self._worth(self._observe(turn)[1])

    return joined(self._in_turns(judge, masks, which, wanted), len(which.steps))

  def observe(
    self, masks: Masks, step: int, count: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[B, D, H, W, C]`` and outputs ``[B, D, K]`` of a step's draws."""

    def judge(turn: Turn) -> tuple[Any, Any]:
      drawn, outputs = self._observe(turn)
      return drawn.images, outputs

    which = self._of_step(step, count)
    return joined(self._in_turns(judge, masks, which), len(which.steps))

  def _of_step(self, step: int, count: int) -> Which:
    indices = np.arange(self.num_different(count), dtype=np.uint32)
    return Which(np.full_like(indices, step), indices)

  def _in_turns(
    self,
    judge: Callable[[Turn], T],
    masks: Masks,
    which: Which,
    wanted: np.ndarray | None = None,
  ) -> list[T]:
    """What is said of the draws, turn by turn, cropped."""
    active = self.active if wanted is None else self.active & self.pad(wanted)
    padded, active = self._split((self.pad(masks), active))
    found: list[T] = []
    done = 0
    while done < len(which.steps):

      def of_rows(rows: int, first: int = done) -> T:
        tile = self._judging_tile(rows)
        return judge(Turn(tile, which, first, self._room(tile), padded, active))

      result, self.rows = halve_rows(of_rows, self.rows)
      found.append(self.crop(result))
      done += self._room(self._judging_tile(self.rows))
    return found

  def _observe(self, turn: Turn) -> tuple[judging.Drawn, Any]:
    """Images and outputs of a turn's draws."""
    which, count = self._copied((turn.which, turn.num_draws))
    batch = self.problems, turn.masks, turn.active
    drawn = self._run(judging.draw, (self.method, which, count), batch, turn.tile)
    return drawn, self._forward(drawn.images, turn.active, count, turn.tile)

  def _forward(self, images: Any, active: Any, count: Any, tile: Tile) -> Any:
    everywhere = self.classifier, count
    return self._run(judging.forward, everywhere, (images, active), tile)

  def _worth(self, outputs: Any) -> Worth:
    """What padded outputs ``[B, D, K]`` are worth."""
    batch = self.problems.clean_logits, self.problems.target, outputs
    return self._run(judging.worth, self.method.objective.reading, batch)

  def _outputs(self, images: np.ndarray) -> np.ndarray:
    """What the network says of padded images ``[B, H, W, C]`` themselves, ``[B, K]``.

    It is asked as about draws, so that this compiles nothing more.
    """

    def of_rows(rows: int) -> Any:
      tile = self._judging_tile(rows)
      stacks = np.repeat(np.asarray(images)[:, None], self._room(tile), axis=1)
      one = self._copied(np.int32(1))
      return self._forward(*self._split((stacks, self.active)), one, tile)

    outputs, self.rows = halve_rows(of_rows, self.rows)
    return np.asarray(outputs)[:, 0]

  def _run(self, program: Callable, everywhere: Any, batch: Any, *shapes: Tile) -> Any:
    """Run a program of :func:`cawe_jax.engine.programs.split_over_devices`.

    Args:
      program: Which.
      everywhere: What every device has, see :meth:`_copied`.
      batch: What devices have a share of, see :meth:`_split`.
      shapes: The tile that goes through the network at once, where one does.
    """
    return program(self._mesh, shapes, everywhere, batch)

  def _copied(self, tree: T) -> T:
    """On every device."""
    return jax.device_put(tree, NamedSharding(self._mesh, EVERYWHERE))

  def _split(self, padded: T) -> T:
    """On the devices, each with its share of the images."""
    return jax.device_put(padded, NamedSharding(self._mesh, SPLIT))

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

  def _judging_tile(self, rows: int) -> Tile:
    most = _JUDGED_DRAWS.get(jax.default_backend(), _JUDGED_DRAWS_ELSEWHERE)
    draws = self.num_different(min(rows, most))
    return Tile(min(rows // draws, self._share()), draws)

  def _room(self, tile: Tile) -> int:
    """How many draws of each image are judged in one turn."""
    memory = _TURN_BYTES.get(jax.default_backend(), _TURN_BYTES_ELSEWHERE)
    tiles = memory // (4 * math.prod(self._shape) * self._share() * tile.draws)
    most = -(-self.num_different(NUM_FRESH_DRAWS) // tile.draws)
    return tile.draws * max(1, min(tiles, most))


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
