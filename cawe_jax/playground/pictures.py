"""Arrays as pictures for the page: WebP, and as data URLs inside messages."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

QUALITY = 85
"""Quality of WebP, 0 to 100; a draw of noise of 224 x 224 pixels takes some 30 KiB."""


def to_webp(image: np.ndarray) -> bytes:
  """An image as the bytes of a WebP file.

  Args:
    image: ``[H, W]``, ``[H, W, 1]``, ``[H, W, 3]`` or, with transparency,
      ``[H, W, 4]``; float in [0, 1].

  Example:
    >>> to_webp(np.zeros((8, 8, 3)))[8:12]
    b'WEBP'
  """
  levels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
  levels = levels[..., 0] if levels.ndim == 3 and levels.shape[-1] == 1 else levels
  file = io.BytesIO()
  Image.fromarray(levels).save(file, "WEBP", quality=QUALITY)
  return file.getvalue()


def data_url(image: np.ndarray) -> str:
  """An image as a data URL that a page can show.

  Example:
    >>> data_url(np.zeros((8, 8, 3)))[:23]
    'data:image/webp;base64,'
  """
  return "data:image/webp;base64," + base64.b64encode(to_webp(image)).decode()
