"""Images as arrays: of any number of channels, from Python or from a file of NumPy.

A photograph has three colours. What a satellite or a microscope sees may have one band
or two hundred, for which no format of photographs has a certain meaning; a file of
``numpy.save`` has. Its channels go to the network as they are.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from cawe_jax.files.fitting import Rows, rows_from_array, scaled
from cawe_jax.files.limits import check_shape

MAX_CHANNELS = 512
"""Of an image; hyperspectral cameras have up to some 400."""
_READ_HEADER = {
  (1, 0): np.lib.format.read_array_header_1_0,
  (2, 0): np.lib.format.read_array_header_2_0,
}


def is_npy(data: bytes) -> bool:
  """Whether the bytes of a file are those of ``numpy.save``."""
  return data.startswith(np.lib.format.MAGIC_PREFIX)


def rows_from_npy(data: bytes, name: str) -> Rows:
  """The image in a file of ``numpy.save``; nothing of it is executed.

  Args:
    data: The whole file.
    name: What errors call the image.

  Raises:
    ValueError: It is damaged, or no image, see :func:`cawe_jax.files.arrays.as_image`.
  """
  label = f"image {name!r}"
  file = io.BytesIO(data)
  # The header first: what it announces is not to be made before it is checked.
  shape, dtype = _read_header(file, label)
  announced, found = int(np.prod(shape)) * dtype.itemsize, len(data) - file.tell()
  if announced != found:
    raise ValueError(
      f"{label}: truncated or damaged ({found} bytes of pixels, {announced} announced)"
    )
  file.seek(0)
  return rows_from_array(as_image(np.load(file, allow_pickle=False), label))


def num_channels(head: bytes, name: str) -> int:
  """Channels of the image in a file of ``numpy.save``.

  Args:
    head: The beginning of the file, with its header.
    name: What errors call the image.

  Raises:
    ValueError: The header is damaged, or not that of an image.

  Example:
    >>> file = io.BytesIO()
    >>> np.save(file, np.zeros((16, 20, 13), np.uint8))
    >>> num_channels(file.getvalue(), "scene.npy")
    13
  """
  shape, _ = _read_header(io.BytesIO(head), f"image {name!r}")
  return (*shape, 1)[2]


def as_image(array: np.ndarray, label: str) -> np.ndarray:
  """Values in [0, 1] of an array ``[H, W]`` or ``[H, W, C]``, float32 ``[H, W, C]``.

  Args:
    array: uint8 or uint16, which are divided by their largest value, or floats in
      [0, 1].
    label: What errors call it.

  Raises:
    ValueError: The array has another shape, type or range; a side has fewer than 4
      pixels; or there are more than 50 million pixels or 512 channels.

  Example:
    >>> as_image(np.full((16, 20), 51, np.uint8), "scan").shape
    (16, 20, 1)
  """
  _check(array.shape, array.dtype, label)
  image = array[..., None] if array.ndim == 2 else array
  if array.dtype.kind == "u":
    return scaled(image, np.iinfo(array.dtype).max)
  if not (array.min() >= 0 and array.max() <= 1):  # Also false for NaN.
    raise ValueError(
      f"{label} must lie in [0, 1], got values from {array.min()} to {array.max()}"
    )
  return image.astype(np.float32)


def _read_header(file: io.BytesIO, label: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
  """Shape and type that a file announces, which are an image's."""
  try:
    shape, _, dtype = _READ_HEADER[np.lib.format.read_magic(file)](file)
  except Exception as error:  # The reader raises several types on damaged files.
    detail = " ".join(str(error).split())[:120] or type(error).__name__
    raise ValueError(f"{label}: truncated or damaged ({detail})") from None
  _check(shape, dtype, label)
  return shape, dtype


def _check(shape: tuple[int, ...], dtype: np.dtype[Any], label: str) -> None:
  """Refuse arrays of a shape or a type that no image has; values are not looked at."""
  if len(shape) not in (2, 3) or not 1 <= (*shape, 1)[2] <= MAX_CHANNELS:
    raise ValueError(
      f"{label} must have shape [H, W] or [H, W, C] with C up to {MAX_CHANNELS}, "
      f"got {list(shape)}"
    )
  check_shape(shape[0], shape[1], label)
  if not (dtype.kind == "f" or (dtype.kind == "u" and dtype.itemsize <= 2)):
    raise ValueError(
      f"{label} must be uint8, uint16 or float in [0, 1], got dtype {dtype}"
    )
