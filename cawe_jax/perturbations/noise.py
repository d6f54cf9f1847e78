"""Random numbers in the place of masked coefficients.

Noise is drawn for every channel on its own. Adaptive noise takes its law from the noise
groups: mean and population standard deviation of a leaf's coefficients, over all
channels.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.numerics.random_bits import unrolled
from cawe_jax.numerics.rows import even_rows
from cawe_jax.part import setting
from cawe_jax.types import (
  Array,
  Coefficients,
  Instance,
  Key,
  Masked,
  Perturbation,
  Scalar,
)


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


def _noise(key: Key, like: Coefficients, noise_fn: Noise) -> Coefficients:
  """Independent noise for every leaf, cut from one draw: one program to compile."""
  ends = np.cumsum([leaf.size for leaf in like])
  shape = even_rows(int(ends[-1]))
  flat = noise_fn(unrolled(key), shape, like[0].dtype).ravel()[: ends[-1]]
  parts = jnp.split(flat, ends[:-1])
  return tuple(p.reshape(leaf.shape) for p, leaf in zip(parts, like, strict=True))
