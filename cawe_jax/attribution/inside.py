"""What can be seen of a network from outside: its layers, by class.

Methods that look inside a network reach its layers through Flax's interceptors, as
:mod:`cawe_jax.classifiers.layers` describes. Before they do, they look at the network
once, without computing anything, to see whether it is one that they are for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cawe_jax.classifiers import layers
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.types import Array, BatchOfOutputs, Images

LINEAR = (
  layers.Convolution,
  layers.DepthwiseConvolution,
  layers.PatchConvolution,
  layers.Dense,
)
"""Layers with a kernel and a bias."""

POOLS = (layers.GlobalAveragePool, layers.AdaptiveAveragePool)
"""Layers that are called with a network's last feature map."""

_RELUS = (layers.relu, layers.relu6)
_PASSED = (layers.Normalisation, layers.Add, layers.MaxPool, layers.SpatialMean)

Interceptor = Callable[..., Any]
_TRACED = jax.make_user_context(None)


class Inside(NamedTuple):
  """What was seen of a network for images of one shape.

  Attributes:
    num_outputs: Number K.
    layers: How many calls of layers were seen.
    unsuitable: Names of layers and activations that a convolutional network with ReLU
      does not have.
  """

  num_outputs: int
  layers: int
  unsuitable: tuple[str, ...]


class Signature(NamedTuple):
  """A network and one image without their numbers: what a trace depends on."""

  structure: Any
  shapes: tuple[tuple, ...]
  image: tuple

  @classmethod
  def of(cls, network: Any, images: Array) -> Signature:
    """The signature of a network, a pytree, and of one of the images."""
    leaves, structure = jax.tree.flatten(network)
    shapes = tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves)
    return cls(structure, shapes, ((1, *images.shape[1:]), jnp.result_type(images)))

  def trace(self, function: Callable[[Any, Array], Any]) -> Any:
    """Shapes of what a function of them returns; nothing is computed."""
    leaves = [jax.ShapeDtypeStruct(*shape) for shape in self.shapes]
    network = jax.tree.unflatten(self.structure, leaves)
    return jax.eval_shape(function, network, jax.ShapeDtypeStruct(*self.image))


def look_inside(classifier: Classifier, images: Images) -> Inside:
  """See the layers that a network calls; it is traced once for a shape, not run.

  Args:
    classifier: Any network.
    images: ``[N, H, W, C]``, of which only shape and type are looked at.

  Example:
    >>> from cawe_jax.classifiers import from_function
    >>> brightness = from_function(lambda images: images.mean((1, 2, 3))[:, None], 8)
    >>> look_inside(brightness, jnp.zeros((2, 8, 8, 1)))
    Inside(num_outputs=1, layers=0, unsuitable=())
  """
  return _look_inside(Signature.of(classifier, images))


def check_relu_network(method: str, classifier: Classifier, images: Images) -> None:
  """Refuse a network that is not convolutional with ReLU throughout.

  Raises:
    ValueError: One line that names the method, the network and what is in the way.
  """
  seen = look_inside(classifier, images)
  if seen.layers and not seen.unsuitable:
    return
  has = (
    f"has {', '.join(seen.unsuitable)}"
    if seen.unsuitable
    else "shows no layers of cawe_jax.classifiers.layers"
  )
  raise ValueError(
    f"{method} is for convolutional networks with ReLU or ReLU6 (VGG, ResNet, "
    f"EfficientNet-Lite); classifier {classifier.name!r} {has}"
  )


def intercepted(
  interceptor: Interceptor, classifier: Classifier, images: Images
) -> BatchOfOutputs:
  """Outputs ``[N, K]`` with every call of a layer going through the interceptor.

  Args:
    interceptor: ``(layer, args, kwargs, context) -> result``, as Flax has it; it sees
      the calls of layers only, no other methods of modules, and what it calls itself is
      not intercepted again.
    classifier: The network.
    images: ``[N, H, W, C]`` in [0, 1].
  """
  busy = False

  def guarded(layer: Callable, args: Any, kwargs: Any, context: Any) -> Any:
    nonlocal busy
    if busy or context.method_name != "__call__" or not _is_leaf(context.module):
      return layer(*args, **kwargs)
    busy = True
    try:
      return interceptor(layer, args, kwargs, context)
    finally:
      busy = False

  with traced_anew(), nn.intercept_methods(guarded):
    return classifier(images)


def traced_anew() -> AbstractContextManager[Any]:
  """Whoever compiled ``apply`` beforehand gets another program inside the block."""
  return _TRACED(object())


def _is_leaf(module: nn.Module) -> bool:
  """Whether it is one of our layers, or has parameters of its own."""
  if type(module).__module__ == layers.__name__ or isinstance(module, LINEAR):
    return not isinstance(module, layers.Attention)  # made of other layers
  parameters = module.variables.get("params", {})
  return any(not isinstance(value, Mapping) for value in parameters.values())


@functools.lru_cache(maxsize=64)
def _look_inside(signature: Signature) -> Inside:
  calls: list[str | None] = []

  def record(layer: Callable, args: Any, kwargs: Any, context: Any) -> Any:
    calls.append(_unsuitable(context.module))
    return layer(*args, **kwargs)

  outputs = signature.trace(functools.partial(intercepted, record))
  names = sorted({name for name in calls if name})
  return Inside(outputs.shape[1], len(calls), tuple(names))


def _unsuitable(module: nn.Module) -> str | None:
  """What to call a layer that no convolutional network with ReLU has."""
  if isinstance(module, layers.Activation):
    return None if module.function in _RELUS else _name(module.function)
  suitable = isinstance(module, (*LINEAR, *POOLS, *_PASSED))
  return None if suitable else type(module).__name__


def _name(function: Callable) -> str:
  """As this library calls it, or else as it calls itself."""
  ours = (name for name, value in vars(layers).items() if value is function)
  return next(ours, getattr(function, "__name__", "another activation"))
