"""`explain`: from images and a method to explanations.

The loop around the compiled programs of :mod:`cawe_jax.programs`: it checks arguments,
places the batch on the devices, calls back between segments of steps, and retries with
fewer rows where memory does not suffice. It prints nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cawe_jax import programs
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.distortions import label_squared_error
from cawe_jax.images import image_id
from cawe_jax.methods import Method
from cawe_jax.objective import Problem, Tile, Weights
from cawe_jax.programs import (
  SEGMENT_STEPS,
  Assessment,
  Carry,
  StepWeights,
  ToPrepare,
  Window,
)
from cawe_jax.solvers import per_image
from cawe_jax.types import Array, Explanation, History, Mask

MINIMUM_PROBABILITY = 1e-3
"""Where the clean probability is lower, ratios to it are NaN."""

# Rows of one network call on a device. Four keep the activations in a CPU's cache; an
# accelerator wants many.
_ROWS = {"cpu": 4}
_ROWS_ELSEWHERE = 256


class Progress(NamedTuple):
  """What a callback sees after each segment of steps, for B images.

  Attributes:
    step: Steps done.
    num_steps: Steps at most.
    masks: Masks as they are, ``[B, ...]`` per leaf.
    active: Which images go on, bool ``[B]``.
    history: Of the steps done, ``[B, step]``.
  """

  step: int
  num_steps: int
  masks: Mask
  active: np.ndarray
  history: History


Callback = Callable[[Progress], bool | None]
"""Returns a true value to stop the run."""


def explain(
  classifier: Classifier,
  images: Array | np.ndarray,
  method: Method,
  *,
  key: Array,
  targets: int | Sequence[int] | np.ndarray | Array | None = None,
  image_ids: int | Sequence[int] | np.ndarray | None = None,
  initial_masks: Mask | None = None,
  callback: Callback | None = None,
  rows: int | None = None,
) -> Explanation:
  """Explain one image or a batch.

  Args:
    classifier: The network.
    images: ``[H, W, C]`` or ``[B, H, W, C]``, float in [0, 1].
    method: E.g. :func:`cawe_jax.cartoonx`. Its multiplier and weights may be ``[B]``.
    key: A typed key, ``jax.random.key(0)``.
    targets: Explained class of each image; by default the predicted one.
    image_ids: An integer in [0, 2**32) for each image, which decides its noise together
      with the key; by default a hash of its pixels. The batch it is in does not matter.
    initial_masks: Masks to start from instead of the method's, like
      ``Explanation.mask``.
    callback: Called with a :class:`Progress` after every segment of steps; a true
      return value stops the run.
    rows: Obfuscations that the network gets at once on each device; by default 4 on a
      CPU and 256 elsewhere, halved as long as memory does not suffice.

  Returns:
    The explanation; for a batch every leaf has a leading axis.

  Raises:
    ValueError: An argument is out of range, the distortion is the label squared error
      for a target that is not predicted, or the classifier returned NaN.

  Example:
    >>> linear = lambda w, images: images.reshape(len(images), -1) @ w
    >>> weights = jnp.zeros((16, 16, 2)).at[:8, :, 0].set(0.1).reshape(-1, 2)
    >>> classifier = Classifier(linear, weights, 16)
    >>> from cawe_jax.methods import pixel_rde
    >>> method = pixel_rde(lagrange_multiplier=0.1)
    >>> image = jnp.ones((16, 16, 1))
    >>> explanation = explain(classifier, image, method, key=jax.random.key(0))
    >>> explanation.image.shape
    (16, 16, 1)

  References:
    Kolek et al., Cartoon Explanations of Image Classifiers, ECCV 2022.
  """
  batch = _check_images(images)
  single = np.ndim(images) == 3
  if single and initial_masks is not None:
    initial_masks = jax.tree.map(lambda s: s[None], initial_masks)
  explanation = _explain_batch(
    classifier,
    batch,
    method,
    key,
    _per_image("targets", targets, len(batch)),
    _check_ids(image_ids, batch),
    initial_masks,
    callback,
    rows,
  )
  return jax.tree.map(lambda x: x[0], explanation) if single else explanation


def _explain_batch(
  classifier: Classifier,
  images: np.ndarray,
  method: Method,
  key: Array,
  targets: np.ndarray | None,
  image_ids: np.ndarray,
  initial_masks: Mask | None,
  callback: Callback | None,
  rows: int | None,
) -> Explanation:
  batch = len(images)
  check_method(method)
  if rows is not None and rows < 1:
    raise ValueError(f"rows is {rows}; it must be at least 1")
  structure = method.bind(images.shape[1:])
  mesh = Mesh(np.array(jax.devices()), ("images",))
  num_draws = method.recipe.num_draws if method.perturbation.is_random else 1
  run = _Run(structure, mesh, rows or _default_rows(), num_draws)

  # Padding, so that the batch divides among the devices, is never active.
  padding = -batch % mesh.size
  pad = lambda x: np.concatenate([x, np.repeat(x[:1], padding, axis=0)])
  weights, step_size = _weights(method, batch)
  wanted = np.full(batch, -1) if targets is None else targets
  problems, masks = run(
    programs.prepare,
    classifier,
    key,
    jax.tree.map(pad, ToPrepare(images, wanted.astype(np.int32), image_ids)),
  )
  _check_problems(problems, batch, classifier, method, wanted)
  if initial_masks is not None:
    masks = _check_masks(initial_masks, masks, batch, pad)
  active = np.arange(batch + padding) < batch
  step_weights = StepWeights(*jax.tree.map(pad, (weights, step_size)))
  assess = lambda masks: run(
    programs.assess,
    classifier,
    None,
    (problems, step_weights.weights, masks, jnp.asarray(active)),
  )
  empty = assess(jax.tree.map(jnp.zeros_like, masks))
  carry = programs.start(
    structure, masks, empty.estimate.distortion, jnp.asarray(active)
  )
  carry, history = _iterate(
    run, classifier, problems, step_weights, carry, method.recipe.num_steps, batch, callback
  )
  masks, result = _best(carry.solver.mask, assess(carry.solver.mask), empty)
  explanation = _assemble(problems, carry, masks, result, history, num_draws)
  return jax.tree.map(lambda x: np.asarray(x)[:batch], explanation)


class _Run:
  """Calls programs for one structure; remembers how many rows fit into memory."""

  def __init__(self, structure: Any, mesh: Mesh, rows: int, num_draws: int):
    self.structure, self.mesh = structure, mesh
    self.rows, self.num_draws = rows, num_draws

  def __call__(
    self, program: Callable, classifier: Classifier, replicated: Any, batched: Any
  ) -> Any:
    # Placed the same way every time, so that the second call finds the first's program.
    everywhere = NamedSharding(self.mesh, PartitionSpec())
    split = NamedSharding(self.mesh, PartitionSpec("images"))
    classifier, replicated = jax.device_put((classifier, replicated), everywhere)
    data = classifier, replicated, jax.device_put(batched, split)
    while True:
      draws = min(self.rows, self.num_draws)
      tile = Tile(max(1, self.rows // draws), draws)
      try:
        return jax.block_until_ready(program(self.structure, tile, self.mesh, *data))
      except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) or self.rows == 1:
          raise
        self.rows //= 2


def _iterate(
  run: _Run,
  classifier: Classifier,
  problems: Problem,
  step_weights: StepWeights,
  carry: Carry,
  num_steps: int,
  batch: int,
  callback: Callback | None,
) -> tuple[Carry, History]:
  """Segments until all images have stopped; the carry and the history ``[B, N]``."""
  parts: list[History] = []
  for start in range(0, num_steps, SEGMENT_STEPS):
    stop = min(start + SEGMENT_STEPS, num_steps)
    window = Window(*map(np.int32, (start, stop, num_steps, run.num_draws)))
    before = np.asarray(carry.active)[:batch]
    carry, part = run(
      programs.segment, classifier, window, (problems, step_weights, carry)
    )
    parts.append(jax.tree.map(lambda x: np.asarray(x)[:, : stop - start], part))
    if np.isnan(parts[-1].objective[:batch][before, 0]).any() or not all(
      np.isfinite(leaf[:batch]).all() for leaf in map(np.asarray, carry.solver.mask)
    ):
      raise ValueError(
        f"classifier {classifier.name!r} or its gradient returned NaN between steps "
        f"{start} and {stop}; it must be finite on images in [0, 1]"
      )
    active = np.asarray(carry.active)[:batch]
    history = _concatenate(parts)
    if callback is not None:
      masks = jax.tree.map(lambda x: x[:batch], carry.solver.mask)
      seen = jax.tree.map(lambda x: x[:batch], history)
      if callback(Progress(stop, num_steps, masks, active, seen)):
        break
    if not active.any():
      break
  return carry, history


def _concatenate(parts: list[History]) -> History:
  return jax.tree.map(lambda *xs: np.concatenate(xs, axis=1), *parts)


def _best(
  masks: Mask, found: Assessment, empty: Assessment
) -> tuple[Mask, Assessment]:
  """The found mask, or the empty one where its objective is lower.

  For an unsure prediction the empty mask is often the optimum, and no path of small
  steps leads there.
  """
  better = empty.objective < found.objective

  def pick(new: Array, old: Array) -> Array:
    return jnp.where(per_image(better, old), new, old)

  zeros = jax.tree.map(jnp.zeros_like, masks)
  return jax.tree.map(pick, zeros, masks), jax.tree.map(pick, empty, found)


def _assemble(
  problems: Problem,
  carry: Carry,
  masks: Mask,
  result: Assessment,
  history: History,
  num_draws: int,
) -> Explanation:
  estimate = result.estimate
  variance = estimate.distortion_square - estimate.distortion**2
  # The mean of squares minus the square of the mean is the biased variance.
  standard_error = np.sqrt(np.maximum(variance, 0) / (programs.NUM_FRESH_DRAWS - 1))
  probability = np.asarray(result.probability)
  known = np.where(probability >= MINIMUM_PROBABILITY, probability, np.nan)
  return Explanation(
    mask=masks,
    image=result.explanation,
    masked_image=result.masked_image,
    input_image=problems.image,
    target=problems.target,
    probability=probability,
    rate=result.rate,
    rate_l0=result.rate_l0,
    distortion=estimate.distortion,
    distortion_standard_error=standard_error,
    retained_probability=estimate.probability / known,
    explanation_probability=result.explanation_probability / known,
    objective=result.objective,
    num_steps=carry.num_steps,
    model_evaluations=carry.num_steps * num_draws,
    history=history,
  )


def _default_rows() -> int:
  return _ROWS.get(jax.default_backend(), _ROWS_ELSEWHERE)


def _weights(method: Method, batch: int) -> tuple[Weights, np.ndarray]:
  def spread(name: str, value: Any) -> np.ndarray:
    if np.shape(value) not in ((), (batch,)):
      raise ValueError(
        f"{name} has shape {np.shape(value)}; it must be one number or one for each of "
        f"{batch} images"
      )
    return np.broadcast_to(np.asarray(value, np.float32), (batch,))

  penalties = tuple(
    spread(f"weight of {penalty.__name__}", weight)
    for penalty, weight in zip(method.penalties, method.penalty_weights, strict=True)
  )
  multiplier = spread("lagrange_multiplier", method.lagrange_multiplier)
  return Weights(multiplier, penalties), spread("step_size", method.recipe.step_size)


def check_method(method: Method) -> None:
  """Refuse numbers that make no sense.

  Raises:
    ValueError: One line that names the number and what is allowed.
  """
  recipe = method.recipe
  if len(method.penalty_weights) != len(method.penalties):
    raise ValueError(
      f"penalty_weights has {len(method.penalty_weights)} entries; the method has "
      f"{len(method.penalties)} penalties"
    )
  named = {"lagrange_multiplier": method.lagrange_multiplier}
  for penalty, weight in zip(method.penalties, method.penalty_weights, strict=True):
    named[f"weight of {penalty.__name__}"] = weight
  for name, value in named.items():
    if not np.all(np.isfinite(value) & (np.asarray(value) >= 0)):
      raise ValueError(f"{name} is {value}; it must be finite and at least 0")
  if not np.all(np.isfinite(recipe.step_size) & (np.asarray(recipe.step_size) > 0)):
    raise ValueError(f"step_size is {recipe.step_size}; it must be finite and above 0")
  for name, count in (("num_steps", recipe.num_steps), ("num_draws", recipe.num_draws)):
    if not (isinstance(count, int) and 1 <= count < 2**31):
      raise ValueError(f"{name} is {count}; it must be an integer, at least 1")


def _check_images(images: Array | np.ndarray) -> np.ndarray:
  array = np.asarray(images)
  if array.ndim not in (3, 4) or 0 in array.shape:
    raise ValueError(
      f"images has shape {array.shape}; it must be [H, W, C] or [B, H, W, C], not empty"
    )
  if not np.issubdtype(array.dtype, np.floating):
    raise ValueError(f"images has type {array.dtype}; it must be float in [0, 1]")
  low, high = float(array.min()), float(array.max())
  if not (math.isfinite(low) and math.isfinite(high) and low >= 0 and high <= 1):
    raise ValueError(f"images has values in [{low}, {high}]; allowed is [0, 1]")
  return array if array.ndim == 4 else array[None]


def _per_image(name: str, values: Any, batch: int) -> np.ndarray | None:
  if values is None:
    return None
  array = np.asarray(values)
  if not np.issubdtype(array.dtype, np.integer) or array.shape not in ((), (batch,)):
    raise ValueError(
      f"{name} is {values}; it must be one integer or one for each of {batch} images"
    )
  if array.min() < 0:
    raise ValueError(f"{name} is {values}; it must be at least 0")
  return np.broadcast_to(array, (batch,))


def _check_ids(image_ids: Any, images: np.ndarray) -> np.ndarray:
  given = _per_image("image_ids", image_ids, len(images))
  if given is None:
    return np.array([image_id(np.asarray(x, np.float32)) for x in images], np.uint32)
  if given.max() >= 2**32:
    raise ValueError(f"image_ids is {image_ids}; allowed is 0 to 2**32 - 1")
  return given.astype(np.uint32)


def _check_problems(
  problems: Problem,
  batch: int,
  classifier: Classifier,
  method: Method,
  wanted: np.ndarray,
) -> None:
  logits = np.asarray(problems.clean_logits)[:batch]
  if not np.isfinite(logits).all():
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    raise ValueError(
      f"classifier {classifier.name!r} returned NaN or infinite logits for image(s) "
      f"{', '.join(map(str, bad))}; they must be finite on images in [0, 1]"
    )
  num_classes = logits.shape[1]
  if wanted.max() >= num_classes:
    raise ValueError(
      f"target is {wanted.max()}; allowed are 0 to {num_classes - 1}"
    )
  predicted = logits.argmax(axis=1)
  other = np.flatnonzero((wanted >= 0) & (wanted != predicted))
  if method.distortion is label_squared_error and other.size:
    i = other[0]
    raise ValueError(
      f"distortion label_squared_error is for the predicted class ({predicted[i]}), "
      f"not target {wanted[i]}: every mask keeps a probability low; use "
      f"maximise_probability"
    )


def _check_masks(
  given: Mask, like: Mask, batch: int, pad: Callable[[np.ndarray], np.ndarray]
) -> Mask:
  expected = [(batch, *leaf.shape[1:]) for leaf in like]
  shapes = [np.shape(leaf) for leaf in given]
  if shapes != expected:
    raise ValueError(f"initial_masks has leaves {shapes}; they must be {expected}")
  for leaf in given:
    if not np.all((np.asarray(leaf) >= 0) & (np.asarray(leaf) <= 1)):
      raise ValueError("initial_masks has entries outside [0, 1], or NaN")
  return tuple(jnp.asarray(pad(np.asarray(leaf, np.float32))) for leaf in given)
