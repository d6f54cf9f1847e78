"""CartoonX in JAX: the piece-wise smooth part of an image behind a decision."""

from cawe_jax.classifiers import Classifier, classifier_names, load_classifier
from cawe_jax.explain import Progress, explain
from cawe_jax.hard_masks import explain_budget
from cawe_jax.images import load_image
from cawe_jax.methods import Method, cartoonx, pixel_rde, smooth_pixel_rde, waveletx
from cawe_jax.paths import explain_path, explain_retaining
from cawe_jax.presets import preset
from cawe_jax.storage import load, load_metadata, save
from cawe_jax.types import Explanation, History

__version__ = "0.1.0"

__all__ = [
  "Classifier",
  "Explanation",
  "History",
  "Method",
  "Progress",
  "cartoonx",
  "classifier_names",
  "explain",
  "explain_budget",
  "explain_path",
  "explain_retaining",
  "load",
  "load_classifier",
  "load_image",
  "load_metadata",
  "pixel_rde",
  "preset",
  "save",
  "smooth_pixel_rde",
  "waveletx",
]
