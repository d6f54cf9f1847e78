"""Colour tables of matplotlib for pictures that are drawn elsewhere."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps


def colour_table(name: str, size: int = 256) -> np.ndarray:
  """A colour map as a table.

  Args:
    name: One of ``matplotlib.colormaps``.
    size: Number of colours, 2 to 4096.

  Returns:
    sRGB, uint8 ``[size, 3]``, the lowest value first.

  Raises:
    ValueError: The name is unknown, or the size not as stated.

  Example:
    >>> colour_table("viridis", 2).tolist()
    [[68, 1, 84], [253, 231, 37]]
  """
  if name not in colormaps:
    raise ValueError(f"colour map {name!r} is unknown; see matplotlib.colormaps")
  if not 2 <= size <= 4096:
    raise ValueError(f"size is {size}; allowed are 2 to 4096")
  colours = colormaps[name](np.linspace(0, 1, size))[:, :3]
  # matplotlib's own bytes are rounded down.
  return np.rint(255 * colours).astype(np.uint8)
