"""Classifiers: the interface, and networks with published weights by name."""

from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.classifiers.outputs import Output, regression, sigmoid, softmax
from cawe_jax.classifiers.registry import classifier_names, load_classifier

__all__ = [
  "Classifier",
  "Output",
  "classifier_names",
  "load_classifier",
  "regression",
  "sigmoid",
  "softmax",
]
