"""What replaces a masked coefficient.

Each factory returns a :class:`~cawe_jax.types.Perturbation`: ``init`` looks at the
image once, ``sample`` makes one draw, shaped like the coefficients. Noise is drawn for
every channel on its own. Adaptive noise takes its law from the noise groups: mean and
population standard deviation of a leaf's coefficients, over all channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.inpainting import harmonic
from cawe_jax.memo import memoised
from cawe_jax.random_bits import unrolled
from cawe_jax.rows import even_rows
from cawe_jax.types import Array, Coefficients, Mask, Perturbation, Representation

Inpainter = Callable[[Array, Array], Array]
"""``(known * image [H, W, C], known [H, W, 1] in [0, 1]) -> image [H, W, C]``."""


class Statistics(NamedTuple):
  """Mean and population standard deviation of every leaf, one scalar each."""

  mean: tuple[Array, ...]
  standard_deviation: tuple[Array, ...]


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


@memoised
def adaptive_gaussian() -> Perturbation:
  """Normal noise with each group's mean and standard deviation: the ECCV default.

  References:
    Kolek et al., ECCV 2022, Sec. 4.
  """
  return Perturbation(
    "adaptive_gaussian()", _adaptive_init, _adaptive_sampler(jax.random.normal)
  )


@memoised
def adaptive_uniform() -> Perturbation:
  """Uniform noise in ``[mean - std, mean + std]`` of each group: the CVPR default.

  Its standard deviation is that of the group divided by sqrt(3).

  References:
    Code of Kolek et al., CVPR 2023.
  """
  return Perturbation(
    "adaptive_uniform()", _adaptive_init, _adaptive_sampler(_symmetric_uniform)
  )


@memoised
def scaled_gaussian(factors: tuple[float, ...]) -> Perturbation:
  """Adaptive Gaussian noise with the standard deviation of each group scaled.

  Args:
    factors: One factor, at least 0, per leaf, coarsest first. The second reproduction
      of CartoonX scales linearly, exponentially and inversely in the level.

  Raises:
    ValueError: A factor is negative or not finite; or, in ``init``, their number is
      not that of the leaves.
  """
  if not all(math.isfinite(f) and f >= 0 for f in factors):
    raise ValueError(
      f"factors is {factors}; every factor must be finite and at least 0"
    )

  def init(image: Array, representation: Representation) -> Statistics:
    num_leaves = len(representation.mask_shapes)
    if len(factors) != num_leaves:
      raise ValueError(
        f"factors has {len(factors)} entries; {representation.name} has {num_leaves} "
        f"noise groups and needs one factor for each"
      )
    mean, deviation = _adaptive_init(image, representation)
    return Statistics(
      mean, tuple(f * d for f, d in zip(factors, deviation, strict=True))
    )

  return Perturbation(
    f"scaled_gaussian({factors})", init, _adaptive_sampler(jax.random.normal)
  )


@memoised
def standard_normal() -> Perturbation:
  """N(0, 1) for every coefficient, whatever its scale.

  On natural images this is far too strong at the finest scale and far too weak at the
  coarsest; it is here to reproduce code that does so.
  """

  def sample(key: Array, state: None, mask: Mask, kept: Coefficients) -> Coefficients:
    return _noise(key, kept, jax.random.normal)

  return Perturbation("standard_normal()", lambda image, representation: None, sample)


@memoised
def zeros() -> Perturbation:
  """Zero for every coefficient: a hard threshold of the image."""
  return Perturbation(
    "zeros()",
    lambda image, representation: None,
    lambda key, state, mask, kept: jax.tree.map(jnp.zeros_like, kept),
    is_random=False,
  )


@memoised
def constant(value: float) -> Perturbation:
  """The coefficients of an image of one grey value: 0 is black, 1 is white.

  Raises:
    ValueError: The value is outside [0, 1].
  """
  if not 0 <= value <= 1:
    raise ValueError(f"value is {value}; a grey value must lie in [0, 1]")
  return _fixed_image(f"constant({value})", lambda image: jnp.full_like(image, value))


@memoised
def mean() -> Perturbation:
  """The coefficients of the image's mean colour, the article's constant average."""
  return _fixed_image(
    "mean()",
    lambda image: jnp.broadcast_to(jnp.mean(image, axis=(0, 1)), image.shape),
  )


@memoised
def blur(sigma: float = 10.0) -> Perturbation:
  """The coefficients of the image blurred by a Gaussian.

  Args:
    sigma: Standard deviation in pixels, above 0. The borders are renormalised.

  Raises:
    ValueError: sigma is not a finite number above 0.
  """
  if not (math.isfinite(sigma) and sigma > 0):
    raise ValueError(f"sigma is {sigma}; it must be a finite number of pixels above 0")
  return _fixed_image(f"blur({sigma})", lambda image: gaussian_blur(image, sigma))


@memoised
def infill(inpainter: Inpainter = harmonic) -> Perturbation:
  """The coefficients of the image completed by an inpainter from what is kept.

  The hole is defined in pixels, for every representation alike: a pixel is known to
  the degree ``e_k / (e_k + e_m)``, where ``e_k`` and ``e_m`` are the energies there of
  the kept and of the masked part of the image. (They are taken of ``(1 + x) / 2``, so
  that black has energy too. A pixel mask of zeros and ones is thereby its own map of
  what is known.) No gradient flows through the inpainter's view of the mask.

  Args:
    inpainter: ``(known * image [H, W, C], known [H, W, 1]) -> image [H, W, C]``, a
      network or a classical one such as :func:`cawe_jax.inpainting.harmonic`; it must
      run inside `jit`.

  References:
    Kolek et al., A Rate-Distortion Framework, 2021; Heiss et al., 2020.
  """

  def init(image: Array, representation: Representation) -> _Infill:
    return _Infill(
      jax.tree_util.Partial(representation.analysis),
      jax.tree_util.Partial(representation.synthesis),
      image,
      representation.analysis((1 + image) / 2),
    )

  def sample(
    key: Array, state: _Infill, mask: Mask, kept: Coefficients
  ) -> Coefficients:
    known = _known_pixels(state, jax.lax.stop_gradient(mask))
    return state.analysis(inpainter(known * state.image, known))

  name = getattr(inpainter, "__name__", repr(inpainter))
  return Perturbation(f"infill({name})", init, sample, is_random=False)


class _Infill(NamedTuple):
  """The two maps as pytrees without leaves, the image, and ``T((1 + x) / 2)``."""

  analysis: jax.tree_util.Partial
  synthesis: jax.tree_util.Partial
  image: Array
  lifted: Coefficients


def _known_pixels(state: _Infill, mask: Mask) -> Array:
  """How far each pixel is kept: ``[H, W, 1]`` in [0, 1]; see :func:`infill`."""

  def energy(share: Mask) -> Array:
    part = tuple(s * h for s, h in zip(share, state.lifted, strict=True))
    return jnp.sum(state.synthesis(part) ** 2, axis=-1, keepdims=True)

  kept, masked = energy(mask), energy(jax.tree.map(lambda s: 1 - s, mask))
  return kept / jnp.maximum(kept + masked, 1e-12)


def gaussian_blur(image: Array, sigma: float) -> Array:
  """Separable Gaussian blur of ``[H, W, C]``, normalised over what is inside.

  Example:
    >>> bool(jnp.allclose(gaussian_blur(jnp.ones((5, 7, 3)), 2.0), 1))
    True
  """

  def kernel(size: int) -> Array:
    position = jnp.arange(size, dtype=image.dtype)
    weights = jnp.exp(-((position[:, None] - position) ** 2) / (2 * sigma**2))
    return weights / weights.sum(1, keepdims=True)

  height, width, _ = image.shape
  precision = jax.lax.Precision.HIGHEST
  return jnp.einsum(
    "ph,qw,hwc->pqc", kernel(height), kernel(width), image, precision=precision
  )


def _adaptive_init(image: Array, representation: Representation) -> Statistics:
  return statistics(representation.analysis(image))


def _adaptive_sampler(noise_fn: Callable) -> Callable:
  def sample(
    key: Array, state: Statistics, mask: Mask, kept: Coefficients
  ) -> Coefficients:
    noise = _noise(key, kept, noise_fn)
    return tuple(
      mean + deviation * leaf
      for mean, deviation, leaf in zip(*state, noise, strict=True)
    )

  return sample


def _symmetric_uniform(key: Array, shape: tuple[int, ...], dtype) -> Array:
  return jax.random.uniform(key, shape, dtype, -1, 1)


def _noise(key: Array, like: Coefficients, noise_fn: Callable) -> Coefficients:
  """Independent noise for every leaf, cut from one draw: one program to compile."""
  ends = np.cumsum([leaf.size for leaf in like])
  shape = even_rows(int(ends[-1]))
  flat = noise_fn(unrolled(key), shape, like[0].dtype).ravel()[: ends[-1]]
  parts = jnp.split(flat, ends[:-1])
  return tuple(p.reshape(leaf.shape) for p, leaf in zip(parts, like, strict=True))


def _fixed_image(name: str, replacement: Callable[[Array], Array]) -> Perturbation:
  def init(image: Array, representation: Representation) -> Coefficients:
    return representation.analysis(replacement(image))

  return Perturbation(name, init, lambda key, state, mask, kept: state, is_random=False)
