"""The ranking that every other should beat."""

from __future__ import annotations

import dataclasses

import jax

from cawe_jax.attribution.attribution import Attribution, Relevance
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.initial_masks import uniform
from cawe_jax.methods import contracts
from cawe_jax.types import Images, Keys, Representation, Targets, Transform


class random_ranking(Attribution):
  """Every entry of a representation ranked at random, uniform in [0, 1).

  Args:
    transform: E.g. :class:`cawe_jax.representations.pixel` or ``wavelet()``.

  Example:
    >>> from cawe_jax.representations import pixel
    >>> random_ranking(pixel()).name
    'random_ranking(transform=pixel())'
  """

  transform: Transform = dataclasses.field()  # type: ignore[misc]

  def attribute(
    self, classifier: Classifier, images: Images, targets: Targets, keys: Keys
  ) -> Relevance:
    """Uniform numbers."""
    return _uniform(keys, contracts.bind(self.transform, images.shape[1:]))


@jax.jit
def _uniform(keys: Keys, representation: Representation) -> Relevance:
  return jax.vmap(lambda key: uniform(key, representation))(keys)
