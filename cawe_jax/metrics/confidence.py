"""Bounds of what a mask holds, valid with a given confidence and for any noise.

An :class:`~cawe_jax.types.Explanation` reports means over 64 draws with standard
errors, which speak of normal distributions. Where one draw in fifty loses the class, 64
draws may not have met it. These bounds assume nothing but that draws are independent.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from cawe_jax import distortions
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.engine import checks
from cawe_jax.engine.session import Session
from cawe_jax.explaining.one import known_probability
from cawe_jax.methods import Method, contracts
from cawe_jax.metrics.betting import lower_bound
from cawe_jax.numerics.ambient import own_rules
from cawe_jax.numerics.streams import Stream
from cawe_jax.numerics.tiles import Which
from cawe_jax.outputs import Output
from cawe_jax.types import Distortion, Image, Images, Key, Mask, Masks

WIDTH, MOST_DRAWS = 0.05, 2048
"""How far a bound may be from the mean before draws end, and how many there are."""

_FIRST_LOOK = 64
_LARGEST: dict[Distortion, float] = {
  distortions.label_squared_error: 1,
  distortions.automatic: 1,
  distortions.lost_share: 1,
  distortions.maximise_label: 1,
  distortions.maximise_probability: 1,
  distortions.l2: math.sqrt(2),
  distortions.squared_l2: 2,
}


class Bounds(NamedTuple):
  """What B masks hold at least, each ``[B]``; NaN where there is no bound.

  Each holds with the given confidence by itself.

  Attributes:
    distortion: An upper bound of the expected distortion; NaN for a distortion that has
      no largest value, such as `kl`, or none that is known.
    retained_probability: A lower bound of the expected ``p_t(y) / p_t(x)``; NaN for a
      regression, or where ``p_t(x)`` is below 0.001.
    retained_agreement: A lower bound of how often the network says the target itself;
      NaN for a regression.
    num_draws: The number of draws that this took.
  """

  distortion: np.ndarray
  retained_probability: np.ndarray
  retained_agreement: np.ndarray
  num_draws: np.ndarray


@own_rules()
def confidence_bounds(
  classifier: Classifier,
  images: Image | Images,
  masks: Mask | Masks,
  method: Method,
  *,
  key: Key,
  confidence: float = 0.95,
  width: float = WIDTH,
  most_draws: int = MOST_DRAWS,
  targets: Any = None,
  image_ids: Any = None,
  rows: int | None = None,
) -> Bounds:
  """Bound what masks hold, on draws that nothing was chosen or reported on.

  Draws are made, and doubled in number, until every bound is as near to the mean of
  the draws as wanted. Bounds hold although that looks at the draws.

  Args:
    classifier: The network.
    images: ``[H, W, C]`` or ``[B, H, W, C]``, float in [0, 1].
    masks: Like ``Explanation.mask``, ``[B, ...]`` per leaf for a batch.
    method: Says what the mask is a mask of, what replaces the rest and what must not
      change. Nothing else of it matters.
    key: As for :func:`cawe_jax.explain`.
    confidence: How sure each bound is, above 0 and below 1.
    width: How far a bound may be from the mean, in units of the largest distortion, of
      the clean probability, and of all draws; above 0.
    most_draws: Draws at most, at least 1.
    targets: As for :func:`cawe_jax.explain`.
    image_ids: As for :func:`cawe_jax.explain`.
    rows: As for :func:`cawe_jax.explain`.

  Returns:
    The bounds; without the axis of images for one image. Where nothing is random they
    are the values themselves, of one draw.

  Raises:
    ValueError: An argument is out of range, or as for :func:`cawe_jax.explain`.

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from cawe_jax.methods import pixel_rde
    >>> linear = lambda w, images: images.reshape(len(images), -1) @ w
    >>> classifier = Classifier(linear, 9 * jnp.eye(4, 2), 2)
    >>> image = jnp.array([[1.0, 0.0], [0.2, 0.4]])[..., None]
    >>> mask = (jnp.array([[1.0, 1.0], [0.0, 0.0]])[None, ..., None],)
    >>> found = confidence_bounds(
    ...   classifier, image, mask, pixel_rde(), key=jax.random.key(0)
    ... )
    >>> found.retained_probability.round(2), int(found.num_draws)
    (np.float64(0.97), 128)

  References:
    Kolek et al., ECCV 2022, Sec. 3, for the expected distortion; Waudby-Smith and
    Ramdas, 2023, for bounds of means.
  """
  _check_number("confidence", confidence, 1)
  _check_number("width", width, math.inf)
  contracts.check_count("most_draws", most_draws)
  session = Session(
    classifier, images, method, key=key, targets=targets, image_ids=image_ids, rows=rows
  )
  masks = session.checked("masks", session.batched(masks))
  largest_distortion = _largest(method.distortion, session.output)
  is_probability = np.full(session.size, session.output.is_probability)
  probability = np.where(is_probability, session.clean_scores(), np.nan)
  score = known_probability(probability.astype(np.float64))
  is_bounded = np.full_like(is_probability, np.isfinite(largest_distortion))
  bounded = np.stack([is_bounded, np.isfinite(score), is_probability], axis=1)
  ones = np.ones_like(score)
  wanted = np.where(bounded, width * np.stack([ones, score, ones], axis=1), np.inf)
  goods = functools.partial(_goods, session, masks, largest_distortion)
  low, counts = _search(session, goods, wanted, confidence, most_draws)
  low = np.where(bounded, low, np.nan)
  found = Bounds(
    largest_distortion * (1 - low[:, 0]), low[:, 1] / score, low[:, 2], counts
  )
  return session.answer(found)


def _largest(distortion: Distortion, output: Output) -> float:
  """The largest value of a distortion; infinite where there is none, or none known."""
  known = (most for function, most in _LARGEST.items() if function is distortion)
  return next(known, math.inf) if output.is_probability else math.inf


def _check_number(name: str, value: float, limit: float) -> None:
  if not (isinstance(value, int | float | np.number) and 0 < value < limit):
    allowed = "above 0" + (f" and below {limit:g}" if math.isfinite(limit) else "")
    raise ValueError(f"{name} is {value!r}; it must be a number {allowed}")


def _search(
  session: Session,
  goods: Callable[[int, int, np.ndarray], np.ndarray],
  wanted: np.ndarray,
  confidence: float,
  most_draws: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Lower bounds ``[B, 3]`` as near to the means as wanted, and draws ``[B]``.

  Each image has its draws for itself: those beside it change nothing.
  """
  undone = np.ones(session.size, bool)
  if not session.perturbation.is_random:
    return goods(0, 1, undone)[..., 0], undone.astype(int)
  values = np.empty((session.size, 3, 0))
  low, counts = np.zeros((session.size, 3)), np.zeros(session.size, int)
  count = min(_FIRST_LOOK, most_draws)
  while undone.any():
    first = values.shape[-1]
    more = goods(first, count - first, undone)
    values = np.concatenate([values, more], axis=-1)
    low[undone] = lower_bound(values[undone], confidence)
    counts[undone] = count
    is_near = np.all(values.mean(-1) - low <= wanted, axis=1)
    undone &= ~is_near & (count < most_draws)
    count = min(2 * count, most_draws)
  return low, counts


def _goods(
  session: Session,
  masks: Masks,
  largest_distortion: float,
  first: int,
  count: int,
  wanted: np.ndarray,
) -> np.ndarray:
  """What some draws from the first one on are worth, ``[B, 3, count]`` in [0, 1].

  In turn one minus the share of the largest distortion, the score, and whether the
  target is said. Each draw has a step of its own, so that it is independent of the
  others, which those of one step are not.
  """
  steps = np.uint32(Stream.BOUNDS) + np.arange(first, first + count, dtype=np.uint32)
  worth = session.worth(masks, Which(steps, np.zeros_like(steps)), wanted)
  asked = np.where(wanted[:, None], worth.distortion, 0)
  checks.check_judged(asked, session.classifier)
  if math.isfinite(largest_distortion):
    share = worth.distortion.astype(np.float64) / largest_distortion
  else:
    share = np.zeros_like(worth.distortion)
  return np.clip(np.stack([1 - share, worth.score, worth.agreement], axis=1), 0, 1)
