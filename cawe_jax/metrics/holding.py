"""Under what a mask holds: what it retains when others than its own noise fill in.

A mask is found under one perturbation and often fits it: what keeps the class under
noise may lose it without. These numbers say so, at one glance, for any mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.metrics.retention import retained
from cawe_jax.perturbations import (
  adaptive_gaussian,
  adaptive_uniform,
  blur,
  infill,
  mean,
  zeros,
)
from cawe_jax.types import Images, Key, Masks, Perturbation, Transform

LAWS: Mapping[str, Perturbation] = {
  "gaussian": adaptive_gaussian(),
  "uniform": adaptive_uniform(),
  "zeros": zeros(),
  "mean": mean(),
  "blur": blur(),
  "infill": infill(),
}
"""What fills in for masked entries, by name: noise, nothing, and other images."""


def retained_under(
  classifier: Classifier,
  images: Images,
  masks: Masks,
  transform: Transform,
  *,
  key: Key,
  laws: Mapping[str, Perturbation] = LAWS,
  targets: Any = None,
  image_ids: Any = None,
) -> dict[str, np.ndarray]:
  """The share of the target's probability that masks retain under each perturbation.

  Args:
    classifier: The network.
    images: ``[B, H, W, C]``, float in [0, 1].
    masks: In [0, 1], ``[B, ...]`` per leaf.
    transform: The representation they are masks of.
    key: As for :func:`cawe_jax.explain`.
    laws: Perturbations by name.
    targets: As for :func:`cawe_jax.explain`.
    image_ids: As for :func:`cawe_jax.explain`.

  Returns:
    For each name the mean over draws of ``p_t(y) / p_t(x)``, ``[B]``; NaN for a
    regression, or where ``p_t(x)`` is below 0.001. Each perturbation has a program of
    its own to be compiled, once.

  Raises:
    ValueError: As :func:`cawe_jax.metrics.retained`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from cawe_jax.representations import pixel
    >>> linear = lambda w, images: images.reshape(len(images), -1) @ w
    >>> classifier = Classifier(linear, jnp.eye(4, 2), 2)
    >>> images, nothing = jnp.ones((1, 2, 2, 1)), (jnp.zeros((1, 1, 2, 2, 1)),)
    >>> laws = {"zeros": zeros(), "mean": mean()}
    >>> found = retained_under(
    ...   classifier, images, nothing, pixel(), key=jax.random.key(0), laws=laws
    ... )
    >>> {name: share.tolist() for name, share in found.items()}
    {'zeros': [1.0], 'mean': [1.0]}
  """
  return {
    name: retained(
      classifier,
      images,
      masks,
      transform,
      key=key,
      perturbation=law,
      targets=targets,
      image_ids=image_ids,
    ).retained_probability
    for name, law in laws.items()
  }
