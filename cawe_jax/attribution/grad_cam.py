"""Grad-CAM: where in the last feature map the channels are that the target needs.

The map is what a network's last pooling is called with, read through an interceptor by
the pooling's class. Its gradient is that of an offset of zeros added to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cawe_jax.attribution import inside
from cawe_jax.attribution.attribution import (
  Attribution,
  Relevance,
  pixel_attribution,
)
from cawe_jax.attribution.guided_backprop import for_relu_networks, guided_gradients
from cawe_jax.attribution.samples import Batch, Sum, as_it_is
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.memo import memoised
from cawe_jax.types import Array


@memoised
def grad_cam() -> Attribution:
  r"""The last feature map, its channels weighted by their mean gradients.

  .. math:: R = \mathrm{upsample}\Bigl(\max\bigl(0, \sum_k \alpha_k A_k\bigr)\Bigr),
    \qquad \alpha_k = \mathrm{mean}_{ij}\, \partial f_t / \partial A_{kij}

  Never negative; upsampled bilinearly. The map is what ``GlobalAveragePool`` or
  ``AdaptiveAveragePool`` of :mod:`cawe_jax.classifiers.layers` is called with: the
  output of the last block, for VGG that of the last max pooling. A network without one
  (a vision transformer, a function whose layers cannot be seen) raises a ValueError.

  Example:
    >>> grad_cam().name
    'grad_cam()'

  References:
    Selvaraju et al., Grad-CAM, ICCV 2017.
  """

  def term(classifier: Classifier, rows: Batch, _: Array) -> Array:
    return _upsampled_maps(classifier, rows)

  return _for_networks_with_a_map(pixel_attribution("grad_cam()", Sum(term, as_it_is)))


@memoised
def guided_grad_cam() -> Attribution:
  """Grad-CAM times the guided gradient, signed, summed over colours.

  For networks that both :func:`grad_cam` and :func:`.guided_backprop` are for.

  Example:
    >>> guided_grad_cam().name
    'guided_grad_cam()'

  References:
    Selvaraju et al., Grad-CAM, ICCV 2017, Sec. 3.2.
  """

  def term(classifier: Classifier, rows: Batch, _: Array) -> Array:
    gradient = guided_gradients(classifier, rows.images, rows.targets)
    return _upsampled_maps(classifier, rows) * jnp.sum(gradient, -1)

  attribution = pixel_attribution("guided_grad_cam()", Sum(term, as_it_is))
  return for_relu_networks(_for_networks_with_a_map(attribution))


def _for_networks_with_a_map(attribution: Attribution) -> Attribution:
  """The same attribution, which refuses networks without a last feature map."""

  def attribute(
    classifier: Classifier, images: Array, targets: Array, keys: Array
  ) -> Relevance:
    found = inside.look_inside(classifier, images).feature_maps
    if len(found) != 1:
      raise ValueError(
        f"{attribution.name} needs one last feature map, the input of a "
        "GlobalAveragePool or AdaptiveAveragePool of cawe_jax.classifiers.layers; "
        f"classifier {classifier.name!r} has {len(found) or 'none'}"
      )
    try:
      return attribution.attribute(classifier, images, targets, keys)
    except jax.errors.UnexpectedTracerError:
      raise ValueError(
        f"{attribution.name} cannot take a feature map out of a function under jax.jit;"
        f" give classifier {classifier.name!r} one that is not compiled"
      ) from None

  return attribution._replace(attribute=attribute)


def _upsampled_maps(classifier: Classifier, rows: Batch) -> Array:
  """Grad-CAM of each row, ``[R, H, W]``."""
  num_rows, height, width, _ = rows.images.shape
  feature_map, gradient = _feature_map(classifier, rows)
  weights = jnp.mean(gradient, (1, 2), keepdims=True)
  coarse = jax.nn.relu(jnp.sum(weights * feature_map, -1))
  return jax.image.resize(coarse, (num_rows, height, width), "bilinear")


def _feature_map(classifier: Classifier, rows: Batch) -> tuple[Array, Array]:
  """The last feature map and the gradient of the target's output, ``[R, h, w, C]``."""

  def with_offset(offset: Array) -> tuple[Array, Array]:
    seen: list[Array] = []

    def interceptor(layer: Callable, args: Any, kwargs: Any, context: Any) -> Any:
      if not isinstance(context.module, inside.POOLS):
        return layer(*args, **kwargs)
      seen.append(args[0])
      return layer(args[0] + offset.astype(args[0].dtype), **kwargs)

    outputs = inside.intercepted(interceptor, classifier, rows.images)
    return outputs, seen[0].astype(offset.dtype)

  (shape,) = inside.look_inside(classifier, rows.images).feature_maps
  offset = jnp.zeros((len(rows.images), *shape), rows.images.dtype)
  outputs, pull_back, feature_map = jax.vjp(with_offset, offset, has_aux=True)
  chosen = jax.nn.one_hot(rows.targets, outputs.shape[1], dtype=outputs.dtype)
  return feature_map, pull_back(chosen)[0]
