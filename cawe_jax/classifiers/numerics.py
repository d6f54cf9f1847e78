"""The network in bfloat16, everything else in float32.

Half the memory and the traffic of activations, and the matrix units of TPUs and GPUs at
full speed. Images, masks, wavelet synthesis, distortion and solver stay in float32: a
mask entry moves by less per step than bfloat16 can tell apart.
What it changes is said in docs/guides/classifiers.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.types import Array


def in_bfloat16(classifier: Classifier) -> Classifier:
  """The same network with parameters and activations in bfloat16.

  Args:
    classifier: Its ``apply`` must compute in the type of its arguments, as the
      networks of this library do, and Flax modules that were made without a ``dtype``.

  Returns:
    A classifier of float32 images and outputs, called ``NAME (bfloat16)``.

  Example:
    >>> linear = lambda w, images: images.reshape(len(images), -1) @ w
    >>> classifier = in_bfloat16(Classifier(linear, jnp.full((4, 2), 0.3), 2))
    >>> classifier.params.dtype, classifier(jnp.ones((1, 2, 2, 1)))
    (dtype(bfloat16), Array([[1.203125, 1.203125]], dtype=float32))
  """
  return dataclasses.replace(
    classifier,
    apply=_InBfloat16(classifier.apply),
    params=jax.tree.map(_halve, classifier.params),
    name=f"{classifier.name} (bfloat16)",
  )


@dataclasses.dataclass(frozen=True)
class _InBfloat16:
  apply: Callable[[Any, Array], Array]

  def __call__(self, params: Any, images: Array) -> Array:
    return self.apply(params, images.astype(jnp.bfloat16)).astype(images.dtype)


def _halve(x: Array) -> Array:
  """Counters and keys stay as they are."""
  x = jnp.asarray(x)
  return x.astype(jnp.bfloat16) if jnp.issubdtype(x.dtype, jnp.floating) else x
