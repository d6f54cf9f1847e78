"""Insertion and deletion: the target's score while pixels come and go.

The protocol of RISE: pixels are uncovered on a blurred image, or covered on the image,
in order of relevance, and the area under the target's score is taken. Insertion should
rise at once (a large area), deletion fall at once (a small one). Both are the curves of
:mod:`cawe_jax.metrics.rate_distortion` with other replacements, so that ties and errors
are treated alike.

RISE's code blurs with a kernel of 11 pixels cut from a Gaussian of 5; here the Gaussian
is whole. It deletes to the mean colour of the training images, which only a network's
normalisation knows; here to mid-grey, which is close to it and out of no image's reach.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cawe_jax import distortions, perturbations
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.engine import checks
from cawe_jax.metrics.curves import area_under_curve
from cawe_jax.metrics.ranks import Relevance, keep, randomise
from cawe_jax.metrics.rate_distortion import rate_distortion_curve
from cawe_jax.representations import pixel
from cawe_jax.types import Images, Key, Perturbation


class InsertionDeletion(NamedTuple):
  """Scores of B images over P shares of inserted or deleted pixels.

  Attributes:
    insertion: Area under ``insertion_score``, ``[B]``; larger is better.
    deletion: Area under ``deletion_score``, ``[B]``; smaller is better.
    fraction: Share of the pixels that are inserted or deleted, ``[P]``.
    insertion_score: The score of the target, by default its probability, ``[B, P]``.
    deletion_score: Likewise.
  """

  insertion: np.ndarray
  deletion: np.ndarray
  fraction: np.ndarray
  insertion_score: np.ndarray
  deletion_score: np.ndarray


def insertion_deletion(
  classifier: Classifier,
  images: Images,
  relevance: Relevance,
  *,
  key: Key,
  insertion_start: Perturbation | None = None,
  deletion_end: Perturbation | None = None,
  num_points: int = 225,
  targets: Any = None,
  image_ids: Any = None,
  rows: int | None = None,
) -> InsertionDeletion:
  """Areas under the target's score while the most relevant pixels come or go.

  Args:
    classifier: The network.
    images: ``[B, H, W, C]``, float in [0, 1].
    relevance: Relevance of each pixel, one leaf ``[B, 1, H, W, 1]``, larger = more
      relevant; equal entries in random order. Of a mask of wavelets take
      :func:`cawe_jax.metrics.pixel_map`.
    key: Orders equal entries; as for :func:`cawe_jax.explain`.
    insertion_start: Shows where pixels are not yet inserted; by default the image
      blurred by a Gaussian of 5 pixels.
    deletion_end: Shows where pixels are deleted; by default mid-grey, 0.5.
    num_points: Number P of points, evenly spaced from 0 to 1. RISE has a point every
      224 pixels, which is 225 for 224 x 224.
    targets: As for :func:`cawe_jax.explain`.
    image_ids: As for :func:`cawe_jax.explain`.
    rows: As for :func:`cawe_jax.explain`.

  Returns:
    Areas and curves, one row per image.

  Raises:
    ValueError: As for :func:`rate_distortion_curve`; fewer than two points.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> linear = lambda w, images: images.reshape(len(images), -1) @ w
    >>> weights = jnp.array([[9.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    >>> found = insertion_deletion(
    ...   Classifier(linear, weights, 2),
    ...   jnp.ones((1, 2, 2, 1)),
    ...   (weights[:, 0].reshape(1, 1, 2, 2, 1),),
    ...   key=jax.random.key(0),
    ...   insertion_start=perturbations.zeros(),
    ...   deletion_end=perturbations.zeros(),
    ...   num_points=5,
    ... )
    >>> found.insertion_score.round(2).tolist(), found.deletion_score.round(2).tolist()
    ([[0.5, 1.0, 1.0, 1.0, 1.0]], [[1.0, 0.5, 0.5, 0.5, 0.5]])

  References:
    Petsiuk, Das and Saenko, RISE: Randomized Input Sampling for Explanation of
    Black-box Models, BMVC 2018, Sec. 4.
  """
  if num_points < 2:
    raise ValueError(f"num_points is {num_points}; it must be at least 2")
  batch = checks.check_images(images)

  def score(mask_fn, perturbation: Perturbation) -> np.ndarray:
    return rate_distortion_curve(
      classifier,
      batch,
      relevance,
      pixel(),
      key=key,
      mask_fn=mask_fn,
      perturbation=perturbation,
      distortion=distortions.automatic,
      fractions=fraction,
      targets=targets,
      image_ids=image_ids,
      rows=rows,
    ).score

  fraction = np.linspace(0, 1, num_points)
  inserted = score(keep, insertion_start or perturbations.blur(5.0))
  deleted = score(randomise, deletion_end or perturbations.constant(0.5))
  return InsertionDeletion(
    area_under_curve(fraction, inserted),
    area_under_curve(fraction, deleted),
    fraction,
    inserted,
    deleted,
  )
