"""What replaces a masked coefficient.

Each is a :class:`~cawe_jax.types.Perturbation`: ``init`` looks at the image once,
``sample`` makes one draw, shaped like the coefficients. Noise is drawn for every
channel on its own. Adaptive noise takes its law from the noise groups: mean and
population standard deviation of a leaf's coefficients, over all channels.
"""

from __future__ import annotations

import abc
import math
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.inpainting import harmonic
from cawe_jax.numerics.random_bits import unrolled
from cawe_jax.numerics.rows import even_rows
from cawe_jax.part import as_part, setting
from cawe_jax.types import (
  Array,
  Coefficients,
  GreyImage,
  Image,
  Instance,
  Key,
  Mask,
  Masked,
  Perturbation,
  Scalar,
)


class Inpainter(Protocol):
  """What completes an image: a function, or a part such as a network with weights."""

  def __call__(self, visible: Image, known: GreyImage, /) -> Image:
    """The completed image; it runs inside `jit`, and no gradient is taken of it.

    Args:
      visible: ``known * image``.
      known: How far each pixel is known, in [0, 1].
    """
    ...


class Noise(Protocol):
  """What draws independent random numbers, such as ``jax.random.normal``."""

  def __call__(self, key: Key, shape: tuple[int, ...], dtype: Any, /) -> Array:
    """Random numbers of that shape and type.

    Args:
      key: Decides the numbers.
      shape: Any.
      dtype: A floating type.
    """
    ...


class Statistics(NamedTuple):
  """Mean and population standard deviation of every leaf, one scalar each."""

  mean: tuple[Scalar, ...]
  standard_deviation: tuple[Scalar, ...]


def statistics(coefficients: Coefficients) -> Statistics:
  """Statistics of each noise group, over positions, orientations and channels.

  Example:
    >>> float(statistics((jnp.array([1.0, 3.0]).reshape(1, 1, 2, 1),)).mean[0])
    2.0
  """
  return Statistics(
    tuple(jnp.mean(leaf) for leaf in coefficients),
    tuple(jnp.std(leaf) for leaf in coefficients),
  )


class _Adaptive(Perturbation):
  """Noise with each group's mean and standard deviation."""

  def init(self, instance: Instance) -> Statistics:
    """Statistics of the image's coefficients."""
    return statistics(instance.representation.analysis(instance.image))

  def noise(self, key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Noise of mean 0, before it is scaled."""
    return jax.random.normal(key, shape, dtype)

  def sample(self, key: Key, state: Statistics, masked: Masked) -> Coefficients:
    """Mean plus deviation times noise."""
    noise = _noise(key, masked.kept, self.noise)
    return tuple(
      mean + deviation * leaf
      for mean, deviation, leaf in zip(*state, noise, strict=True)
    )


class adaptive_gaussian(_Adaptive):
  """Normal noise with each group's mean and standard deviation: the ECCV default.

  References:
    Kolek et al., ECCV 2022, Sec. 4.
  """


class adaptive_uniform(_Adaptive):
  """Uniform noise in ``[mean - std, mean + std]`` of each group: the CVPR default.

  Its standard deviation is that of the group divided by sqrt(3).

  References:
    Code of Kolek et al., CVPR 2023.
  """

  def noise(self, key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Uniform in [-1, 1]."""
    return jax.random.uniform(key, shape, dtype, -1, 1)


class scaled_gaussian(_Adaptive):
  """Adaptive Gaussian noise with the standard deviation of each group scaled.

  Args:
    factors: One factor, at least 0, per leaf, coarsest first. The second reproduction
      of CartoonX scales linearly, exponentially and inversely in the level.

  Raises:
    ValueError: A factor is negative or not finite; or, in ``init``, their number is
      not that of the leaves.
  """

  factors: tuple[float, ...] = setting()

  def check(self) -> None:
    """Refuse factors that are negative or not finite."""
    if not all(math.isfinite(f) and f >= 0 for f in self.factors):
      raise ValueError(
        f"factors is {self.factors}; every factor must be finite and at least 0"
      )

  def init(self, instance: Instance) -> Statistics:
    """Statistics of the image's coefficients, the deviations scaled."""
    representation = instance.representation
    num_leaves = len(representation.mask_shapes)
    if len(self.factors) != num_leaves:
      raise ValueError(
        f"factors has {len(self.factors)} entries; {representation.name} has "
        f"{num_leaves} noise groups and needs one factor for each"
      )
    mean, deviation = super().init(instance)
    return Statistics(
      mean, tuple(f * d for f, d in zip(self.factors, deviation, strict=True))
    )


class standard_normal(Perturbation):
  """N(0, 1) for every coefficient, whatever its scale.

  On natural images this is far too strong at the finest scale and far too weak at the
  coarsest; it is here to reproduce code that does so.
  """

  def sample(self, key: Key, state: Any, masked: Masked) -> Coefficients:
    """One draw."""
    return _noise(key, masked.kept, jax.random.normal)


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


class infill(Perturbation):
  """The coefficients of the image completed by an inpainter from what is kept.

  The hole is defined in pixels, for every representation alike: a pixel is known to
  the degree ``e_k / (e_k + e_m)``, where ``e_k`` and ``e_m`` are the energies there of
  the kept and of the masked part of the image. (They are taken of ``(1 + x) / 2``, so
  that black has energy too. A pixel mask of zeros and ones is thereby its own map of
  what is known.) No gradient flows through the inpainter's view of the mask.

  Args:
    inpainter: An :class:`Inpainter`: a function such as
      :func:`cawe_jax.inpainting.harmonic`, or a network as a part, whose weights are
      its data. It must run inside `jit`.

  References:
    Kolek et al., A Rate-Distortion Framework, 2021; Heiss et al., 2020.
  """

  is_random: ClassVar[bool] = False
  inpainter: Inpainter = harmonic

  def __post_init__(self) -> None:
    object.__setattr__(self, "inpainter", as_part(self.inpainter))
    super().__post_init__()

  def init(self, instance: Instance) -> _Visible:
    """The image and its lifted coefficients."""
    lifted = instance.representation.analysis((1 + instance.image) / 2)
    return _Visible(instance.image, lifted)

  def sample(self, key: Key, state: _Visible, masked: Masked) -> Coefficients:
    """The completed image's coefficients."""
    known = _known_pixels(state, masked)
    return masked.representation.analysis(self.inpainter(known * state.image, known))


class _Visible(NamedTuple):
  """The image, and ``T((1 + x) / 2)``."""

  image: Image
  lifted: Coefficients


def _known_pixels(state: _Visible, masked: Masked) -> GreyImage:
  """How far each pixel is kept: ``[H, W, 1]`` in [0, 1]; see :class:`infill`."""

  def energy(share: Mask) -> GreyImage:
    part = tuple(s * h for s, h in zip(share, state.lifted, strict=True))
    image = masked.representation.synthesis(part)
    return jnp.sum(image**2, axis=-1, keepdims=True)

  mask = jax.lax.stop_gradient(masked.mask)
  kept, lost = energy(mask), energy(jax.tree.map(lambda s: 1 - s, mask))
  return kept / jnp.maximum(kept + lost, 1e-12)


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


def _noise(key: Key, like: Coefficients, noise_fn: Noise) -> Coefficients:
  """Independent noise for every leaf, cut from one draw: one program to compile."""
  ends = np.cumsum([leaf.size for leaf in like])
  shape = even_rows(int(ends[-1]))
  flat = noise_fn(unrolled(key), shape, like[0].dtype).ravel()[: ends[-1]]
  parts = jnp.split(flat, ends[:-1])
  return tuple(p.reshape(leaf.shape) for p, leaf in zip(parts, like, strict=True))
