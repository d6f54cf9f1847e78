"""How much the output changes with a share of the entries kept, or replaced.

The published comparison of explanation methods, whatever made the relevance: order the
entries, keep the most relevant ones, replace the others by noise, and measure the
distortion (Kolek et al., ECCV 2022, Fig. 7a); or replace the most relevant ones and
keep the others (Fig. 7b). A good ranking falls steeply at once, or rises at once.

All points of an image, and all rankings of the same representation, see the same draws
of the noise. Every obfuscation is clipped to [0, 1], as in the objective.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax import distortions, perturbations, recipes
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.engine import checks
from cawe_jax.engine.session import Session
from cawe_jax.methods import Method, contracts
from cawe_jax.metrics.currencies import bits_of_top, energy, energy_of_top, value_bits
from cawe_jax.metrics.ranks import (
  MaskFn,
  Relevance,
  check_fraction,
  check_relevance,
  keep,
  ranking,
  to_mask,
)
from cawe_jax.numerics.ambient import own_rules
from cawe_jax.numerics.streams import Stream
from cawe_jax.types import Array, Distortion, Images, Key, Perturbation, Transform

FRACTIONS = tuple(i / 100 for i in (*range(10), *range(10, 101, 5)))
"""Steps of 1 % below 10 %, where curves differ most, then of 5 %; 0 and 1 included."""


class Curve(NamedTuple):
  """Distortion over the share of entries, for P shares and B images.

  Attributes:
    fraction: Share of the entries that was kept, or replaced, the most relevant first,
      ``[P]``; rounded to whole entries.
    distortion: Mean over draws, ``[B, P]``.
    standard_error: Standard error of that mean; 0 where all draws are the same, NaN for
      one random draw, ``[B, P]``.
    score: Mean of the target's score, by default its probability, ``[B, P]``.
    agreement: Share of draws for which the network itself says the target, ``[B, P]``;
      NaN for a regression.
    energy: Share of the squared coefficients in these entries, ``[B, P]``; see
      :mod:`cawe_jax.metrics.currencies`.
    bits: Code length of these entries, ``[B, P]``; likewise.
  """

  fraction: np.ndarray
  distortion: np.ndarray
  standard_error: np.ndarray
  score: np.ndarray
  agreement: np.ndarray
  energy: np.ndarray
  bits: np.ndarray


@own_rules()
def rate_distortion_curve(
  classifier: Classifier,
  images: Images,
  relevance: Relevance,
  transform: Transform,
  *,
  key: Key,
  mask_fn: MaskFn = keep,
  perturbation: Perturbation | None = None,
  distortion: Distortion = distortions.l2,
  fractions: Sequence[float] | np.ndarray = FRACTIONS,
  num_draws: int = 16,
  targets: Any = None,
  image_ids: Any = None,
  rows: int | None = None,
) -> Curve:
  """Distortion with the most relevant entries kept, or replaced.

  Args:
    classifier: The network.
    images: ``[B, H, W, C]``, float in [0, 1].
    relevance: What is ranked: like B masks of the representation, larger = more
      relevant, equal entries in random order; ``Explanation.mask`` is one, of which
      the curve tells something up to the share of entries above zero, ``rate_l0``:
      beyond it come zeros, whose order is random.
    transform: The representation whose entries are ranked.
    key: As for :func:`cawe_jax.explain`. The same key gives all rankings of one
      representation the same noise.
    mask_fn: :func:`~cawe_jax.metrics.keep` keeps the most relevant entries,
      :func:`~cawe_jax.metrics.randomise` replaces them; or a :class:`.MaskFn` of yours.
    perturbation: What replaces an entry; by default adaptive Gaussian noise with the
      law of this representation.
    distortion: By default the l2 distance of the probabilities, not squared, as
      published; a regression wants ``distortions.automatic``.
    fractions: P shares of the entries in [0, 1], in increasing order.
    num_draws: For each point and image.
    targets: As for :func:`cawe_jax.explain`.
    image_ids: As for :func:`cawe_jax.explain`.
    rows: As for :func:`cawe_jax.explain`.

  Returns:
    The curve, one row per image; an image's row does not depend on its batch.

  Raises:
    ValueError: An argument is out of range, the relevance does not fit the
      representation, the distortion has no meaning for the network's outputs, or the
      distortion is NaN.

  Example:
    >>> from cawe_jax.representations import pixel
    >>> linear = lambda w, images: images.reshape(len(images), -1) @ w
    >>> weights = jnp.array([[4.0, 0.0], [0.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
    >>> curve = rate_distortion_curve(
    ...   Classifier(linear, weights, 2),
    ...   jnp.ones((1, 2, 2, 1)),
    ...   (weights[:, 0].reshape(1, 1, 2, 2, 1),),
    ...   pixel(),
    ...   key=jax.random.key(0),
    ...   perturbation=perturbations.zeros(),
    ...   fractions=(0.0, 0.5, 1.0),
    ... )
    >>> [round(float(distortion), 3) for distortion in curve.distortion[0]]
    [0.704, 0.0, 0.0]

  References:
    Kolek et al., Cartoon Explanations of Image Classifiers, ECCV 2022, Sec. 5.2.
  """
  batch = checks.check_images(images)
  representation = contracts.bind(transform, batch.shape[1:])
  relevance = check_relevance(relevance, representation, len(batch))
  fraction = _check_fractions(fractions)
  method = Method(
    "rate-distortion",
    transform,
    perturbation or perturbations.adaptive_gaussian(),
    distortion,
    0.0,
    (),
    (),
    recipes.default()._replace(num_draws=num_draws),
  )
  ids = checks.check_ids(image_ids, batch)
  session = Session(
    classifier, batch, method, key=key, targets=targets, image_ids=ids, rows=rows
  )
  keys = jax.vmap(jax.random.fold_in, (None, 0))(checks.check_key(key), ids)
  ranks = np.asarray(_rankings(relevance, keys))
  counts = np.rint(fraction * representation.num_entries).astype(int)
  points = []
  for count in counts:
    masks = to_mask(mask_fn(ranks, count), representation.mask_shapes)
    points.append(session.estimate(masks, Stream.CURVE, session.num_draws))
  estimate = jax.tree.map(lambda *xs: np.stack(xs, axis=1), *points)
  if np.isnan(estimate.distortion).any():
    raise ValueError(
      f"the curve is NaN; one of these returned NaN: distortion "
      f"{contracts.name_of(distortion)}, perturbation {method.perturbation.name}, "
      f"classifier {classifier.name!r} (finite on the images, perhaps not when masked)"
    )
  coefficients = session.crop(session.problems.coefficients)
  agreement = estimate.agreement
  if not session.output.is_probability:
    agreement = np.full_like(agreement, np.nan)
  return Curve(
    fraction,
    estimate.distortion,
    session.standard_error(estimate, session.num_draws),
    estimate.score,
    agreement,
    energy_of_top(np.asarray(jax.vmap(energy)(coefficients)), ranks)[:, counts],
    bits_of_top(np.asarray(_value_bits(coefficients)), ranks)[:, counts],
  )


@jax.jit
def _rankings(relevance: Relevance, keys: Array) -> Array:
  ties = jax.vmap(jax.random.fold_in, (0, None))(keys, jnp.uint32(Stream.TIES))
  return jax.vmap(ranking)(relevance, ties)


_value_bits = jax.jit(jax.vmap(value_bits))


def _check_fractions(fractions: Sequence[float] | np.ndarray) -> np.ndarray:
  array = np.asarray(fractions, np.float64)
  if array.ndim != 1 or not array.size:
    raise ValueError(f"fractions is {fractions}; it must be a list of numbers")
  for fraction in array:
    check_fraction(fraction)
  if np.any(np.diff(array) <= 0):
    raise ValueError(f"fractions is {fractions}; they must increase")
  return array
