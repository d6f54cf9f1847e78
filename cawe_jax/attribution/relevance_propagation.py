r"""Layer-wise relevance propagation as a modified gradient.

The relevance of a layer's inputs is written ``R = a c``: the activation times a
coefficient. A rule for a layer with outputs ``z`` and a surrogate ``v`` for them,

.. math:: R_j = \sum_k \frac{a_j\, \partial_j v_k}{v_k} R_k \iff
  c_j = \sum_k \partial_j v_k\, \frac{z_k}{v_k}\, c_k,

is then the gradient of ``v``, weighted by ``z / v``, while the layer still returns
``z``. So one backward pass through the network with its layers replaced does all of it.

The generalised gamma rule strengthens the contributions that have the output's sign;
with inputs of one sign (behind a ReLU) and a positive output it is the gamma rule. The
positive contributions are ``(z + m) / 2`` and the negative ones ``(z - m) / 2``, where
``m`` is the layer applied to the absolute values of inputs and parameters, so

.. math:: v = z + \mathrm{sign}(z) \Bigl(\frac{\gamma}{2}(|z| + m) + \epsilon\Bigr),

which has the sign of ``z`` and at least its size: the weights ``z / v`` lie in [0, 1],
and no relevance can explode. The epsilon rule is the one with gamma 0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cawe_jax.attribution import inside
from cawe_jax.attribution.attribution import PixelAttribution, check_range
from cawe_jax.attribution.gradients import output_gradients
from cawe_jax.attribution.samples import Batch, Maps, Samples
from cawe_jax.classifiers import layers
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.part import setting
from cawe_jax.types import Array, Images


class lrp(PixelAttribution):
  """The standard composite: epsilon, gamma, and z-box at the pixels.

  - *Fully connected layers*, whose output is no map of more than one pixel: epsilon.
  - *Convolutions*, depthwise and 1 x 1 too: generalised gamma (inputs and outputs of
    linear bottlenecks have either sign).
  - *The layer that reads the image*, or its normalisation: z-box with the bounds 0 and
    1 of pixels.
  - *ReLU and ReLU6* pass relevance unchanged, a saturated ReLU6 too; *sums* of branches
    and *averages* share it out by contribution; *max pooling* gives it to the winner.

  Where all biases are zero the relevance of the pixels adds up to the target's output.
  Biases take their share and keep it, as in the literature, but for those of the first
  layer, whose share the pixels get. Those of folded normalisations are large: of two
  photographs' logits in EfficientNet-Lite0 the pixels got 1 %, with gamma 0 a sum of
  large numbers of either sign. Signed, summed over colours. For convolutional networks
  with ReLU or ReLU6 whose normalisations are folded (as this library's are); for others
  it raises a ValueError.

  Args:
    epsilon: Absorbs relevance of weak outputs, at least 0.
    gamma: How much contributions of the output's sign are strengthened, at least 0.

  Raises:
    ValueError: An argument is out of range.

  Example:
    >>> lrp().name
    'lrp(epsilon=1e-06, gamma=0.25)'

  References:
    Montavon et al., Layer-Wise Relevance Propagation: An Overview, 2019 (the
    composite); Andeol et al., Learning Domain Invariant Representations by Joint
    Wasserstein Distance Minimization, 2021 (generalised gamma).
  """

  epsilon: float = setting(default=1e-6)
  gamma: float = setting(default=0.25)

  def check(self) -> None:
    """Refuse negative settings."""
    check_range("epsilon", self.epsilon, 0, float("inf"))
    check_range("gamma", self.gamma, 0, float("inf"))

  def check_call(self, classifier: Classifier, images: Images) -> None:
    """Refuse networks that are not convolutional with ReLU."""
    inside.check_relu_network(self.name, classifier, images)

  def term(self, classifier: Classifier, rows: Batch, samples: Samples) -> Maps:
    """The relevance of each row's pixels."""

    # It is the gradient with respect to what multiplies their contributions in the
    # first layer.
    def network(gate: Array) -> Array:
      rules = _Rules(self.epsilon, self.gamma, rows.images, gate)
      outputs = inside.intercepted(rules.intercept, classifier, rows.images)
      if not rules.read_image:
        raise ValueError(
          f"lrp needs a first layer that reads the image, or layers.Normalisation of "
          f"it; classifier {classifier.name!r} does something else before"
        )
      return outputs

    gate = jnp.ones_like(rows.images)
    return jnp.sum(output_gradients(network, gate, rows.targets), -1)


class _Rules:
  """Layers replaced, during one pass through the network.

  It knows the image, and after its normalisation that: a layer called with the very
  same array reads the image.
  """

  def __init__(self, epsilon: float, gamma: float, images: Array, gate: Array):
    self._epsilon, self._gamma, self._gate = epsilon, gamma, gate
    self._image = images
    self._bounds = jnp.zeros_like(images), jnp.ones_like(images)
    self.read_image = False

  def intercept(self, layer: Callable, args: Any, kwargs: Any, context: Any) -> Any:
    """Flax's interceptor."""
    module = context.module
    if isinstance(module, layers.Normalisation):
      (images,) = args
      self._image = layer(images)
      self._bounds = layer(jnp.zeros_like(images)), layer(jnp.ones_like(images))
      return self._image
    if isinstance(module, layers.Activation):
      return _pass_relevance(args[0], layer(*args))
    if not isinstance(module, inside.LINEAR):
      return layer(*args, **kwargs)
    (x,) = args
    z = layer(x)
    apply = functools.partial(_apply, module)
    if x is self._image:
      self.read_image = True
      return self._z_box(apply, x, z)
    is_map = z.ndim == 4 and z.shape[1] * z.shape[2] > 1
    return _same_sign(apply, x, z, self._gamma if is_map else 0, self._epsilon)

  def _z_box(self, apply: Callable, x: Array, z: Array) -> Array:
    """Pixels of ``z = W x`` get shares of ``W x - W+ low - W- high``, the bias none."""
    gate = self._gate.astype(x.dtype)
    low, high = self._bounds

    def weights(part: Callable) -> Callable:
      return lambda name, value: part(value) if name == "kernel" else 0 * value

    v = (
      apply(gate * x, weights(lambda w: w))
      - apply(gate * low, weights(lambda w: jnp.maximum(w, 0)))
      - apply(gate * high, weights(lambda w: jnp.minimum(w, 0)))
    )
    return _replaced(z, v, v + self._epsilon)


def _same_sign(
  apply: Callable, x: Array, z: Array, gamma: float, epsilon: float
) -> Array:
  """The generalised gamma rule, and with gamma 0 the epsilon rule."""
  sign = jax.lax.stop_gradient(jnp.sign(z))
  if gamma == 0:
    return _replaced(z, z, z + epsilon * sign)
  sizes = apply(jnp.abs(x), lambda name, value: jnp.abs(value))
  v = z + gamma / 2 * (z + sign * sizes)
  return _replaced(z, v, v + epsilon * sign)


def _replaced(z: Array, surrogate: Array, divisor: Array) -> Array:
  """The value z with the gradient of the surrogate, times ``z / divisor``."""
  z, divisor = jax.lax.stop_gradient((z, divisor))
  share = jnp.where(divisor != 0, z / jnp.where(divisor != 0, divisor, 1), 0)
  return z + share * (surrogate - jax.lax.stop_gradient(surrogate))


def _pass_relevance(z: Array, a: Array) -> Array:
  """An activation ``a`` of z that leaves to z all of its relevance ``a c``."""
  return _replaced(a, z, z)


def _apply(module: Any, x: Array, change: Callable[[str, Array], Array]) -> Array:
  """A linear layer with its parameters changed, each by its name."""
  parameters = {
    name: change(name, value) for name, value in module.variables["params"].items()
  }
  return module.clone(parent=None).apply({"params": parameters}, x)
