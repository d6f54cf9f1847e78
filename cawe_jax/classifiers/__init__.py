"""Classifiers: the interface, adapters, and networks with published weights by name."""

from cawe_jax.classifiers.adapters import (
  check_classifier,
  from_function,
  from_linen,
  from_nnx,
)
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.classifiers.numerics import in_bfloat16
from cawe_jax.classifiers.registry import (
  classifier_info,
  classifier_names,
  load_classifier,
)
from cawe_jax.classifiers.torch_bridge import from_torch
from cawe_jax.outputs import Output, regression, sigmoid, softmax

__all__ = [
  "Classifier",
  "Output",
  "check_classifier",
  "classifier_info",
  "classifier_names",
  "from_function",
  "from_linen",
  "from_nnx",
  "from_torch",
  "in_bfloat16",
  "load_classifier",
  "regression",
  "sigmoid",
  "softmax",
]
