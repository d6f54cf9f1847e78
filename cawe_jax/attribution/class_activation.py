"""Grad-CAM: where in a feature map the channels are that the target needs.

The map's gradient is that of an offset of zeros added to it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from cawe_jax.attribution import inside
from cawe_jax.attribution.attribution import PixelAttribution, Relevance
from cawe_jax.attribution.feature_maps import (
  FeatureMap,
  Layer,
  as_feature_map,
  map_shape,
)
from cawe_jax.attribution.guided_relu import guided_gradients
from cawe_jax.attribution.samples import Batch, Maps, Samples
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.types import Array, Images, Keys, Targets


class _OfLayer(PixelAttribution):
  """An attribution that looks at one feature map."""

  layer: Layer = None

  def __post_init__(self) -> None:
    if self.layer is not None:
      object.__setattr__(self, "layer", as_feature_map(self.layer))
    super().__post_init__()

  def check_call(self, classifier: Classifier, images: Images) -> None:
    """Refuse networks without that map."""
    map_shape(self.name, as_feature_map(self.layer), classifier, images[:1])

  def attribute(
    self, classifier: Classifier, images: Images, targets: Targets, keys: Keys
  ) -> Relevance:
    """The relevance of pixels."""
    try:
      return super().attribute(classifier, images, targets, keys)
    except jax.errors.UnexpectedTracerError:
      raise ValueError(
        f"{self.name} cannot take a feature map out of a function under jax.jit; give "
        f"classifier {classifier.name!r} one that is not compiled"
      ) from None

  def upsampled_maps(self, classifier: Classifier, rows: Batch) -> Maps:
    """Grad-CAM of each row, ``[R, H, W]``."""
    num_rows, height, width, _ = rows.images.shape
    feature_map, gradient = _feature_map(as_feature_map(self.layer), classifier, rows)
    weights = jnp.mean(gradient, (1, 2), keepdims=True)
    coarse = jax.nn.relu(jnp.sum(weights * feature_map, -1))
    return jax.image.resize(coarse, (num_rows, height, width), "bilinear")


class grad_cam(_OfLayer):
  r"""A feature map, by default the last, its channels weighted by mean gradients.

  .. math:: R = \mathrm{upsample}\Bigl(\max\bigl(0, \sum_k \alpha_k A_k\bigr)\Bigr),
    \qquad \alpha_k = \mathrm{mean}_{ij}\, \partial f_t / \partial A_{kij}

  Never negative; upsampled bilinearly.

  Args:
    layer: Where the map ``[N, h, w, C]`` is. A text names the layer that returns it,
      in a network of Flax: ``"block2/conv"`` in linen, the path of module names, which
      a wrong name makes the error list; ``"layers/3"`` in NNX, the path of attributes
      in a model of :func:`cawe_jax.classifiers.from_nnx`. For any other network it is a
      pair of functions ``(features, head)``, with ``features(params, images)`` the map
      and ``head(params, map)`` the outputs ``[N, K]``. Without it the map is what
      ``GlobalAveragePool`` or ``AdaptiveAveragePool`` of
      :mod:`cawe_jax.classifiers.layers` is called with, in all convolutional networks
      of this package: the output of the last block, for VGG that of the last max
      pooling.

  Raises:
    ValueError: When it is called: the network has no such layer, or no last feature map
      (a vision transformer, a function whose layers cannot be seen).

  Example:
    >>> grad_cam().name, grad_cam(layer="Conv_1").name
    ('grad_cam()', "grad_cam(layer='Conv_1')")
    >>> features = lambda params, images: images * params
    >>> head = lambda params, maps: maps.mean((1, 2))
    >>> classifier = Classifier(
    ...   lambda params, images: head(params, features(params, images)), 2.0, 4
    ... )
    >>> attribution = grad_cam(layer=(features, head))
    >>> images = jnp.ones((1, 4, 4, 3))
    >>> attribution(classifier, images, jnp.array([0]), jax.random.key(0))[0].shape
    (1, 1, 4, 4, 1)

  References:
    Selvaraju et al., Grad-CAM, ICCV 2017.
  """

  def term(self, classifier: Classifier, rows: Batch, samples: Samples) -> Maps:
    """Grad-CAM of each row."""
    return self.upsampled_maps(classifier, rows)


class guided_grad_cam(_OfLayer):
  """Grad-CAM times the guided gradient, signed, summed over colours.

  For networks that :class:`.guided_backprop` is for.

  Args:
    layer: As for :class:`grad_cam`.

  Example:
    >>> guided_grad_cam().name
    'guided_grad_cam()'

  References:
    Selvaraju et al., Grad-CAM, ICCV 2017, Sec. 3.2.
  """

  def check_call(self, classifier: Classifier, images: Images) -> None:
    """Refuse networks that are not convolutional with ReLU, or without that map."""
    inside.check_relu_network(self.name, classifier, images)
    super().check_call(classifier, images)

  def term(self, classifier: Classifier, rows: Batch, samples: Samples) -> Maps:
    """Grad-CAM of each row times its guided gradient."""
    gradient = guided_gradients(classifier, rows.images, rows.targets)
    return self.upsampled_maps(classifier, rows) * jnp.sum(gradient, -1)


def _feature_map(
  where: FeatureMap, classifier: Classifier, rows: Batch
) -> tuple[Array, Array]:
  """The feature map and the gradient of the target's output, ``[R, h, w, C]``."""

  def with_offset(offset: Array) -> tuple[Array, Array]:
    seen: list[Array] = []

    def add(feature_map: Array) -> Array:
      seen.append(feature_map)
      return feature_map + offset.astype(feature_map.dtype)

    outputs = where(add, classifier, rows.images)
    return outputs, seen[0].astype(offset.dtype)

  shape = map_shape("grad_cam", where, classifier, rows.images)
  offset = jnp.zeros((len(rows.images), *shape), rows.images.dtype)
  outputs, pull_back, feature_map = jax.vjp(with_offset, offset, has_aux=True)
  chosen = jax.nn.one_hot(rows.targets, outputs.shape[1], dtype=outputs.dtype)
  return feature_map, pull_back(chosen)[0]
