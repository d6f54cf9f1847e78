"""What an explanation is worth: one value per image, for every method alike."""

from cawe_jax.metrics.curves import area_under_curve, on_axis
from cawe_jax.metrics.ranking import Relevance, keep, randomise, ranking, top_mask
from cawe_jax.metrics.rate_distortion import FRACTIONS, Curve, rate_distortion_curve

__all__ = [
  "FRACTIONS",
  "Curve",
  "Relevance",
  "area_under_curve",
  "keep",
  "on_axis",
  "randomise",
  "ranking",
  "rate_distortion_curve",
  "top_mask",
]
