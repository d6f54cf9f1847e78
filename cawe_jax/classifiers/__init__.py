"""Classifiers: the interface, and networks with published weights by name."""

from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.classifiers.registry import classifier_names, load_classifier

__all__ = ["Classifier", "classifier_names", "load_classifier"]
