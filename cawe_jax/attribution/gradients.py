"""Attributions from the gradient of the target's output with respect to the image.

They need nothing but a differentiable network. What is explained is the output itself,
for a classifier the logit before the softmax, as Captum does it.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.attribution import samples
from cawe_jax.attribution.attribution import (
  Attribution,
  Relevance,
  check_arguments,
  check_count,
  check_range,
  pixel_attribution,
)
from cawe_jax.attribution.samples import Batch, Sum, as_it_is
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.memo import memoised
from cawe_jax.types import Array


@memoised
def gradient_x_input() -> Attribution:
  """The gradient times the image, signed, summed over colours.

  Example:
    >>> gradient_x_input().name
    'gradient_x_input()'

  References:
    Shrikumar et al., Not Just a Black Box, 2016.
  """

  def term(classifier: Classifier, rows: Batch, _: Array) -> Array:
    gradient = output_gradients(classifier, rows.images, rows.targets)
    return jnp.sum(rows.images * gradient, -1)

  return pixel_attribution("gradient_x_input()", Sum(term, as_it_is))


@memoised
def integrated_gradients(num_steps: int = 100, baseline: float = 0.0) -> Attribution:
  r"""Gradients along the straight path from a uniform grey image, times the way.

  .. math:: R_i = (x_i - b) \int_0^1 \partial_i f_t(b + a (x - b))\, da

  Signed, summed over colours. The integral is a Gauss-Legendre sum, Captum's default.
  The relevance of all pixels together is ``f_t(x) - f_t(b)`` up to the error of that
  sum, which :func:`completeness` reports.

  Args:
    num_steps: Gradients of each image, at least 1; 100 in Kolek et al., ECCV 2022.
    baseline: Grey value b of the image that shows nothing, in [0, 1].

  Raises:
    ValueError: An argument is out of range.

  Example:
    >>> integrated_gradients().name
    'integrated_gradients(num_steps=100, baseline=0.0)'

  References:
    Sundararajan et al., Axiomatic Attribution for Deep Networks, ICML 2017.
  """
  check_count("num_steps", num_steps)
  check_range("baseline", baseline, 0, 1)
  nodes, weights = np.polynomial.legendre.leggauss(num_steps)
  # From [-1, 1], where they are defined, to [0, 1].
  positions, shares = np.float32((nodes + 1) / 2), np.float32(weights / 2)

  def term(classifier: Classifier, rows: Batch, steps: Array) -> Array:
    way = rows.images - baseline
    position = jnp.asarray(positions)[steps][:, None, None, None]
    gradient = output_gradients(classifier, baseline + position * way, rows.targets)
    return jnp.asarray(shares)[steps][:, None, None] * jnp.sum(way * gradient, -1)

  name = f"integrated_gradients(num_steps={num_steps}, baseline={baseline})"
  return pixel_attribution(name, Sum(term, as_it_is, num_steps))


@memoised
def smooth_grad(num_samples: int = 10, sigma: float = 0.1) -> Attribution:
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
  check_count("num_samples", num_samples)
  check_range("sigma", sigma, 0, np.inf)

  def term(classifier: Classifier, rows: Batch, draws: Array) -> Array:
    return _noisy_gradients(classifier, rows, draws, sigma) / num_samples

  def finish(classifier: Classifier, batch: Batch, mean: Array) -> Array:
    return jnp.sum(jnp.abs(mean), -1)

  name = f"smooth_grad(num_samples={num_samples}, sigma={sigma})"
  return pixel_attribution(name, Sum(term, finish, num_samples))


@memoised
def var_grad(num_samples: int = 10, sigma: float = 0.1) -> Attribution:
  """The variance of the gradient over noisy copies of the image, summed over colours.

  Args:
    num_samples: Noisy copies of each image, at least 2.
    sigma: As for :func:`smooth_grad`.

  Raises:
    ValueError: An argument is out of range.

  Example:
    >>> var_grad(num_samples=20).name
    'var_grad(num_samples=20, sigma=0.1)'

  References:
    Adebayo et al., Local Explanation Methods for Deep Neural Networks Lack Sensitivity
    to Parameter Values, 2018.
  """
  check_count("num_samples", num_samples, 2)
  check_range("sigma", sigma, 0, np.inf)

  def term(classifier: Classifier, rows: Batch, draws: Array) -> tuple[Array, Array]:
    gradient = _noisy_gradients(classifier, rows, draws, sigma)
    return gradient / num_samples, gradient**2 / num_samples

  def finish(
    classifier: Classifier, batch: Batch, moments: tuple[Array, Array]
  ) -> Array:
    mean, square = moments
    return jnp.sum(jnp.maximum(square - mean**2, 0), -1)

  name = f"var_grad(num_samples={num_samples}, sigma={sigma})"
  return pixel_attribution(name, Sum(term, finish, num_samples))


def completeness(
  classifier: Classifier,
  images: Array,
  targets: Array,
  relevance: Relevance,
  baseline: float = 0.0,
) -> Array:
  r"""How far the relevance is from adding up to the change of the target's output.

  .. math:: \Bigl(\sum_i R_i - (f_t(x) - f_t(b))\Bigr) / |f_t(x) - f_t(b)|

  Args:
    classifier: The network.
    images: ``[B, H, W, C]`` in [0, 1].
    targets: Explained output of each, as the relevance has it.
    relevance: As an attribution returned it, e.g. :func:`integrated_gradients`.
    baseline: Grey value of the image that shows nothing.

  Returns:
    Relative error of each image, ``[B]``; 0 is complete. NaN where both outputs are
    equal.

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
  images, targets = check_arguments(classifier, images, targets)
  check_range("baseline", baseline, 0, 1)
  # The path from image to baseline has two ends, which are two samples.
  batch = Batch(jnp.asarray(images), targets, jnp.zeros(len(images)))
  change = samples.evaluate(_change(baseline), classifier, batch)
  total = sum(jnp.sum(leaf, (1, 2, 3, 4)) for leaf in relevance)
  known = jnp.where(change != 0, jnp.abs(change), jnp.nan)
  return (total - change) / known


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


def _noisy_gradients(
  classifier: Classifier, rows: Batch, draws: Array, sigma: float
) -> Array:
  noise = jax.vmap(noise_of_draw, (0, 0, None))(rows.keys, draws, rows.images.shape[1:])
  return output_gradients(classifier, rows.images + sigma * noise, rows.targets)


def noise_of_draw(key: Array, draw: Array, image_shape: tuple[int, ...]) -> Array:
  """Standard normal noise ``[H, W, C]``; more draws of an image keep the first ones."""
  return jax.random.normal(jax.random.fold_in(key, draw), image_shape)


@memoised
def _change(baseline: float) -> Sum:
  """From the baseline's output to the image's, ``[B]``."""

  def term(classifier: Classifier, rows: Batch, end: Array) -> Array:
    at_image = (end == 1)[:, None, None, None]
    outputs = classifier(jnp.where(at_image, rows.images, baseline))
    chosen = jnp.take_along_axis(outputs, rows.targets[:, None], 1)[:, 0]
    return jnp.where(end == 1, chosen, -chosen)

  return Sum(term, as_it_is, 2)
