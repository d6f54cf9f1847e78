"""Images of any number of channels as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Shown(NamedTuple):
  """What is drawn of an image.

  Attributes:
    picture: ``[H, W]`` in grey or ``[H, W, 3]`` in red, green, blue; in [0, 1].
    caption: What of the image that is, e.g. ``bands 3, 2, 1``; nothing for an image of
      one channel or of three that is drawn as it is.
  """

  picture: np.ndarray
  caption: str


def as_shown(image: Any, bands: Sequence[int] | None = None) -> Shown:
  """An image as a picture.

  Args:
    image: ``[H, W, C]`` in [0, 1].
    bands: Channels that are drawn in red, green and blue, counted from 0. By default
      one channel is grey, three are red, green and blue, and of any other number the
      mean is drawn in grey.

  Raises:
    ValueError: The bands are not three channels of this image.

  Example:
    >>> as_shown(np.zeros((8, 8, 13)), bands=(3, 2, 1)).caption
    'bands 3, 2, 1'
    >>> as_shown(np.zeros((8, 8, 13))).caption
    'mean of 13 bands'
  """
  values = np.clip(np.asarray(image, float), 0, 1)
  channels = values.shape[-1]
  if bands is not None:
    check_bands(bands, channels)
    return Shown(values[..., list(bands)], f"bands {', '.join(map(str, bands))}")
  if channels == 3:
    return Shown(values, "")
  caption = f"mean of {channels} bands" if channels > 1 else ""
  return Shown(values.mean(axis=-1), caption)


def check_bands(bands: Any, channels: int) -> None:
  """Refuse bands that are not three channels of an image of C channels.

  Raises:
    ValueError: One line that says what was given and what is allowed.
  """
  found = np.asarray(bands)
  if (
    found.shape != (3,)
    or not np.issubdtype(found.dtype, np.integer)
    or found.min() < 0
    or found.max() >= channels
  ):
    raise ValueError(
      f"bands is {bands!r}; it must be three channels of the image's {channels}, "
      f"counted from 0, for red, green and blue: each from 0 to {channels - 1}"
    )
