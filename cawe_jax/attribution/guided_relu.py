"""Guided backpropagation: a gradient that only ever adds up positive contributions.

Every ReLU passes back what arrives with a positive sign, where it was itself active.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cawe_jax.attribution import inside
from cawe_jax.attribution.attribution import PixelAttribution
from cawe_jax.attribution.gradients import output_gradients
from cawe_jax.attribution.samples import Batch, Maps, Samples
from cawe_jax.classifiers import layers
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.types import Array, Images, Targets


class guided_backprop(PixelAttribution):
  """The guided gradient, signed, summed over colours.

  For convolutional networks with ReLU or ReLU6; for others it raises a ValueError.

  Example:
    >>> guided_backprop().name
    'guided_backprop()'

  References:
    Springenberg et al., Striving for Simplicity: The All Convolutional Net, 2015.
  """

  def check_call(self, classifier: Classifier, images: Images) -> None:
    """Refuse networks that are not convolutional with ReLU."""
    inside.check_relu_network(self.name, classifier, images)

  def term(self, classifier: Classifier, rows: Batch, samples: Samples) -> Maps:
    """The guided gradient of each row."""
    return jnp.sum(guided_gradients(classifier, rows.images, rows.targets), -1)


def guided_gradients(
  classifier: Classifier, images: Images, targets: Targets
) -> Images:
  """Guided gradient of each image's target output, ``[N, H, W, C]``, not checked."""
  network = functools.partial(inside.intercepted, _interceptor, classifier)
  return output_gradients(network, images, targets)


def _interceptor(layer: Callable, args: Any, kwargs: Any, context: Any) -> Any:
  if isinstance(context.module, layers.Activation):
    return _guided(context.module.function, *args)
  return layer(*args, **kwargs)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _guided(function: Callable, x: Array) -> Array:
  return function(x)


def _guided_forward(function: Callable, x: Array) -> tuple[Array, Array]:
  return function(x), x


def _guided_backward(function: Callable, x: Array, gradient: Array) -> tuple[Array]:
  return (jnp.maximum(jax.vjp(function, x)[1](gradient)[0], 0),)


_guided.defvjp(_guided_forward, _guided_backward)
