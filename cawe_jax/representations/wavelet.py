"""The two-dimensional discrete wavelet transform as matrix products.

One level of the separable transform is ``A_h @ image @ A_w.T``, where ``A`` stacks the
low-pass on the high-pass rows, and its inverse is ``S_h @ block @ S_w.T``. Both
matrices are read off PyWavelets by transforming the identity, so that every discrete
wavelet, every padding mode and every odd size of PyWavelets is covered by the same two
lines, forward and inverse always match, and the gradient of a product is a product.
At the sizes that classifiers see, this is also the fast way: see docs/decisions.md for
the comparison with polyphase filters and with jaxwt.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pywt
from jax.lax import Precision

from cawe_jax.memo import memoised
from cawe_jax.types import Array, Coefficients, Representation, Transform


@memoised
def wavelet(name: str = "db3", *, levels: int = 5, mode: str = "zero") -> Transform:
  """Mask the coefficients of PyWavelets' ``wavedec2`` (CartoonX).

  Args:
    name: A discrete wavelet of PyWavelets, see ``pywt.wavelist(kind="discrete")``.
    levels: Number J of decomposition levels, at least 1 and at most what
      ``pywt.dwtn_max_level`` allows for the image (checked when bound).
    mode: Padding of the transform, one of ``pywt.Modes.modes``. The papers use
      ``"zero"`` in both directions.

  Returns:
    A transform to bind to an image shape ``(H, W, C)``: the representation has
    ``levels + 1`` leaves (band order: :mod:`cawe_jax.types`).

  Raises:
    ValueError: Unknown wavelet or mode, or levels out of range.

  Example:
    >>> wavelet("db3", levels=5)((256, 256, 3)).num_entries
    69831

  References:
    Kolek et al., Cartoon Explanations of Image Classifiers, ECCV 2022, Sec. 4.
  """
  if name not in pywt.wavelist(kind="discrete"):
    raise ValueError(
      f"wavelet {name!r} is unknown; allowed are PyWavelets' discrete wavelets, "
      f"e.g. haar, db3, sym4, coif1, bior2.2, dmey (pywt.wavelist(kind='discrete'))"
    )
  if mode not in pywt.Modes.modes:
    raise ValueError(
      f"mode {mode!r} is unknown; allowed: {', '.join(pywt.Modes.modes)}"
    )
  if levels < 1:
    raise ValueError(f"levels is {levels}; it must be at least 1")

  label = f"wavelet({name!r}, levels={levels}, mode={mode!r})"

  @memoised
  def bind(image_shape: tuple[int, int, int], /) -> Representation:
    return _bind(label, name, levels, mode, image_shape)

  return Transform(label, bind)


class _Level(NamedTuple):
  """Matrices of one level: analysis ``[2m, n]`` and synthesis ``[n, 2m]`` per axis."""

  analysis_rows: np.ndarray
  analysis_columns: np.ndarray
  synthesis_rows: np.ndarray
  synthesis_columns: np.ndarray

  @property
  def band_shape(self) -> tuple[int, int]:
    """Height and width of this level's bands."""
    return self.analysis_rows.shape[0] // 2, self.analysis_columns.shape[0] // 2


def _bind(
  label: str, name: str, levels: int, mode: str, image_shape: tuple[int, int, int]
) -> Representation:
  height, width, _ = image_shape
  max_levels = pywt.dwtn_max_level((height, width), name)
  if max_levels < 1:
    raise ValueError(
      f"image of {height}x{width} pixels is too small for wavelet {name!r}, whose "
      f"filters have {pywt.Wavelet(name).dec_len} taps"
    )
  if levels > max_levels:
    raise ValueError(
      f"levels is {levels}; wavelet {name!r} on an image of {height}x{width} pixels "
      f"allows 1 to {max_levels}"
    )
  steps = _level_matrices(name, levels, mode, height, width)
  coarsest = steps[-1].band_shape
  mask_shapes = (
    (1, *coarsest, 1),
    *((3, *step.band_shape, 1) for step in reversed(steps)),
  )

  def analysis(image: Array) -> Coefficients:
    approximation = jnp.moveaxis(image, -1, 1)
    details = []
    for step in steps:
      block = _sandwich(step.analysis_rows, approximation, step.analysis_columns)
      approximation, detail = _split(block, step.band_shape)
      details.append(detail)
    return (jnp.moveaxis(approximation, 1, -1)[None], *reversed(details))

  def synthesis(coefficients: Coefficients) -> Array:
    approximation = jnp.moveaxis(coefficients[0][0], -1, 1)
    for step, detail in zip(reversed(steps), coefficients[1:], strict=True):
      block = _join(approximation, detail)
      approximation = _sandwich(step.synthesis_rows, block, step.synthesis_columns)
    return jnp.moveaxis(approximation, 1, -1)

  return Representation(label, image_shape, mask_shapes, analysis, synthesis)


def _level_matrices(
  name: str, levels: int, mode: str, height: int, width: int
) -> list[_Level]:
  """Matrices from the finest level to the coarsest."""
  steps = []
  for _ in range(levels):
    rows, columns = (
      _axis_matrices(name, mode, height),
      _axis_matrices(name, mode, width),
    )
    steps.append(_Level(rows[0], columns[0], rows[1], columns[1]))
    height, width = steps[-1].band_shape
  return steps


@memoised
def _axis_matrices(name: str, mode: str, size: int) -> tuple[np.ndarray, np.ndarray]:
  """Analysis ``[2m, size]`` and synthesis ``[size, 2m]`` of one axis, float64."""
  analysis = np.concatenate(pywt.dwt(np.eye(size), name, mode, axis=0))
  identity = np.eye(analysis.shape[0] // 2)
  low = pywt.idwt(identity, None, name, mode, axis=0)
  high = pywt.idwt(None, identity, name, mode, axis=0)
  return analysis, np.concatenate([low, high], axis=1)[:size]


def _sandwich(left: np.ndarray, block: Array, right: np.ndarray) -> Array:
  """``left @ block @ right.T`` for every channel of ``block [H, C, W]``.

  With the channels in the middle both are products of two matrices, without copies.
  Full precision, because TPUs and recent GPUs otherwise round the operands.
  """
  dtype = block.dtype
  across = jnp.einsum(
    "hcw,qw->hcq", block, jnp.asarray(right, dtype), precision=Precision.HIGHEST
  )
  return jnp.einsum(
    "ph,hcq->pcq", jnp.asarray(left, dtype), across, precision=Precision.HIGHEST
  )


def _split(block: Array, band_shape: tuple[int, int]) -> tuple[Array, Array]:
  """Quadrants ``[2h, C, 2w]`` to ``[h, C, w]`` and details ``[3, h, w, C]``."""
  h, w = band_shape
  details = jnp.stack([block[h:, :, :w], block[:h, :, w:], block[h:, :, w:]])
  return block[:h, :, :w], jnp.moveaxis(details, 2, -1)


def _join(approximation: Array, details: Array) -> Array:
  """The inverse of ``_split``."""
  horizontal, vertical, diagonal = jnp.moveaxis(details, -1, 2)
  top = jnp.concatenate([approximation, vertical], axis=-1)
  bottom = jnp.concatenate([horizontal, diagonal], axis=-1)
  return jnp.concatenate([top, bottom], axis=0)
