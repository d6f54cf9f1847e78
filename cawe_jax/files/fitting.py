"""Images fitted to the size of a network's input, a few rows at a time.

An image of 50 million pixels would take 600 MB as floats, so its rows are converted
when they are asked for.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

MIN_SIDE, MAX_SIDE = 4, 4096
"""Shorter side of an image, and sides that ``size`` may ask for, in pixels."""

Size = int | tuple[int, int]
_PIECE = 2**18
"""Pixels that are converted at once."""
_FILTERS = {
  "bilinear": Image.Resampling.BILINEAR,
  "bicubic": Image.Resampling.BICUBIC,
}


class Resize(NamedTuple):
  """How photographs were scaled where a network's accuracy was measured.

  The shorter side becomes ``size`` and the longer one that times the aspect ratio,
  rounded down; the network's input is the centre of that. (torchvision's ``Resize`` and
  ``CenterCrop``, and timm's; their 8-bit images round where float32 does not, by up to
  one level.)

  Attributes:
    size: Shorter side in pixels, at least the sides of the input.
    filter: ``bilinear`` or ``bicubic``, antialiased.
  """

  size: int
  filter: str


class Rows(NamedTuple):
  """An image whose pixels are converted when they are asked for.

  Attributes:
    height: Rows of the image.
    width: Columns.
    channels: Three of a photograph; of an array as many as it has.
    read: Channel, first row and one past the last to float32 ``[rows, width]``.
  """

  height: int
  width: int
  channels: int
  read: Callable[[int, int, int], np.ndarray]

  def pieces(self) -> Iterator[tuple[int, int, int]]:
    """Arguments of ``read`` that together give every pixel, one channel at a time."""
    step = max(1, _PIECE // self.width)
    for channel in range(self.channels):
      for top in range(0, self.height, step):
        yield channel, top, min(top + step, self.height)


def rows_from_array(image: np.ndarray) -> Rows:
  """Rows of an array, float32 ``[H, W, C]``."""
  height, width, channels = image.shape
  return Rows(height, width, channels, lambda c, top, end: image[top:end, :, c])


def fitted(rows: Rows, shape: tuple[int, int], resize: Resize | None) -> np.ndarray:
  """An image of a size: see :func:`cawe_jax.files.images.prepare_image`."""
  height, width = shape
  if resize is None:
    resampling = Image.Resampling.BICUBIC
    box = _centred_box(rows.height, rows.width, height, width)
  else:
    _check_resize(resize, height, width)
    resampling = _FILTERS[resize.filter]
    box = _published_box(rows.height, rows.width, height, width, resize.size)
  result = np.empty((height, width, rows.channels), np.float32)
  whole = Image.new("F", (rows.width, rows.height))
  for channel, top, bottom in rows.pieces():
    piece = np.ascontiguousarray(rows.read(channel, top, bottom))
    whole.paste(Image.fromarray(piece), (0, top))
    if bottom == rows.height:
      fitted = whole.resize((width, height), resampling, box=box)
      result[..., channel] = np.asarray(fitted)
  return np.clip(result, 0.0, 1.0)


def _centred_box(
  image_height: int, image_width: int, height: int, width: int
) -> tuple[float, float, float, float]:
  """Largest box of aspect ``width / height``: left, top, right, bottom in pixels."""
  # Integers compare exactly, so that the box never exceeds the image by rounding.
  if width * image_height >= height * image_width:
    box_height, box_width = image_width * height / width, float(image_width)
  else:
    box_height, box_width = float(image_height), image_height * width / height
  top, left = (image_height - box_height) // 2, (image_width - box_width) // 2
  return left, top, left + box_width, top + box_height


def _published_box(
  image_height: int, image_width: int, height: int, width: int, shorter: int
) -> tuple[float, float, float, float]:
  """The part of the image that is left when it is scaled, then cropped.

  Resampling this box is the same as scaling everything and cropping the result (the
  kernels reach beyond the box), without the memory for what is cut off.
  """
  sides = (image_width, image_height)
  # As integers, where int(shorter * long / short) would do the same in floats.
  scaled = [shorter * side // min(sides) for side in sides]
  box = []
  for side, whole, kept in zip(sides, scaled, (width, height), strict=True):
    start = round((whole - kept) / 2)  # To even at halves, as Python and they round.
    box += [start * side / whole, min((start + kept) * side / whole, side)]
  left, right, top, bottom = box
  return left, top, right, bottom


def _check_resize(resize: Resize, height: int, width: int) -> None:
  if resize.filter not in _FILTERS:
    raise ValueError(
      f"resize.filter must be one of {', '.join(_FILTERS)}, got {resize.filter!r}"
    )
  if not max(height, width) <= resize.size <= MAX_SIDE:
    raise ValueError(
      f"resize.size must be in [{max(height, width)}, {MAX_SIDE}] for the size "
      f"{height} x {width}, got {resize.size!r}"
    )


def check_size(size: Any) -> tuple[int, int]:
  """A size as height and width; a ValueError says what is allowed."""
  try:
    sides = size if isinstance(size, tuple | list) else (size, size)
    height, width = (operator.index(side) for side in sides)
    valid = all(MIN_SIDE <= side <= MAX_SIDE for side in (height, width))
  except (TypeError, ValueError):
    valid = False
  if not valid:
    raise ValueError(
      f"size must be a side or (height, width) in [{MIN_SIDE}, {MAX_SIDE}], "
      f"got {size!r}"
    )
  return height, width


def scaled(values: np.ndarray, white: int) -> np.ndarray:
  """Values over the white level, divided in place to spare a copy."""
  image = values.astype(np.float32)
  image /= np.float32(white)
  return image
