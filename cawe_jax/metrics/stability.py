"""How much two relevances of one image agree, and those of several seeds.

Only the order counts, as everywhere in these metrics. A sparse mask has very many equal
entries; they share the mean of their ranks, and the places they compete for among the
most relevant, so that a relevance agrees with itself fully and no chance is involved.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import rankdata

from cawe_jax.metrics.ranks import (
  Relevance,
  check_alike,
  check_axes,
  check_fraction,
)
from cawe_jax.numerics.ambient import own_rules
from cawe_jax.types import Array


class Stability(NamedTuple):
  """Agreement of S relevances of each of B images, over all pairs, each ``[B]``.

  Attributes:
    correlation: Mean Spearman rank correlation; NaN where a relevance is constant.
    overlap: Mean intersection over union of the most relevant entries.
  """

  correlation: np.ndarray
  overlap: np.ndarray


def seed_stability(relevances: Relevance, fraction: float = 0.05) -> Stability:
  """How far explanations with several seeds agree.

  Args:
    relevances: ``[S, B, ...]`` per leaf: S seeds, at least 2, of B images each.
    fraction: Share of the entries that count as the most relevant, above 0, at most 1;
      rounded to whole entries, at least one.

  Returns:
    One value per image, each the mean over ``S (S - 1) / 2`` pairs.

  Raises:
    ValueError: Fewer than two seeds, leaves of other seeds or images than each other,
      or a fraction out of range.

  Example:
    >>> first, second = [[4.0, 3.0, 2.0, 1.0]], [[4.0, 3.0, 1.0, 2.0]]
    >>> found = seed_stability((np.array([first, second]),), fraction=0.75)
    >>> round(float(found.correlation[0]), 2), float(found.overlap[0])
    (0.8, 0.5)
  """
  if not 0 < fraction <= 1:
    raise ValueError(f"fraction is {fraction}; it must be above 0 and at most 1")
  num_seeds, _ = check_axes("relevances", relevances, "SB")
  if num_seeds < 2:
    raise ValueError(f"relevances has {num_seeds} seed(s); it must have at least 2")
  seeds = [tuple(leaf[i] for leaf in relevances) for i in range(num_seeds)]
  pairs = list(itertools.combinations(seeds, 2))
  return Stability(
    np.mean([rank_correlation(*pair) for pair in pairs], axis=0),
    np.mean([top_overlap(*pair, fraction) for pair in pairs], axis=0),
  )


@own_rules()
def rank_correlation(first: Relevance, second: Relevance) -> np.ndarray:
  """Spearman's rank correlation of two relevances of each image.

  Args:
    first: ``[B, ...]`` per leaf.
    second: Likewise.

  Returns:
    ``[B]`` in [-1, 1], up to rounding; NaN where either is constant or has NaN.

  Raises:
    ValueError: The two are of different images or representations, or of one image
      without a leading axis.

  Example:
    >>> first, second = (np.array([[1.0, 2.0]]),), (np.array([[3.0, 1.0]]),)
    >>> rank_correlation(first, second).round(4).tolist()
    [-1.0]
  """
  check_alike(first, second)
  return np.asarray(_spearman(_flat(first), _flat(second)))


@own_rules()
def top_overlap(first: Relevance, second: Relevance, fraction: float) -> np.ndarray:
  """Intersection over union of the most relevant entries of two relevances.

  Entries that tie for the last places have an equal share of each, between 0 and 1; the
  intersection is then the sum of the smaller share, the union that of the larger.

  Args:
    first: ``[B, ...]`` per leaf, k entries in all.
    second: Likewise.
    fraction: Share of the entries, in [0, 1]; rounded to whole entries, at least one.

  Returns:
    ``[B]`` in [0, 1].

  Raises:
    ValueError: The fraction is outside [0, 1]; the two are of different images or
      representations, or of one image without a leading axis.

  Example:
    >>> relevance = (np.array([[2.0, 0.0, 0.0, 0.0]]),)
    >>> float(top_overlap(relevance, relevance, 0.5)[0])
    1.0
  """
  check_fraction(fraction)
  check_alike(first, second)
  flat = _flat(first), _flat(second)
  count = max(1, round(fraction * flat[0].shape[1]))
  return np.asarray(_overlap(*flat, count))


def _flat(relevance: Relevance) -> np.ndarray:
  # On the host, since the two may be on different devices.
  return np.concatenate([np.reshape(leaf, (len(leaf), -1)) for leaf in relevance], 1)


@jax.jit
@jax.vmap
def _spearman(first: Array, second: Array) -> Array:
  def standardised(values: Array) -> Array:
    ranks = rankdata(values) / values.size
    centred = ranks - jnp.mean(ranks)
    return centred / jnp.sqrt(jnp.sum(centred**2))

  correlation = jnp.sum(standardised(first) * standardised(second))
  varies = (jnp.ptp(first) > 0) & (jnp.ptp(second) > 0)
  return jnp.where(varies, correlation, jnp.nan)


@jax.jit
def _overlap(first: Array, second: Array, count: int) -> Array:
  def one(first: Array, second: Array) -> Array:
    a, b = _share_of_top(first, count), _share_of_top(second, count)
    return jnp.sum(jnp.minimum(a, b)) / jnp.sum(jnp.maximum(a, b))

  return jax.vmap(one)(first, second)


def _share_of_top(values: Array, count: Array) -> Array:
  """1 for what is among the ``count`` largest, 0 for what is not, between for ties."""
  threshold = jnp.sort(values, descending=True)[count - 1]
  above, tied = values > threshold, values == threshold
  places = count - jnp.sum(above)
  share = tied.astype(places.dtype) * places / jnp.sum(tied)
  return above.astype(share.dtype) + share
