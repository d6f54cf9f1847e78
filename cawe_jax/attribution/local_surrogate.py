"""LIME: a linear model of the score in what superpixels are shown, near the image.

Superpixels are scikit-image's SLIC. The linear model is a ridge regression whose normal
equations are added up sample by sample and solved in closed form, so that neither the
samples nor their scores are ever kept.
"""

from __future__ import annotations

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.attribution.attribution import PixelAttribution, check_range
from cawe_jax.attribution.samples import Batch, Samples
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.methods.contracts import check_count
from cawe_jax.part import setting
from cawe_jax.types import Array, Images


class lime(PixelAttribution):
  r"""The weights of superpixels in a linear model of the score.

  .. math:: \min_{w, b} \sum_n e^{-D_n^2 / 2 \sigma^2}
    \bigl(p_t(x_n) - w \cdot z_n - b\bigr)^2 + \rho \|w\|^2

  A sample ``z_n`` shows each superpixel with probability 1/2, the first one shows them
  all; a hidden one has its mean colour. ``D_n`` is the cosine distance of ``z_n`` to
  showing all. These are the choices of the authors' code, except that it segments with
  quickshift. The score is what the network's output says
  (:mod:`cawe_jax.outputs`): a class's probability. Works with any network,
  also one without gradients. All pixels of a superpixel have the same relevance.

  Args:
    num_samples: Samples of each image, at least 1.
    num_segments: Superpixels asked for, at least 1; SLIC may find some fewer or more.
    kernel_width: The width sigma in cosine distance, above 0.
    ridge: The weight rho, above 0, while samples weigh at most 1.

  Raises:
    ValueError: An argument is out of range, or scikit-image is not installed.

  Example:
    >>> lime(num_samples=200).name
    'lime(num_samples=200, num_segments=50, kernel_width=0.25, ridge=1.0)'

  References:
    Ribeiro et al., "Why Should I Trust You?", KDD 2016; Achanta et al., SLIC, 2012.
  """

  num_samples: int = setting(default=1000)
  num_segments: int = setting(default=50)
  kernel_width: float = setting(default=0.25)
  ridge: float = setting(default=1.0)

  def check(self) -> None:
    """Refuse settings that are out of range, and a missing scikit-image."""
    if importlib.util.find_spec("skimage") is None:
      raise ValueError("lime needs scikit-image: pip install 'cawe-jax[samples]'")
    check_count("num_samples", self.num_samples)
    check_count("num_segments", self.num_segments)
    for name, value in (("kernel_width", self.kernel_width), ("ridge", self.ridge)):
      check_range(name, value, 0, float("inf"))
      if value == 0:
        raise ValueError(f"{name} is 0; it must be above 0")

  def num_terms(self) -> int:
    """One for each sample."""
    return self.num_samples

  def extra(self, images: Images) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The superpixels."""
    return superpixels(np.asarray(images), self.num_segments)

  def term(
    self, classifier: Classifier, rows: Batch, samples: Samples
  ) -> tuple[Array, Array]:
    """What each row adds to the two sides of the normal equations."""
    labels, exists, mean_images = rows.extra
    shown = jax.vmap(_draw)(rows.keys, samples, exists)
    visible = jax.vmap(lambda row, label: row[label])(shown, labels)
    outputs = classifier(jnp.where(visible[..., None], rows.images, mean_images))
    scores = jax.vmap(classifier.output.score)(outputs, rows.targets)
    share = jnp.sum(shown, 1) / jnp.sum(exists, 1)
    # Cosine distance of a vector of zeros and ones to that of ones.
    weight = jnp.exp(-((1 - jnp.sqrt(share)) ** 2) / (2 * self.kernel_width**2))
    features = jnp.append(shown.astype(float), jnp.ones((len(shown), 1)), axis=1)
    weighted = weight[:, None] * features
    return (
      jnp.einsum("ri,rj->rij", weighted, features),
      weighted * scores[:, None].astype(weighted.dtype),
    )

  def finish(
    self, classifier: Classifier, batch: Batch, sums: tuple[Array, Array]
  ) -> Array:
    """The weight of each pixel's superpixel."""
    labels, _, _ = batch.extra
    weights = jax.vmap(lambda left, right: _solve(left, right, self.ridge))(*sums)
    return jax.vmap(lambda w, label: w[label])(weights, labels)


def superpixels(
  images: np.ndarray, num_segments: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Superpixels of each image by SLIC.

  Args:
    images: ``[B, H, W, C]`` in [0, 1].
    num_segments: How many are asked for.

  Returns:
    Labels ``[B, H, W]`` from 0 without gaps; which labels an image has ``[B, D]``, as
    many as any has, rounded up to a power of two so that few sizes are ever compiled;
    and the images with each superpixel in its mean colour ``[B, H, W, C]``.

  Example:
    >>> labels, exists, _ = superpixels(np.eye(8)[None, ..., None], 4)
    >>> labels.shape, int(exists.sum()) == int(labels.max()) + 1
    ((1, 8, 8), True)
  """
  # Here, because scikit-image is in an extra, and slow to import.
  from skimage.segmentation import slic

  labels = np.stack([slic(x, num_segments, start_label=0) for x in images])
  counts = labels.max((1, 2)) + 1
  size = 1 << (int(counts.max()) - 1).bit_length()
  exists = np.arange(size) < counts[:, None]
  mean_images = np.empty_like(images)
  for i, (image, label) in enumerate(zip(images, labels, strict=True)):
    areas = np.bincount(label.ravel(), minlength=counts[i])
    for channel in range(image.shape[-1]):
      totals = np.bincount(label.ravel(), image[..., channel].ravel(), counts[i])
      mean_images[i, ..., channel] = (totals / areas)[label]
  return labels.astype(np.int32), exists, mean_images


def _draw(key: Array, draw: Array, exists: Array) -> Array:
  """Which superpixels a sample shows, bool ``[D]``; whatever D, the same of each."""

  def one(superpixel: Array) -> Array:
    return jax.random.bernoulli(jax.random.fold_in(of_draw, superpixel))

  of_draw = jax.random.fold_in(key, draw)
  return exists & ((draw == 0) | jax.vmap(one)(jnp.arange(len(exists))))


def _solve(left: Array, right: Array, ridge: float) -> Array:
  """Weights ``[D]`` of the ridge regression; the intercept, the last, is not shrunk."""
  penalty = ridge * jnp.eye(len(right)).at[-1, -1].set(0)
  return jnp.linalg.solve(left + penalty, right)[:-1]
