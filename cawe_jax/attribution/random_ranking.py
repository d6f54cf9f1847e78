"""The ranking that every other should beat."""

from __future__ import annotations

import jax

from cawe_jax import initial_masks
from cawe_jax.attribution.attribution import Attribution, Relevance
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.memo import memoised
from cawe_jax.types import Array, Transform


@memoised
def random_ranking(transform: Transform) -> Attribution:
  """Every entry of a representation ranked at random, uniform in [0, 1).

  Args:
    transform: E.g. :func:`cawe_jax.representations.pixel` or ``wavelet()``.

  Example:
    >>> from cawe_jax.representations import pixel
    >>> random_ranking(pixel()).name
    'random_ranking(pixel())'
  """

  def attribute(
    classifier: Classifier, images: Array, targets: Array, keys: Array
  ) -> Relevance:
    return _uniform(keys, transform, images.shape[1:])

  return Attribution(f"random_ranking({transform.name})", transform, attribute)


@jax.jit(static_argnames=("transform", "image_shape"))
def _uniform(
  keys: Array, transform: Transform, image_shape: tuple[int, int, int]
) -> Relevance:
  representation = transform(image_shape)
  return jax.vmap(lambda key: initial_masks.random().make(key, representation))(keys)
