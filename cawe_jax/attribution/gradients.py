"""Attributions from the gradient of the target's output with respect to the image.

They need nothing but a differentiable network. What is explained is the output itself,
for a classifier the logit before the softmax, as Captum does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.attribution.attribution import (
  PixelAttribution,
  check_arguments,
  check_range,
)
from cawe_jax.attribution.baselines import Baseline, as_baseline
from cawe_jax.attribution.samples import Batch, Maps, Samples, Sum, evaluate
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.methods.contracts import check_count
from cawe_jax.numerics.ambient import own_rules
from cawe_jax.part import setting
from cawe_jax.types import Array, Image, Images, Key, PerImage, Scalar


class gradient_x_input(PixelAttribution):
  """The gradient times the image, signed, summed over colours.

  Example:
    >>> gradient_x_input().name
    'gradient_x_input()'

  References:
    Shrikumar et al., Not Just a Black Box, 2016.
  """

  def term(self, classifier: Classifier, rows: Batch, samples: Samples) -> Maps:
    """The gradient of each row times its image."""
    gradient = output_gradients(classifier, rows.images, rows.targets)
    return jnp.sum(rows.images * gradient, -1)


class integrated_gradients(PixelAttribution):
  r"""Gradients along the straight path from an image that shows nothing, times the way.

  .. math:: R_i = (x_i - b) \int_0^1 \partial_i f_t(b + a (x - b))\, da

  Signed, summed over colours. The integral is a Gauss-Legendre sum, Captum's default.
  The relevance of all pixels together is ``f_t(x) - f_t(b)`` up to the error of that
  sum, which :func:`completeness` reports.

  Args:
    num_steps: Gradients of each image, at least 1; 100 in Kolek et al., ECCV 2022.
    baseline: The image b that shows nothing: a grey value in [0, 1], or an image
      ``[H, W, C]`` in [0, 1], which is data: another one compiles nothing.

  Raises:
    ValueError: An argument is out of range; or, when it is called, the baseline has
      another shape than the images.

  Example:
    >>> integrated_gradients().name
    'integrated_gradients(num_steps=100, baseline=0.0)'

  References:
    Sundararajan et al., Axiomatic Attribution for Deep Networks, ICML 2017.
  """

  num_steps: int = setting(default=100)
  baseline: Any = 0.0

  def __post_init__(self) -> None:
    object.__setattr__(self, "baseline", as_baseline(self.baseline))
    super().__post_init__()

  def check(self) -> None:
    """Refuse a number of steps below 1."""
    check_count("num_steps", self.num_steps)

  def check_call(self, classifier: Classifier, images: Images) -> None:
    """Refuse a baseline of another shape."""
    self.baseline.check_shape(images)

  def num_terms(self) -> int:
    """One for each step."""
    return self.num_steps

  def term(self, classifier: Classifier, rows: Batch, samples: Samples) -> Maps:
    """The way times the gradient at each row's step, times its share."""
    nodes, weights = np.polynomial.legendre.leggauss(self.num_steps)
    # From [-1, 1], where they are defined, to [0, 1].
    positions, shares = np.float32((nodes + 1) / 2), np.float32(weights / 2)
    start = self.baseline(rows.images)
    way = rows.images - start
    position = jnp.asarray(positions)[samples][:, None, None, None]
    gradient = output_gradients(classifier, start + position * way, rows.targets)
    return jnp.asarray(shares)[samples][:, None, None] * jnp.sum(way * gradient, -1)


class _Noisy(PixelAttribution):
  """A statistic of the gradient over noisy copies of the image."""

  least_samples: ClassVar[int] = 1
  num_samples: int = setting(default=10)
  sigma: float = setting(default=0.1)

  def check(self) -> None:
    """Refuse too few samples and a negative deviation."""
    check_count("num_samples", self.num_samples, least=self.least_samples)
    check_range("sigma", self.sigma, 0, np.inf)

  def num_terms(self) -> int:
    """One for each noisy copy."""
    return self.num_samples

  def gradients(self, classifier: Classifier, rows: Batch, samples: Samples) -> Images:
    """The gradient at each noisy copy, ``[R, H, W, C]``."""
    images = rows.images
    normal = jax.vmap(noise_of_draw, (0, 0, None, None))
    noise = normal(rows.keys, samples, images.shape[1:], images.dtype)
    return output_gradients(classifier, images + self.sigma * noise, rows.targets)


class smooth_grad(_Noisy):
  """The mean gradient at noisy copies of the image; its size, summed over colours.

  The copies have Gaussian noise added and may leave [0, 1]. Absolute values are taken
  of the mean, as the authors show it: a pixel matters whichever way it pushes.

  Args:
    num_samples: Noisy copies of each image, at least 1; 10 in Kolek et al., ECCV 2022.
    sigma: Standard deviation of the noise, as a share of the range of pixels (1), at
      least 0.

  Raises:
    ValueError: An argument is out of range.

  Example:
    >>> smooth_grad().name
    'smooth_grad(num_samples=10, sigma=0.1)'

  References:
    Smilkov et al., SmoothGrad: removing noise by adding noise, 2017.
  """

  def term(self, classifier: Classifier, rows: Batch, samples: Samples) -> Images:
    """The share of each row in the mean."""
    return self.gradients(classifier, rows, samples) / self.num_samples

  def finish(self, classifier: Classifier, batch: Batch, sums: Images) -> Maps:
    """The size of the mean."""
    return jnp.sum(jnp.abs(sums), -1)


class var_grad(_Noisy):
  """The variance of the gradient over noisy copies of the image, summed over colours.

  Args:
    num_samples: Noisy copies of each image, at least 2.
    sigma: As for :class:`smooth_grad`.

  Raises:
    ValueError: An argument is out of range.

  Example:
    >>> var_grad(num_samples=20).name
    'var_grad(num_samples=20, sigma=0.1)'

  References:
    Adebayo et al., Local Explanation Methods for Deep Neural Networks Lack Sensitivity
    to Parameter Values, 2018.
  """

  least_samples: ClassVar[int] = 2

  def term(
    self, classifier: Classifier, rows: Batch, samples: Samples
  ) -> tuple[Images, Images]:
    """The share of each row in the mean, and in the mean of squares."""
    gradient = self.gradients(classifier, rows, samples)
    return gradient / self.num_samples, gradient**2 / self.num_samples

  def finish(
    self, classifier: Classifier, batch: Batch, sums: tuple[Images, Images]
  ) -> Maps:
    """The mean of squares minus the square of the mean."""
    mean, square = sums
    return jnp.sum(jnp.maximum(square - mean**2, 0), -1)


@own_rules()
def completeness(
  classifier: Classifier,
  images: Image | Images,
  targets: Any,
  relevance: tuple[Array, ...],
  baseline: Any = 0.0,
) -> PerImage | Scalar:
  r"""How far the relevance is from adding up to the change of the target's output.

  .. math:: \Bigl(\sum_i R_i - (f_t(x) - f_t(b))\Bigr) / |f_t(x) - f_t(b)|

  Args:
    classifier: The network.
    images: ``[H, W, C]`` or ``[B, H, W, C]``, in [0, 1].
    targets: Explained output of each, as the relevance has it; by default the largest.
    relevance: As an attribution returned it, e.g. :class:`integrated_gradients`.
    baseline: The image that shows nothing, as for :class:`integrated_gradients`.

  Returns:
    Relative error, of a batch ``[B]``; 0 is complete. NaN where both outputs are equal.

  Raises:
    ValueError: An argument is out of range.

  Example:
    >>> linear = lambda w, images: images.reshape(len(images), -1) @ w
    >>> classifier = Classifier(linear, jnp.arange(8.0).reshape(4, 2), 2)
    >>> images = jnp.full((1, 2, 2, 1), 0.5)
    >>> relevance = gradient_x_input()(classifier, images, 1, jax.random.key(0))
    >>> completeness(classifier, images, 1, relevance).tolist()
    [0.0]
  """
  classifier, checked, targets = check_arguments(classifier, images, targets)
  is_single = np.ndim(images) == 3
  start = as_baseline(baseline)
  start.check_shape(checked)
  batch = Batch(jnp.asarray(checked), targets, jnp.zeros(len(checked)))
  change = evaluate(_change(start), classifier, batch)
  total = sum(jnp.sum(leaf, (-4, -3, -2, -1)) for leaf in jax.device_get(relevance))
  known = jnp.where(change != 0, jnp.abs(change), jnp.nan)
  error = (total - change) / known
  return error[0] if is_single else error


def output_gradients(
  network: Callable[[Array], Array], images: Array, targets: Array
) -> Array:
  """Gradient of each image's own target output, like the images.

  Args:
    network: Images ``[N, ...]`` to outputs ``[N, K]``, each image by itself.
    images: ``[N, ...]``.
    targets: ``[N]``.
  """
  outputs, pull_back = jax.vjp(network, images)
  chosen = jax.nn.one_hot(targets, outputs.shape[1], dtype=outputs.dtype)
  return pull_back(chosen)[0]


def noise_of_draw(
  key: Key, draw: Array, image_shape: tuple[int, ...], dtype: Any = jnp.float32
) -> Image:
  """Standard normal noise ``[H, W, C]``; more draws of an image keep the first ones."""
  return jax.random.normal(jax.random.fold_in(key, draw), image_shape, dtype)


class _change(Sum):
  """From the baseline's output to the image's, ``[B]``: the path has two ends."""

  baseline: Baseline

  def num_terms(self) -> int:
    """Two."""
    return 2

  def term(self, classifier: Classifier, rows: Batch, samples: Samples) -> PerImage:
    """The output at the image, or less the output at the baseline."""
    at_image = (samples == 1)[:, None, None, None]
    start = self.baseline(rows.images)
    outputs = classifier(jnp.where(at_image, rows.images, start))
    chosen = jnp.take_along_axis(outputs, rows.targets[:, None], 1)[:, 0]
    return jnp.where(samples == 1, chosen, -chosen)
