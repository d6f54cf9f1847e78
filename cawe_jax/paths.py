"""Explanations along a path of Lagrange multipliers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.explain import Callback, explain
from cawe_jax.methods import Method
from cawe_jax.types import Array, Explanation, Mask

RETAIN_MULTIPLIERS = tuple(float(x) for x in 2.5 * 2.0 ** np.arange(9))
"""The path of :func:`explain_retaining`: 2.5, 5, ..., 640."""


def explain_path(
  classifier: Classifier,
  image: Array | np.ndarray,
  method: Method,
  lagrange_multipliers: Sequence[float],
  *,
  key: Array,
  target: int | None = None,
  image_id: int | None = None,
  initial_masks: Mask | None = None,
  callback: Callback | None = None,
  rows: int | None = None,
) -> Explanation:
  """Explain one image for several Lagrange multipliers in one program.

  The multipliers are a batch, and all of them see the same draws.

  Args:
    classifier: As for :func:`cawe_jax.explain`.
    image: ``[H, W, C]``.
    method: Its own multiplier is ignored.
    lagrange_multipliers: M values, at least 0.
    key: As for :func:`cawe_jax.explain`.
    target: As for :func:`cawe_jax.explain`.
    image_id: As for :func:`cawe_jax.explain`.
    initial_masks: ``[M, ...]`` per leaf.
    callback: As for :func:`cawe_jax.explain`.
    rows: As for :func:`cawe_jax.explain`.

  Returns:
    An explanation whose leaves have a leading axis M.

  Raises:
    ValueError: As for :func:`cawe_jax.explain`.
  """
  if np.ndim(image) != 3:
    raise ValueError(f"image has shape {np.shape(image)}; it must be [H, W, C]")
  multipliers = np.asarray(lagrange_multipliers, np.float32)
  if multipliers.ndim != 1 or not multipliers.size:
    raise ValueError(
      f"lagrange_multipliers is {lagrange_multipliers}; it must be a list of numbers"
    )
  return explain(
    classifier,
    np.broadcast_to(np.asarray(image), (len(multipliers), *np.shape(image))),
    method._replace(lagrange_multiplier=multipliers),
    key=key,
    targets=target,
    image_ids=image_id,
    initial_masks=initial_masks,
    callback=callback,
    rows=rows,
  )


def explain_retaining(
  classifier: Classifier,
  images: Array | np.ndarray,
  method: Method,
  retain: float,
  *,
  key: Array,
  targets: Any = None,
  image_ids: Any = None,
  callback: Callback | None = None,
  rows: int | None = None,
) -> Explanation:
  """The sparsest explanation on a path that retains enough of the probability.

  The multiplier doubles from 2.5 to 640. Each mask starts from the one before and takes
  a third of the recipe's steps; an image's path ends where two multipliers in a row
  retain too little.

  Args:
    classifier: As for :func:`cawe_jax.explain`.
    images: ``[H, W, C]`` or ``[B, H, W, C]``.
    method: Its own multiplier is ignored.
    retain: Retained probability on fresh draws that is enough, in (0, 1].
    key: As for :func:`cawe_jax.explain`.
    targets: As for :func:`cawe_jax.explain`.
    image_ids: As for :func:`cawe_jax.explain`.
    callback: As for :func:`cawe_jax.explain`, called for every multiplier's run; a true
      return value ends the path with what there is.
    rows: As for :func:`cawe_jax.explain`.

  Returns:
    For each image the explanation with the largest multiplier that retains enough, or
    the smallest multiplier's where none does. Compare ``retained_probability`` to see
    which it is; ``lagrange_multiplier`` is the one chosen.

  Raises:
    ValueError: ``retain`` is out of range, the classifier is a regression, or as for
      :func:`cawe_jax.explain`.
  """
  if not 0 < retain <= 1:
    raise ValueError(f"retain is {retain}; it must be above 0 and at most 1")
  if not classifier.output.is_probability:
    raise ValueError(
      f"classifier {classifier.name!r} is a {classifier.output.name}, which has no "
      "probability to retain; use explain_path"
    )
  single = np.ndim(images) == 3
  batch = np.asarray(images)[None] if single else np.asarray(images)
  stopped = False

  def watch(progress: Any) -> bool:
    nonlocal stopped
    stopped = bool(callback is not None and callback(progress))
    return stopped

  best: Explanation | None = None
  failures = np.zeros(len(batch), int)
  masks: Mask | None = None
  evaluations = np.zeros(len(batch), int)
  for multiplier in RETAIN_MULTIPLIERS:
    # The first mask is found from the recipe's start, the others from their neighbour.
    recipe = method.recipe
    if masks is not None:
      recipe = recipe._replace(num_steps=max(1, recipe.num_steps // 3))
    found = explain(
      classifier,
      batch,
      method._replace(lagrange_multiplier=multiplier, recipe=recipe),
      key=key,
      targets=targets,
      image_ids=image_ids,
      initial_masks=masks,
      callback=watch,
      rows=rows,
    )
    masks = found.mask
    evaluations += np.where(failures < 2, found.model_evaluations, 0)
    enough = (found.retained_probability >= retain) & (failures < 2)
    failures = np.where(enough, 0, failures + 1)
    best = found if best is None else _choose(enough, found, best)
    if stopped or (failures >= 2).all():
      break
  assert best is not None
  best = best._replace(model_evaluations=evaluations)
  return jax.tree.map(lambda x: x[0], best) if single else best


def _choose(which: np.ndarray, new: Explanation, old: Explanation) -> Explanation:
  """Per image, ``new`` where ``which``; histories may differ in length."""

  def pick(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.shape != y.shape:
      longest = max(x.shape[1], y.shape[1])
      x, y = (
        np.pad(z, ((0, 0), (0, longest - z.shape[1])), constant_values=np.nan)
        for z in (x, y)
      )
    return np.where(which.reshape((-1,) + (1,) * (x.ndim - 1)), x, y)

  return jax.tree.map(pick, new, old)
