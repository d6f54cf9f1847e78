"""Explanations along a path of Lagrange multipliers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.engine.session import Session
from cawe_jax.explaining import emptiness
from cawe_jax.explaining.choice import best_of, sharpened
from cawe_jax.explaining.one import (
  Callback,
  Found,
  explained,
  known_probability,
  optimise,
  report,
)
from cawe_jax.methods import Method, contracts
from cawe_jax.numerics.ambient import own_rules
from cawe_jax.numerics.streams import Stream
from cawe_jax.numerics.tiles import Which
from cawe_jax.types import Explanation, Image, Images, Key, Masks

RETAIN_MULTIPLIERS = tuple(float(x) for x in 2.5 * 2.0 ** np.arange(9))
"""The path of :func:`explain_retaining`: 2.5, 5, ..., 640."""
LOWER_MULTIPLIERS = tuple(float(x) for x in 2.5 * 0.5 ** np.arange(1, 10))
"""Where 2.5 retains too little: 1.25, 0.625, ..., 0.0049."""
RETAINED_DRAWS = 64, 512
"""Whether a mask retains enough is judged on the first number of draws, without the
gradient; where they leave it open, on the second."""


@own_rules()
def explain_path(
  classifier: Classifier,
  image: Image,
  method: Method,
  lagrange_multipliers: Sequence[float],
  *,
  key: Key,
  target: int | str | None = None,
  image_id: int | None = None,
  initial_masks: Masks | None = None,
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

  Warns:
    EmptyMaskWarning: As for :func:`cawe_jax.explain`; masks are counted from 0.
  """
  if np.ndim(image) != 3:
    raise ValueError(f"image has shape {np.shape(image)}; it must be [H, W, C]")
  multipliers = np.asarray(lagrange_multipliers, np.float32)
  if multipliers.ndim != 1 or not multipliers.size:
    raise ValueError(
      f"lagrange_multipliers is {lagrange_multipliers}; it must be a list of numbers"
    )
  here = method._replace(lagrange_multiplier=multipliers)
  session = Session(
    classifier,
    np.broadcast_to(np.asarray(image), (len(multipliers), *np.shape(image))),
    here,
    key=key,
    targets=target,
    image_ids=image_id,
    rows=rows,
  )
  found = explained(session, classifier, here, initial_masks, callback)
  emptiness.warn(found, stacklevel=3)
  return found


@own_rules()
def explain_retaining(
  classifier: Classifier,
  images: Image | Images,
  method: Method,
  retain: float,
  *,
  key: Key,
  multipliers: Sequence[float] | None = None,
  targets: Any = None,
  image_ids: Any = None,
  callback: Callback | None = None,
  rows: int | None = None,
) -> Explanation:
  """The sparsest explanation on a path that retains enough of the probability.

  The multiplier doubles from 2.5 to 640. Each mask starts from the one before and takes
  a third of the recipe's steps; an image's path ends where two multipliers in a row
  retain too little. For images of which 2.5 retains too little already, it is halved
  down to 0.005, each time from the recipe's own start.

  Whether a mask retains enough is judged on 64 draws, or on 512 where these leave it
  open. It is reported on 64 others, so that ``retained_probability`` may be less than
  what was asked for; :func:`cawe_jax.metrics.confidence_bounds` says what a mask
  retains for sure. A mask of zeros is no candidate, even if its objective is lower.

  Args:
    classifier: As for :func:`cawe_jax.explain`.
    images: ``[H, W, C]`` or ``[B, H, W, C]``.
    method: Its own multiplier is ignored.
    retain: Retained probability that is enough, in (0, 1].
    key: As for :func:`cawe_jax.explain`.
    multipliers: A path of your own in increasing order, of which each multiplier is
      tried.
    targets: As for :func:`cawe_jax.explain`.
    image_ids: As for :func:`cawe_jax.explain`.
    callback: As for :func:`cawe_jax.explain`, called for every multiplier's run; a true
      return value ends the path with what there is.
    rows: As for :func:`cawe_jax.explain`.

  Returns:
    For each image the explanation with the largest multiplier that retains enough,
    which ``lagrange_multiplier`` says. Where none does it is the smallest multiplier's,
    and a warning says which images these are.

  Raises:
    ValueError: ``retain`` or ``multipliers`` is out of range, the classifier is a
      regression, or as for :func:`cawe_jax.explain`.

  Warns:
    EmptyMaskWarning: A mask that keeps (almost) nothing retains enough.
  """
  if not (contracts.are_real(retain) and 0 < retain <= 1):
    raise ValueError(f"retain is {retain!r}; it must be above 0 and at most 1")
  if not classifier.output.is_probability:
    raise ValueError(
      f"classifier {classifier.name!r} is a {classifier.output.name}, which has no "
      "probability to retain; use explain_path"
    )
  upwards = RETAIN_MULTIPLIERS if multipliers is None else _checked(multipliers)
  single = np.ndim(images) == 3
  batch = np.asarray(images)[None] if single else np.asarray(images)
  size, first = len(batch), method.recipe
  shorter = first._replace(num_steps=max(1, first.num_steps // 3))
  stopped = False

  def watch(progress: Any) -> bool:
    nonlocal stopped
    stopped = bool(callback is not None and callback(progress))
    return stopped

  def open_session(multiplier: Any) -> tuple[Session, Method]:
    here = method._replace(lagrange_multiplier=multiplier)
    given: dict[str, Any] = {"key": key, "targets": targets, "image_ids": image_ids}
    return Session(classifier, batch, here, rows=rows, **given), here

  def run(multiplier: float, start: Masks | None) -> tuple[_Step, np.ndarray]:
    """What one multiplier leads to, and which images retain enough."""
    session, here = open_session(multiplier)
    # The first mask is found from the recipe's start, the others from their neighbour.
    here = here if start is None else here._replace(recipe=shorter)
    found = optimise(session, classifier, here, start, watch)
    found = found._replace(
      mask=best_of(session, sharpened(found.mask, *here.recipe.contrast))
    )
    evaluations = found.num_steps * session.num_draws
    step = _Step(found, evaluations, np.full(size, multiplier, np.float32))
    return step, retains(session, found.mask, retain)

  best, reached = run(upwards[0], None)
  masks, evaluations = best.found.mask, best.evaluations
  failures = np.where(reached, 0, 1)
  for multiplier in upwards[1:]:
    goes_on = (failures < 2) if multipliers is None else np.ones(size, bool)
    if stopped or not goes_on.any():
      break
    step, enough = run(multiplier, masks)
    masks = step.found.mask
    evaluations = evaluations + np.where(goes_on, step.evaluations, 0)
    enough &= goes_on
    failures = np.where(enough, 0, failures + 1)
    reached |= enough
    best = _choose(enough, step, best)
  for multiplier in LOWER_MULTIPLIERS if multipliers is None else ():
    if stopped or reached.all():
      break
    step, enough = run(multiplier, None)
    evaluations = evaluations + np.where(reached, 0, step.evaluations)
    best = _choose(~reached, step, best)
    reached |= enough
  explanation = report(open_session(best.multiplier)[0], best.found)
  if not (reached.all() or stopped):
    _warn(explanation, reached, retain)
  emptiness.warn_of_retaining(explanation, reached, stacklevel=3)
  explanation = explanation._replace(model_evaluations=evaluations)
  return jax.tree.map(lambda x: x[0], explanation) if single else explanation


class _Step(NamedTuple):
  """What one multiplier of a path leads to, for B images.

  Attributes:
    found: Masks, steps and history.
    evaluations: The number of passes through the network, ``[B]``.
    multiplier: ``[B]``.
  """

  found: Found
  evaluations: np.ndarray
  multiplier: np.ndarray


def retains(session: Session, masks: Masks, retain: float) -> np.ndarray:
  """Whether masks retain enough, bool ``[B]``; not where the clean probability is 0.

  It is judged on draws that serve no other purpose. Where the mean of the first is
  within two standard errors of what is asked for, more of them decide: a mask that
  fails by chance would be given up for one of several times its rate.
  """
  clean = jax.vmap(session.output.score)(
    session.problems.clean_logits, session.problems.target
  )
  probability = known_probability(session.crop(clean))[:, None]
  enough, is_open = np.zeros(session.size, bool), np.ones(session.size, bool)
  shares = np.empty((session.size, 0))
  for count in map(session.num_different, RETAINED_DRAWS):
    indices = np.arange(shares.shape[1], count, dtype=np.uint32)
    if not (len(indices) and is_open.any()):
      break
    which = Which(np.full_like(indices, Stream.RETAINED), indices)
    worth = session.worth(masks, which, is_open)
    shares = np.concatenate([shares, worth.score / probability], axis=1)
    mean, error = shares.mean(1), shares.std(1) / np.sqrt(count)
    enough[is_open] = (mean >= retain)[is_open]
    is_open &= np.abs(mean - retain) < 2 * error
  return enough


def _checked(multipliers: Sequence[float]) -> tuple[float, ...]:
  values = np.asarray(multipliers, float)
  if values.ndim != 1 or not values.size or not np.all(np.diff(values) > 0):
    raise ValueError(f"multipliers is {multipliers}; it must be an increasing list")
  return tuple(values.tolist())


def _warn(best: Explanation, reached: np.ndarray, retain: float) -> None:
  share = np.asarray(best.retained_probability)
  which = ", ".join(f"{i} ({share[i]:.4f})" for i in np.flatnonzero(~reached))
  least = np.min(best.lagrange_multiplier)
  warnings.warn(
    f"no multiplier down to {least:g} retains {retain:g} of the probability for "
    f"image(s) {which}; the mask of the smallest one is returned",
    stacklevel=3,
  )


def _choose(which: np.ndarray, new: _Step, old: _Step) -> _Step:
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
