"""A mask as a picture of its own, coloured as in the figure of an explanation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps

from cawe_jax.figures.layout import enlarged, mask_layout


def mask_picture(mask: Sequence[Any]) -> np.ndarray:
  """Colours of a mask's entries, laid out as by :func:`mask_layout`.

  Small masks are enlarged first, so that their gaps are thin. Colours follow the square
  root of the entries, since most are near zero.

  Args:
    mask: As for :func:`mask_layout`.

  Returns:
    ``[height, width, 4]`` in [0, 1]: red, green, blue, opacity; transparent where no
    sub-band lies.

  Example:
    >>> mask_picture([np.zeros((1, 2, 3, 1))]).shape
    (2, 3, 4)
  """
  layout = mask_layout(enlarged(mask))
  colours = colormaps["magma"](np.sqrt(np.nan_to_num(layout)))
  colours[np.isnan(layout), 3] = 0
  return colours
