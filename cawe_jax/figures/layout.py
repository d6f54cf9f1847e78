"""Where each sub-band of a wavelet mask lies on the page.

Zero-padded sub-bands are not exactly dyadic (11, 11, 18, 32, 59, 114 for 224 pixels),
so the canvas is computed from the sizes of the leaves: each scale goes around the
canvas of all coarser ones, and what nothing covers stays empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


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
  """Lays a mask out in the plane, every entry exactly once.

  A wavelet mask becomes nested quadrants as PyWavelets draws them: the coarsest
  approximation top left, and at each scale the horizontal details top right, the
  vertical ones bottom left, the diagonal ones bottom right. A thin gap parts the
  quadrants. A mask of one leaf is its own layout.

  Args:
    mask: Leaves ``[1, h, w, 1]``, then ``[3, h, w, 1]`` from coarse to fine.

  Returns:
    Float array ``[height, width]``, NaN where no sub-band lies.

  Raises:
    ValueError: The leaves have other shapes.

  Example:
    >>> mask_layout([np.ones((1, 1, 1, 1)), np.zeros((3, 1, 1, 1))])
    array([[ 1., nan,  0.],
           [nan, nan, nan],
           [ 0., nan,  0.]])
  """
  blocks, shape = mask_blocks(mask)
  layout = np.full(shape, np.nan)
  for leaf, orientation, rows, columns in blocks:
    layout[rows, columns] = np.asarray(mask[leaf][orientation, ..., 0], float)
  return layout


def mask_blocks(mask: Sequence[Any]) -> tuple[list[Block], tuple[int, int]]:
  """Places every sub-band on a canvas; they never overlap.

  Args:
    mask: As for :func:`mask_layout`.

  Returns:
    The places, coarsest first, and the canvas's height and width.

  Raises:
    ValueError: The leaves have other shapes.
  """
  shapes = [tuple(np.shape(leaf)) for leaf in mask]
  wanted = [(1 if i == 0 else 3, *s[1:3], 1) for i, s in enumerate(shapes)]
  if not shapes or shapes != wanted:
    raise ValueError(
      f"mask: got leaves of shapes {shapes}, allowed: [1, h, w, 1], then [3, h, w, 1]"
    )
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
