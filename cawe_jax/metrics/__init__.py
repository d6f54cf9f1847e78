"""What an explanation is worth: one value per image, for every method alike."""

from cawe_jax.metrics.betting import lower_bound
from cawe_jax.metrics.confidence import Bounds, confidence_bounds
from cawe_jax.metrics.curves import area_under_curve, on_axis
from cawe_jax.metrics.holding import LAWS, retained_under
from cawe_jax.metrics.insertion import InsertionDeletion, insertion_deletion
from cawe_jax.metrics.judged import Judged, Metric, measure
from cawe_jax.metrics.names import METRICS, NamedMetric, bounds
from cawe_jax.metrics.parameter_randomisation import (
  ModelRandomisation,
  model_randomisation,
)
from cawe_jax.metrics.pixel_space import pixel_map
from cawe_jax.metrics.ranks import Relevance, keep, randomise, ranking, top_mask
from cawe_jax.metrics.rate_distortion import FRACTIONS, Curve, rate_distortion_curve
from cawe_jax.metrics.retention import Retained, retained
from cawe_jax.metrics.stability import (
  Stability,
  rank_correlation,
  seed_stability,
  top_overlap,
)

__all__ = [
  "FRACTIONS",
  "LAWS",
  "METRICS",
  "Bounds",
  "Curve",
  "InsertionDeletion",
  "Judged",
  "Metric",
  "ModelRandomisation",
  "NamedMetric",
  "Relevance",
  "Retained",
  "Stability",
  "area_under_curve",
  "bounds",
  "confidence_bounds",
  "insertion_deletion",
  "keep",
  "lower_bound",
  "measure",
  "model_randomisation",
  "on_axis",
  "pixel_map",
  "randomise",
  "rank_correlation",
  "ranking",
  "rate_distortion_curve",
  "retained",
  "retained_under",
  "seed_stability",
  "top_mask",
  "top_overlap",
]
