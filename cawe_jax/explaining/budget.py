r"""Binary masks of an exact budget: the article's l0 problem.

.. math:: \min_{s \in \{0, 1\}^k} D(s) \quad \text{subject to} \quad \|s\|_0 = l

The baseline keeps the l largest entries of a relaxed mask, before the recipe's contrast
makes some of them equal. From there entries are
*exchanged*: the gradient at a binary mask says, to first order, what each entry's
removal costs and each entry's addition gains. The most promising exchanges are made
together, and kept if the distortion on the same draws really falls; else half as many
are tried, down to one, and at last the best single exchanges one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.engine import checks
from cawe_jax.engine.session import Session
from cawe_jax.explaining.choice import best_of
from cawe_jax.explaining.one import Callback, Found, Progress, assemble, optimise
from cawe_jax.methods import Method, contracts
from cawe_jax.numerics.ambient import own_rules
from cawe_jax.numerics.flat_masks import flat, unflat
from cawe_jax.numerics.streams import Stream
from cawe_jax.types import Explanation, Image, Images, Key, Masks

_EXCHANGE_DRAWS = 16
_MAX_ROUNDS = 40
_SINGLE_CANDIDATES = 4


@own_rules()
def explain_budget(
  classifier: Classifier,
  images: Image | Images,
  method: Method,
  budget: int,
  *,
  key: Key,
  targets: Any = None,
  image_ids: Any = None,
  callback: Callback | None = None,
  rows: int | None = None,
) -> Explanation:
  """Explain with a binary mask of exactly ``budget`` entries.

  Args:
    classifier: As for :func:`cawe_jax.explain`.
    images: ``[H, W, C]`` or ``[B, H, W, C]``.
    method: Finds the relaxed mask that is made binary.
    budget: Number l of entries to keep, an integer from 1 to k - 1.
    key: As for :func:`cawe_jax.explain`.
    targets: As for :func:`cawe_jax.explain`.
    image_ids: As for :func:`cawe_jax.explain`.
    callback: As for :func:`cawe_jax.explain`; called for the relaxed run, and then
      after every round of exchanges with the binary masks and the steps all done.
    rows: As for :func:`cawe_jax.explain`.

  Returns:
    The explanation with the better of the exchanged and the top-l mask, which is
    chosen on draws that it is not reported on.

  Raises:
    ValueError: The budget is out of range, or as for :func:`cawe_jax.explain`.

  References:
    The interactive article, eq. 3; Kolek et al., ECCV 2022, Def. 2.
  """
  shape = checks.check_images(images).shape[1:]
  num_entries = contracts.bind(method.representation, shape).num_entries
  contracts.check_count("budget", budget, num_entries - 1)
  session = Session(
    classifier, images, method, key=key, targets=targets, image_ids=image_ids, rows=rows
  )
  relaxed = optimise(session, classifier, method, None, callback)
  _, slope = _evaluate(session, relaxed.mask)
  top = top_l(relaxed.mask, budget, tie_break=jax.tree.map(np.negative, slope))

  def watch(masks: Masks, done: np.ndarray) -> bool:
    steps = method.recipe.num_steps
    progress = Progress(steps, steps, masks, ~done, relaxed.history)
    return bool(callback is not None and callback(progress))

  exchanged, evaluations = _exchange(session, top, watch)
  found = Found(best_of(session, [top, exchanged]), relaxed.num_steps, relaxed.history)
  explanation = assemble(session, found)
  explanation = explanation._replace(
    model_evaluations=explanation.model_evaluations + evaluations
  )
  return session.answer(explanation)


def top_l(masks: Masks, budget: int, tie_break: Masks | None = None) -> Masks:
  """Ones at the ``budget`` largest entries of each mask, zeros elsewhere.

  Args:
    masks: ``[B, ...]`` per leaf.
    budget: Number of ones.
    tie_break: Ranks equal entries, larger first; remaining ties go by position.

  Example:
    >>> top_l((np.array([[0.1, 0.9, 0.5]]),), 2)[0].tolist()
    [[0.0, 1.0, 1.0]]
  """
  values = flat(masks)
  second = np.zeros_like(values) if tie_break is None else flat(tie_break)
  hard = np.zeros(values.shape, np.float32)
  for row, first, then in zip(hard, values, second, strict=True):
    row[np.lexsort((-then, -first))[:budget]] = 1
  return unflat(hard, masks)


def _exchange(
  session: Session, masks: Masks, watch: Callable[[Masks, np.ndarray], bool]
) -> tuple[Masks, int]:
  """Exchange entries while that lowers the distortion; masks and evaluations each.

  ``watch`` sees the masks and which images are done; a true value ends it.
  """
  current = flat(masks).copy()
  value, gradient = _evaluate(session, masks)
  slope = flat(gradient)
  budget = int(current[0].sum())
  size = np.full(session.size, max(1, min(budget, current.shape[1] - budget) // 4))
  done = np.zeros(session.size, bool)
  tried = np.zeros(session.size, int)  # single exchanges tried since the last success
  rounds = 1
  while not done.all() and rounds < _MAX_ROUNDS:
    proposal = current.copy()
    for i in np.flatnonzero(~done):
      _propose(proposal[i], slope[i], int(size[i]), int(tried[i]))
    new_value, gradient = _evaluate(session, unflat(proposal, masks))
    new_slope = flat(gradient)
    rounds += 1
    for i in np.flatnonzero(~done):
      if new_value[i] < value[i]:
        current[i], value[i], slope[i] = proposal[i], new_value[i], new_slope[i]
        tried[i] = 0
      elif size[i] > 1:
        size[i] //= 2
      else:
        tried[i] += 1
        done[i] = tried[i] >= _SINGLE_CANDIDATES**2
    if watch(unflat(current, masks), done):
      break
  return unflat(current, masks), rounds * _num_draws(session)


def _propose(mask: np.ndarray, slope: np.ndarray, size: int, attempt: int) -> None:
  """Exchange, in place, the ``size`` best pairs, or the ``attempt``-th single pair."""
  ones, zeros = np.flatnonzero(mask == 1), np.flatnonzero(mask == 0)
  out = ones[np.argsort(-slope[ones], kind="stable")]
  into = zeros[np.argsort(slope[zeros], kind="stable")]
  if size == 1:
    pairs = sorted(
      np.ndindex(min(len(out), _SINGLE_CANDIDATES), min(len(into), _SINGLE_CANDIDATES)),
      key=lambda pair: slope[into[pair[1]]] - slope[out[pair[0]]],
    )
    row, column = pairs[attempt % len(pairs)]
    out, into = out[row : row + 1], into[column : column + 1]
  mask[out[:size]], mask[into[:size]] = 0, 1


def _evaluate(session: Session, masks: Masks) -> tuple[np.ndarray, Masks]:
  found = session.evaluate(masks, Stream.EXCHANGE, _num_draws(session))
  return found.estimate.distortion.copy(), found.gradient


def _num_draws(session: Session) -> int:
  return session.num_different(_EXCHANGE_DRAWS)
