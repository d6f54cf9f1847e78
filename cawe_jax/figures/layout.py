"""Where each sub-band of a mask lies on the page.

Nothing is known of a representation but its leaves. Those of wavelets are recognised by
their shapes and nested; all others are tiles of a plain grid. Zero-padded sub-bands of
wavelets are not exactly dyadic (11, 11, 18, 32, 59, 114 for 224 pixels), so the canvas
is computed from the sizes of the leaves: each scale goes around the canvas of all
coarser ones, and what nothing covers stays empty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cawe_jax.engine.checks import check_leaves

_CANVAS = 120  # pixels, of which a gap of one is less than a per cent


class Block(NamedTuple):
  """One sub-band's place.

  Attributes:
    leaf: Index of the mask's leaf, 0 the coarsest.
    orientation: Index in that leaf.
    rows: The sub-band's rows on the canvas.
    columns: Its columns.
  """

  leaf: int
  orientation: int
  rows: slice
  columns: slice


def mask_layout(mask: Sequence[Any]) -> np.ndarray:
  """Lays a mask out in the plane, all its entries.

  A wavelet mask becomes nested quadrants as PyWavelets draws them: the coarsest
  approximation top left, and at each scale the horizontal details top right, the
  vertical ones bottom left, the diagonal ones bottom right. A thin gap parts the
  quadrants. A mask of one leaf with one orientation is its own layout. In both, every
  entry is there once.

  Any other mask becomes a grid, row by row: the orientations of the first leaf, then
  those of the second, and so on. Smaller ones are enlarged to the size of the largest
  by repeating entries.

  Args:
    mask: Leaves ``[orientations, h, w, 1]``; of wavelets ``[1, h, w, 1]``, then
      ``[3, h, w, 1]`` from coarse to fine.

  Returns:
    Float array ``[height, width]``, NaN where no sub-band lies.

  Raises:
    ValueError: There are no leaves, or one has another shape.

  Example:
    >>> mask_layout([np.ones((1, 1, 1, 1)), np.zeros((3, 1, 1, 1))])
    array([[ 1., nan,  0.],
           [nan, nan, nan],
           [ 0., nan,  0.]])
    >>> mask_layout([np.ones((1, 1, 1, 1)), np.zeros((1, 1, 2, 1))])
    array([[ 1.,  1., nan,  0.,  0.]])
  """
  blocks, shape = mask_blocks(mask)
  layout = np.full(shape, np.nan)
  for leaf, orientation, rows, columns in blocks:
    band = np.asarray(mask[leaf][orientation, ..., 0], float)
    layout[rows, columns] = _enlarged(band, *layout[rows, columns].shape)
  return layout


def mask_blocks(mask: Sequence[Any]) -> tuple[list[Block], tuple[int, int]]:
  """Places every sub-band on a canvas; they never overlap.

  Args:
    mask: As for :func:`mask_layout`.

  Returns:
    The places, coarsest first, and the canvas's height and width.

  Raises:
    ValueError: There are no leaves, or one has another shape.
  """
  check_leaves("mask", mask)
  shapes = [tuple(np.shape(leaf)) for leaf in mask]
  if not shapes or any(len(s) != 4 or s[3] != 1 or 0 in s for s in shapes):
    raise ValueError(
      f"mask: got leaves of shapes {shapes}, allowed: one leaf or more, each "
      "[orientations, h, w, 1]"
    )
  return _nested(shapes) if _is_nested(shapes) else _grid(shapes)


def enlarged(mask: Sequence[Any]) -> list[np.ndarray]:
  """Repeats the entries of a small mask, beside which gaps of a pixel are thin.

  Args:
    mask: As for :func:`mask_layout`.

  Returns:
    The leaves with every entry ``n x n`` times, where ``n`` makes the canvas about 120
    pixels long; 1 for large masks, and for those that are one sub-band without gaps.

  Raises:
    ValueError: As :func:`mask_blocks`.

  Example:
    >>> mask = np.ones((1, 4, 4, 1)), np.ones((3, 4, 4, 1))
    >>> [leaf.shape for leaf in enlarged(mask)]
    [(1, 56, 56, 1), (3, 56, 56, 1)]
  """
  blocks, shape = mask_blocks(mask)
  times = math.ceil(_CANVAS / max(shape)) if len(blocks) > 1 else 1
  return [np.asarray(leaf).repeat(times, 1).repeat(times, 2) for leaf in mask]


def is_wavelet(mask: Sequence[Any]) -> bool:
  """Whether a mask is laid out as nested quadrants.

  Args:
    mask: As for :func:`mask_layout`.
  """
  return len(mask) > 1 and _is_nested([np.shape(leaf) for leaf in mask])


def _is_nested(shapes: list[tuple[int, ...]]) -> bool:
  """One approximation, then three details at each scale; pixels are the first alone."""
  return [s[0] for s in shapes] == [1] + [3] * (len(shapes) - 1)


def _nested(shapes: list[tuple[int, ...]]) -> tuple[list[Block], tuple[int, int]]:
  """Every scale around all coarser ones."""
  _, height, width, _ = shapes[0]
  blocks = [Block(0, 0, slice(0, height), slice(0, width))]
  gap = max(1, round(max(shapes[-1][1:3]) / 60))  # 1.5 % of the finest quadrant
  for leaf, (_, h, w, _) in enumerate(shapes[1:], start=1):
    # In tiny images a sub-band may be larger than all coarser ones together.
    top, left = max(height, h) + gap, max(width, w) + gap
    near_rows, near_columns = slice(0, h), slice(0, w)
    far_rows, far_columns = slice(top, top + h), slice(left, left + w)
    blocks += [
      Block(leaf, 0, near_rows, far_columns),
      Block(leaf, 1, far_rows, near_columns),
      Block(leaf, 2, far_rows, far_columns),
    ]
    height, width = top + h, left + w
  return blocks, (height, width)


def _grid(shapes: list[tuple[int, ...]]) -> tuple[list[Block], tuple[int, int]]:
  """Tiles of one size, row by row, as many rows as columns or one fewer."""
  height, width = (max(s[axis] for s in shapes) for axis in (1, 2))
  tiles = [(leaf, i) for leaf, s in enumerate(shapes) for i in range(s[0])]
  num_columns = math.ceil(math.sqrt(len(tiles)))
  num_rows = math.ceil(len(tiles) / num_columns)
  # As wide on the page as that of wavelets.
  gap = max(1, round(max(num_rows * height, num_columns * width) / 120))
  blocks = []
  for place, (leaf, orientation) in enumerate(tiles):
    row, column = divmod(place, num_columns)
    top, left = row * (height + gap), column * (width + gap)
    rows, columns = slice(top, top + height), slice(left, left + width)
    blocks.append(Block(leaf, orientation, rows, columns))
  return blocks, (num_rows * (height + gap) - gap, num_columns * (width + gap) - gap)


def _enlarged(band: np.ndarray, height: int, width: int) -> np.ndarray:
  """By repeating entries, as evenly as they go; unchanged if the size is its own."""
  rows = np.arange(height) * band.shape[0] // height
  columns = np.arange(width) * band.shape[1] // width
  return band[rows[:, None], columns]
