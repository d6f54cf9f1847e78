"""Metrics that have a name.

Shell (``--metric``) and sweeps (``config.metrics``) have theirs from :data:`METRICS`.
A new one is a function of :class:`~cawe_jax.metrics.Judged`, which is in ``judged.py``,
in a file of its own in this folder, and one row here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cawe_jax.metrics.confidence import confidence_bounds
from cawe_jax.metrics.curves import area_under_curve
from cawe_jax.metrics.holding import retained_under
from cawe_jax.metrics.insertion import insertion_deletion
from cawe_jax.metrics.judged import Judged, Metric
from cawe_jax.metrics.pixel_space import pixel_map
from cawe_jax.metrics.ranks import MaskFn, keep, randomise
from cawe_jax.metrics.rate_distortion import rate_distortion_curve
from cawe_jax.metrics.retention import judging_method, retained
from cawe_jax.representations import pixel
from cawe_jax.types import Array


class NamedMetric(NamedTuple):
  """A metric that has a name.

  Attributes:
    title: What it measures, as people write it.
    metric: The metric.
  """

  title: str
  metric: Metric


def agreement(judged: Judged) -> dict[str, Array]:
  """How often the network still says the target, with noise and without.

  Returns:
    ``retained_agreement`` and ``explanation_agreement`` of
    :class:`cawe_jax.metrics.Retained`, in [0, 1].

  Raises:
    ValueError: The entries are not in [0, 1], as those of an attribution need not be.
  """
  found = retained(*judged.subject, perturbation=judged.perturbation, **judged.alike)
  return {
    "retained_agreement": found.retained_agreement,
    "explanation_agreement": found.explanation_agreement,
  }


def insertion_and_deletion(judged: Judged) -> dict[str, Array]:
  """Areas under the target's score while the most relevant pixels come, or go.

  A mask of another representation is spread over pixels by
  :func:`cawe_jax.metrics.pixel_map`; so are the absolute values of its attribution.

  Returns:
    ``insertion``, larger is better, and ``deletion``, smaller is better.
  """
  relevance = judged.relevance
  if judged.transform != pixel():
    magnitudes = tuple(np.abs(leaf) for leaf in relevance)
    size = judged.images.shape[1:3]
    relevance = pixel_map(magnitudes, judged.transform, size)
  found = insertion_deletion(
    judged.classifier, judged.images, relevance, **judged.alike
  )
  return {"insertion": found.insertion, "deletion": found.deletion}


def rate_distortion(judged: Judged) -> dict[str, Array]:
  """Areas under the distortion while the most relevant entries are kept, or replaced.

  Returns:
    ``kept_area``, smaller is better, and ``replaced_area``, larger is better: l2
    distances of the probabilities.

  References:
    Kolek et al., Cartoon Explanations of Image Classifiers, ECCV 2022, Fig. 7.
  """

  def area(mask_fn: MaskFn) -> np.ndarray:
    curve = rate_distortion_curve(
      *judged.subject,
      mask_fn=mask_fn,
      perturbation=judged.perturbation,
      **judged.alike,
    )
    return area_under_curve(curve.fraction, curve.distortion)

  return {"kept_area": area(keep), "replaced_area": area(randomise)}


def holds(judged: Judged) -> dict[str, Array]:
  """What the mask retains under perturbations that it was not found under.

  Returns:
    ``retained_under_gaussian``, ``_uniform``, ``_zeros``, ``_mean``, ``_blur`` and
    ``_infill``: the numbers of :func:`cawe_jax.metrics.retained_under`.

  Raises:
    ValueError: The entries are not in [0, 1], as those of an attribution need not be.
  """
  found = retained_under(*judged.subject, **judged.alike)
  return {f"retained_under_{name}": share for name, share in found.items()}


BOUND_NUMBERS = (
  "distortion_bound",
  "retained_probability_bound",
  "retained_agreement_bound",
  "bound_draws",
)
"""Names of the fields of :class:`cawe_jax.metrics.Bounds` among numbers of metrics."""


def bounds(judged: Judged, confidence: float = 0.95) -> dict[str, Array]:
  """What the mask holds at least, with a confidence of 95 % or another.

  Returns:
    ``distortion_bound``, an upper one, ``retained_probability_bound`` and
    ``retained_agreement_bound``, lower ones, and ``bound_draws``, the number of draws:
    the numbers of :func:`cawe_jax.metrics.confidence_bounds`.

  Raises:
    ValueError: The entries are not in [0, 1], as those of an attribution need not be.
  """
  method = judging_method(judged.transform, judged.perturbation, judged.distortion)
  found = confidence_bounds(
    judged.classifier,
    judged.images,
    judged.relevance,
    method,
    confidence=confidence,
    **judged.alike,
  )
  return dict(zip(BOUND_NUMBERS, found, strict=True))


METRICS: dict[str, NamedMetric] = {
  "agreement": NamedMetric("How often the network says the same", agreement),
  "bounds": NamedMetric("What is retained at least, with 95 % confidence", bounds),
  "holds": NamedMetric("What is retained under other perturbations", holds),
  "insertion-deletion": NamedMetric(
    "The score while pixels come or go", insertion_and_deletion
  ),
  "rate-distortion": NamedMetric(
    "The change while entries are kept or replaced", rate_distortion
  ),
}
