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

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pywt
from jax.lax import Precision

from cawe_jax.part import setting
from cawe_jax.types import Array, Coefficients, Image, Representation, Transform

DEFAULT_WAVELET, FOR_SMALL_IMAGES = "db3", "haar"
"""The default, as published, and what takes its place where it does not fit."""
MOST_LEVELS = 5
"""The default number of levels, as published, where the image is large enough."""


class wavelet(Transform):
  """Mask the coefficients of PyWavelets' ``wavedec2`` (CartoonX).

  Bound to an image shape ``(H, W, C)``, the representation has ``J + 1`` leaves
  (band order: :mod:`cawe_jax.types`). Its matrices are data.

  Args:
    wavelet: A discrete wavelet of PyWavelets, see ``pywt.wavelist(kind="discrete")``.
      By default ``db3``, and ``haar`` for images of less than 10 pixels a side, which
      are too small for that.
    levels: Number J of decomposition levels, at least 1 and at most what
      ``pywt.dwtn_max_level`` allows for the image (checked when bound). By default as
      many as the image allows, up to 5.
    mode: Padding of the transform, one of ``pywt.Modes.modes``. The papers use
      ``"zero"`` in both directions.

  Raises:
    ValueError: Unknown wavelet or mode, or levels out of range.

  Example:
    >>> wavelet("db3", levels=5)((256, 256, 3)).num_entries
    69831
    >>> wavelet()((32, 32, 3)).name
    "wavelet('db3', levels=2, mode='zero')"
    >>> wavelet()((8, 8, 1)).name
    "wavelet('haar', levels=3, mode='zero')"

  References:
    Kolek et al., Cartoon Explanations of Image Classifiers, ECCV 2022, Sec. 4.
  """

  wavelet: str | None = setting(default=None)
  levels: int | None = setting(default=None)
  mode: str = setting(default="zero")

  def check(self) -> None:
    """Refuse wavelets and paddings that PyWavelets does not know."""
    if not isinstance(self.wavelet, str | None):
      kind = type(self.wavelet).__name__
      raise ValueError(f"wavelet is of type {kind}; it must be a name, e.g. 'db3'")
    if self.wavelet not in (None, *pywt.wavelist(kind="discrete")):
      raise ValueError(
        f"wavelet {self.wavelet!r} is unknown; allowed are PyWavelets' discrete "
        "wavelets, e.g. haar, db3, sym4, coif1, bior2.2, dmey "
        "(pywt.wavelist(kind='discrete'))"
      )
    if self.mode not in pywt.Modes.modes:
      raise ValueError(
        f"mode {self.mode!r} is unknown; allowed: {', '.join(pywt.Modes.modes)}"
      )
    if self.levels is None:
      return
    if not isinstance(self.levels, int | np.integer) or self.levels < 1:
      raise ValueError(f"levels is {self.levels!r}; it must be an integer, at least 1")

  def bind(self, image_shape: tuple[int, int, int]) -> Representation:
    """The transform of images of shape ``(H, W, C)``."""
    height, width, _ = image_shape
    if self.wavelet is None:
      fits = pywt.dwtn_max_level((height, width), DEFAULT_WAVELET) > 0
      name = DEFAULT_WAVELET if fits else FOR_SMALL_IMAGES
      return wavelet(name, self.levels, self.mode).bind(image_shape)
    max_levels = pywt.dwtn_max_level((height, width), self.wavelet)
    if self.levels is None:
      # Where none fits, the one that is tried says why.
      levels = max(1, min(MOST_LEVELS, max_levels))
      return wavelet(self.wavelet, levels, self.mode).bind(image_shape)
    if max_levels < 1:
      raise ValueError(
        f"image of {height}x{width} pixels is too small for wavelet "
        f"{self.wavelet!r}, whose filters have {pywt.Wavelet(self.wavelet).dec_len} "
        "taps"
      )
    if self.levels > max_levels:
      raise ValueError(
        f"levels is {self.levels}; wavelet {self.wavelet!r} on an image of "
        f"{height}x{width} pixels allows 1 to {max_levels}"
      )
    steps = _level_matrices(self.wavelet, self.levels, self.mode, height, width)
    mask_shapes = (
      (1, *steps[-1].band_shape, 1),
      *((3, *step.band_shape, 1) for step in reversed(steps)),
    )
    return _Wavelets(self, image_shape, mask_shapes, tuple(steps))


class _Level(NamedTuple):
  """Matrices of one level: analysis ``[2m, n]`` and synthesis ``[n, 2m]`` per axis."""

  analysis_rows: Array
  analysis_columns: Array
  synthesis_rows: Array
  synthesis_columns: Array

  @property
  def band_shape(self) -> tuple[int, int]:
    """Height and width of this level's bands."""
    return self.analysis_rows.shape[0] // 2, self.analysis_columns.shape[0] // 2


class _Wavelets(Representation):
  """Matrices of the levels, from the finest to the coarsest."""

  steps: tuple[_Level, ...]

  def analysis(self, image: Image) -> Coefficients:
    approximation = jnp.moveaxis(image, -1, 1)
    details = []
    for step in self.steps:
      block = _sandwich(step.analysis_rows, approximation, step.analysis_columns)
      approximation, detail = _split(block, step.band_shape)
      details.append(detail)
    return (jnp.moveaxis(approximation, 1, -1)[None], *reversed(details))

  def synthesis(self, coefficients: Coefficients) -> Image:
    approximation = jnp.moveaxis(coefficients[0][0], -1, 1)
    for step, detail in zip(reversed(self.steps), coefficients[1:], strict=True):
      block = _join(approximation, detail)
      approximation = _sandwich(step.synthesis_rows, block, step.synthesis_columns)
    return jnp.moveaxis(approximation, 1, -1)


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


@functools.cache
def _axis_matrices(name: str, mode: str, size: int) -> tuple[np.ndarray, np.ndarray]:
  """Analysis ``[2m, size]`` and synthesis ``[size, 2m]`` of one axis, float64."""
  analysis = np.concatenate(pywt.dwt(np.eye(size), name, mode, axis=0))
  identity = np.eye(analysis.shape[0] // 2)
  low = pywt.idwt(identity, None, name, mode, axis=0)
  high = pywt.idwt(None, identity, name, mode, axis=0)
  return analysis, np.concatenate([low, high], axis=1)[:size]


def _sandwich(left: Array, block: Array, right: Array) -> Array:
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
