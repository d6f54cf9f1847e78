"""Another image, or nothing, in the place of masked coefficients; no chance in it."""

from __future__ import annotations

import abc
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from cawe_jax.part import setting
from cawe_jax.types import (
  Array,
  Coefficients,
  Image,
  Instance,
  Key,
  Masked,
  Perturbation,
)


class _Fixed(Perturbation):
  """The coefficients of an image that takes the place of the image."""

  is_random: ClassVar[bool] = False

  @abc.abstractmethod
  def replacement(self, image: Image) -> Image:
    """Another image, ``[H, W, C]``."""

  def init(self, instance: Instance) -> Coefficients:
    """The other image's coefficients."""
    return instance.representation.analysis(self.replacement(instance.image))

  def sample(self, key: Key, state: Coefficients, masked: Masked) -> Coefficients:
    """The other image's coefficients."""
    return state


class zeros(Perturbation):
  """Zero for every coefficient: a hard threshold of the image."""

  is_random: ClassVar[bool] = False

  def sample(self, key: Key, state: Any, masked: Masked) -> Coefficients:
    """Zeros."""
    return jax.tree.map(jnp.zeros_like, masked.kept)


class constant(_Fixed):
  """The coefficients of an image of one grey value: 0 is black, 1 is white.

  Raises:
    ValueError: The value is outside [0, 1].
  """

  value: float = setting()

  def check(self) -> None:
    """Refuse a value that is no grey value."""
    if not 0 <= self.value <= 1:
      raise ValueError(f"value is {self.value}; a grey value must lie in [0, 1]")

  def replacement(self, image: Image) -> Image:
    """One grey value."""
    return jnp.full_like(image, self.value)


class mean(_Fixed):
  """The coefficients of the image's mean colour, the article's constant average."""

  def replacement(self, image: Image) -> Image:
    """The mean colour."""
    return jnp.broadcast_to(jnp.mean(image, axis=(0, 1)), image.shape)


class blur(_Fixed):
  """The coefficients of the image blurred by a Gaussian.

  Args:
    sigma: Standard deviation in pixels, above 0. The borders are renormalised.

  Raises:
    ValueError: sigma is not a finite number above 0.
  """

  sigma: float = setting(default=10.0)

  def check(self) -> None:
    """Refuse a sigma that is not a finite number above 0."""
    if not (math.isfinite(self.sigma) and self.sigma > 0):
      raise ValueError(
        f"sigma is {self.sigma}; it must be a finite number of pixels above 0"
      )

  def replacement(self, image: Image) -> Image:
    """The blurred image."""
    return gaussian_blur(image, self.sigma)


def gaussian_blur(image: Image, sigma: float) -> Image:
  """Separable Gaussian blur of ``[H, W, C]``, normalised over what is inside.

  Example:
    >>> bool(jnp.allclose(gaussian_blur(jnp.ones((5, 7, 3)), 2.0), 1))
    True
  """

  def kernel(size: int) -> Array:
    position = jnp.arange(size, dtype=image.dtype)
    weights = jnp.exp(-((position[:, None] - position[None]) ** 2) / (2 * sigma**2))
    return weights / weights.sum(1, keepdims=True)

  height, width, _ = image.shape
  precision = jax.lax.Precision.HIGHEST
  return jnp.einsum(
    "ph,qw,hwc->pqc", kernel(height), kernel(width), image, precision=precision
  )
