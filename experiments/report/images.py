"""What of a result is looked at: greyscale explanations, heat maps of pixel masks."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps


def explained_image(result: dict[str, np.ndarray], point: int) -> np.ndarray:
  """The explanation at one grid point as people look at it.

  Args:
    result: A result of the task ``explain`` or ``rank``.
    point: Index of the grid point.

  Returns:
    uint8 ``[H, W]``, the greyscale explanation of a wavelet mask; or ``[H, W, 3]``, the
    heat map of a mask or a relevance of pixels. A relevance of wavelets has no image:
    ValueError.
  """
  for name in ("mask", "relevance"):
    leaf = result.get(f"{name}/0")
    if leaf is not None and f"{name}/1" not in result:
      return heat_map(leaf[point, 0, ..., 0])
  if "explanation" not in result:
    raise ValueError("a relevance of wavelet coefficients has no image")
  return result["explanation"][point]


def heat_map(values: np.ndarray) -> np.ndarray:
  """Numbers ``[H, W]`` as colours, uint8 ``[H, W, 3]``.

  Black is zero and below, the brightest colour the 99.5th percentile and above, since a
  few entries of a gradient are far larger than all others.

  Example:
    >>> heat_map(np.array([[-1.0, 0.0], [1.0, 1.0]]))[0].tolist()
    [[0, 0, 4], [0, 0, 4]]
  """
  positive = np.maximum(np.asarray(values, np.float64), 0)
  top = np.percentile(positive, 99.5) or positive.max() or 1.0
  colours = colormaps["inferno"](np.clip(positive / top, 0, 1))
  return np.rint(255 * colours[..., :3]).astype(np.uint8)
