"""One feature map of a network, taken out and changed on its way to the outputs.

The map is found by the class of the layer that it goes into, by the name of the layer
that it comes from, or is handed over by a network given in two halves.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from typing import Any, Protocol

import flax.linen as nn
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float

from cawe_jax.attribution import inside
from cawe_jax.classifiers.adapters import nnx_model
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.part import Part, as_part, name_of, setting
from cawe_jax.types import Array, BatchOfOutputs, Images

Map = Float[Array, "B _h _w D"]
"""A feature map of B images, with D features."""


class Change(Protocol):
  """What takes the place of a feature map."""

  def __call__(self, feature_map: Map, /) -> Map:
    """Called with the map whenever the network makes it; returns one like it."""
    ...


class FirstHalf(Protocol):
  """A network up to its feature map: a function, or a part."""

  def __call__(self, params: Any, images: Images, /) -> Map:
    """The feature map of images in [0, 1]; ``params`` are the classifier's."""
    ...


class SecondHalf(Protocol):
  """A network from its feature map on: a function, or a part."""

  def __call__(self, params: Any, feature_map: Map, /) -> BatchOfOutputs:
    """The outputs; ``params`` are the classifier's."""
    ...


class FeatureMap(Part, abc.ABC):
  """Where in a network a feature map is."""

  @abc.abstractmethod
  def __call__(
    self, change: Change, classifier: Classifier, images: Images
  ) -> BatchOfOutputs:
    """Outputs ``[N, K]`` with the feature map changed.

    Args:
      change: Called with the map whenever the network makes it.
      classifier: The network.
      images: ``[N, H, W, C]`` in [0, 1].

    Raises:
      ValueError: The network has no such layer; those it has are listed.
    """


class last_map(FeatureMap):
  """What the pooling over all pixels is called with."""

  def __call__(
    self, change: Change, classifier: Classifier, images: Images
  ) -> BatchOfOutputs:
    """Outputs with the pooling's input changed."""

    def interceptor(layer: Callable, args: Any, kwargs: Any, context: Any) -> Any:
      if isinstance(context.module, inside.POOLS):
        args = (change(args[0]), *args[1:])
      return layer(*args, **kwargs)

    return inside.intercepted(interceptor, classifier, images)


class named_layer(FeatureMap):
  """What a layer of Flax returns, found by its name."""

  layer: str = setting()

  @property
  def name(self) -> str:
    """The layer's, in quotes."""
    return repr(self.layer)

  def __call__(
    self, change: Change, classifier: Classifier, images: Images
  ) -> BatchOfOutputs:
    """Outputs with what the layer returns changed."""
    model = nnx_model(classifier)
    if model is None:
      return _after_linen_layer(self.layer, change, classifier, images)
    return _after_nnx_layer(self.layer, change, model, classifier.name, images)


class halves(FeatureMap):
  """What the first half of a network hands over to the second.

  Args:
    features: A :class:`FirstHalf`: ``(params, images) -> map [N, h, w, D]``.
    head: A :class:`SecondHalf`: ``(params, map) -> outputs [N, K]``.
  """

  features: Any
  head: Any

  def __post_init__(self) -> None:
    object.__setattr__(self, "features", as_part(self.features))
    object.__setattr__(self, "head", as_part(self.head))
    super().__post_init__()

  @property
  def name(self) -> str:
    """The names of both functions."""
    return f"({name_of(self.features)}, {name_of(self.head)})"

  def __call__(
    self, change: Change, classifier: Classifier, images: Images
  ) -> BatchOfOutputs:
    """Outputs with what is handed over changed."""
    params = classifier.params
    return self.head(params, change(self.features(params, images)))


Layer = str | tuple[FirstHalf, SecondHalf] | FeatureMap | None
"""Where the map is: a layer's name, a pair ``(features, head)``, None for the last."""


def as_feature_map(layer: Layer) -> FeatureMap:
  """A layer's name, a pair of functions, or None for the last map.

  Raises:
    ValueError: It is none of these.

  Example:
    >>> as_feature_map("block2/conv"), as_feature_map(None)
    ('block2/conv', last_map())
  """
  if layer is None:
    return last_map()
  if isinstance(layer, FeatureMap):
    return layer
  if isinstance(layer, str) and layer:
    return named_layer(layer)
  if isinstance(layer, tuple) and len(layer) == 2 and all(map(callable, layer)):
    return halves(*layer)
  raise ValueError(
    f"layer is {layer!r}; it must be a layer's name, a pair of functions "
    "(features, head), or None"
  )


def map_shape(
  method: str, feature_map: FeatureMap, classifier: Classifier, images: Images
) -> tuple[int, int, int]:
  """``(h, w, C)`` of the feature map; the network is traced, not run.

  Raises:
    ValueError: There is no such map, or more than one, or it has no height and width;
      names the method.
  """
  shapes = _map_shapes(inside.Signature.of((feature_map, classifier), images))
  if len(shapes) == 1 and len(shapes[0]) == 3:
    height, width, channels = shapes[0]
    return height, width, channels
  if isinstance(feature_map, last_map):
    raise ValueError(
      f"{method} needs one last feature map; give layer, the name of a layer or a pair "
      "(features, head). Without it the map is the input of a GlobalAveragePool or "
      f"AdaptiveAveragePool of cawe_jax.classifiers.layers, of which classifier "
      f"{classifier.name!r} has {len(shapes) or 'none'}"
    )
  seen = ", ".join(f"[N, {', '.join(map(str, shape))}]" for shape in shapes)
  raise ValueError(
    f"{method}: the map of classifier {classifier.name!r} is {seen or 'never made'}; "
    "it must be made once, of shape [N, h, w, C]"
  )


@functools.lru_cache(maxsize=64)
def _map_shapes(signature: inside.Signature) -> list[tuple[int, ...]]:
  """The shape of every map that the network makes, without the images' axis."""
  shapes: list[tuple[int, ...]] = []

  def record(feature_map: Array) -> Array:
    shapes.append(jnp.shape(feature_map)[1:])
    return feature_map

  def outputs(network: tuple[FeatureMap, Classifier], images: Array) -> Array:
    feature_map, classifier = network
    return feature_map(record, classifier, images)

  signature.trace(outputs)
  return shapes


def _after_linen_layer(
  name: str, change: Change, classifier: Classifier, images: Images
) -> BatchOfOutputs:
  names: list[str] = []

  def interceptor(layer: Callable, args: Any, kwargs: Any, context: Any) -> Any:
    result = layer(*args, **kwargs)
    if context.method_name != "__call__":
      return result
    names.append("/".join(context.module.path))
    return change(result) if names[-1] == name else result

  with inside.traced_anew(), nn.intercept_methods(interceptor):
    outputs = classifier(images)
  if name not in names:
    raise _no_such_layer(name, classifier.name, [found for found in names if found])
  return outputs


def _after_nnx_layer(
  name: str, change: Change, model: nnx.Module, network: str, images: Images
) -> BatchOfOutputs:
  modules = {"/".join(map(str, path)): m for path, m in nnx.iter_modules(model)}
  if name not in modules:
    raise _no_such_layer(name, network, [found for found in modules if found])
  layer = modules[name]

  class Changed(type(layer)):  # type: ignore[misc]
    def __call__(self, *args: Any, **kwargs: Any) -> Array:
      return change(super().__call__(*args, **kwargs))

  # The model is a copy, made for this call.
  object.__setattr__(layer, "__class__", Changed)
  return model(images)


def _no_such_layer(name: str, network: str, names: list[str]) -> ValueError:
  if not names:
    return ValueError(
      f"layer is {name!r}, but classifier {network!r} shows no layers of Flax; give a "
      "pair (features, head)"
    )
  known = ", ".join(dict.fromkeys(names))
  return ValueError(
    f"layer is {name!r}, which classifier {network!r} does not have; it has: {known}"
  )
