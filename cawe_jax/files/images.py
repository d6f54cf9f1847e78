"""Decoding and preprocessing of images, with Pillow and NumPy alone.

Every image that enters the package, from a file, an upload or an array, takes the path
written here, so that a number computed in the browser equals the one from the shell.
Two rules shape the module. The limits are checked on the file's header, before a single
pixel is decoded. And whatever is wrong with a file, the caller gets a ``ValueError`` of
one line: a damaged photograph is refused, never returned half grey.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cawe_jax.files.arrays import as_image, is_npy, num_channels
from cawe_jax.files.fitting import (
  MAX_SIDE,
  MIN_SIDE,
  Resize,
  Rows,
  Size,
  check_size,
  fitted,
  rows_from_array,
)
from cawe_jax.files.limits import MAX_FILE_BYTES, MAX_PIXELS, check_num_bytes
from cawe_jax.files.reading import FORMATS, open_rows, rows_from_pillow

__all__ = [
  "FORMATS",
  "MAX_FILE_BYTES",
  "MAX_PIXELS",
  "MAX_SIDE",
  "MIN_SIDE",
  "Resize",
  "Size",
  "check_image_file",
  "decode_image",
  "decode_to_size",
  "file_channels",
  "image_id",
  "load_image",
  "prepare_image",
  "read_image_file",
]


_HEAD_BYTES = 2**16  # Headers of NPY files are far shorter.


def load_image(
  path: str | os.PathLike[str], size: Size | None = None, resize: Resize | None = None
) -> np.ndarray:
  """Read an image file, decode it, and fit it to a size.

  See :func:`~cawe_jax.files.images.decode_image` and
  :func:`~cawe_jax.files.images.prepare_image`.

  Args:
    path: A JPEG, PNG, WebP, BMP, GIF, TIFF, PPM or NPY file of at most 64 MiB.
    size: Side, or ``(H, W)``, of the result in [4, 4096] pixels; None keeps the size.
    resize: The network's published rule, of use only with a size.

  Returns:
    The image in [0, 1], float32 ``[H, W, 3]``; of an NPY file ``[H, W, C]``.

  Raises:
    ValueError: The file is missing, unreadable, too large, damaged or not an image.

  Example:
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "grey.png")
    >>> Image.new("L", (40, 30), 51).save(path)
    >>> image = load_image(path, size=24)
    >>> image.shape, round(float(image.mean()), 3)
    ((24, 24, 3), 0.2)
  """
  data, name = read_image_file(path), os.fspath(path)
  if size is None:
    return decode_image(data, name)
  return decode_to_size(data, name, size, resize)


def read_image_file(path: str | os.PathLike[str]) -> bytes:
  """The bytes of an image file, not decoded.

  Args:
    path: A file of at most 64 MiB.

  Raises:
    ValueError: The file is missing, unreadable, empty or too large.
  """
  check_image_file(path)
  try:
    return Path(path).read_bytes()
  except OSError as error:
    raise _unreadable(path, error) from None


def check_image_file(path: str | os.PathLike[str]) -> None:
  """Check what can be told of an image file without opening it.

  Args:
    path: A file.

  Raises:
    ValueError: There is no such file, or it is a folder, a pipe or a device, which
      would block or never end, or it is empty or larger than 64 MiB.
  """
  if not isinstance(path, str | os.PathLike) or "\0" in os.fspath(path):
    raise ValueError(f"image {path!r:.80} is no path of a file")
  try:
    status = os.stat(path)
  except OSError as error:
    raise _unreadable(path, error) from None
  name = os.fspath(path)
  if not stat.S_ISREG(status.st_mode):
    kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
    raise ValueError(f"image {name!r}: {kind}, not an image file")
  check_num_bytes(status.st_size, name)


def file_channels(path: str | os.PathLike[str]) -> int:
  """Channels that the image in a file will have: three, or those of an NPY file.

  Args:
    path: A file, of which no more than its beginning is read.

  Raises:
    ValueError: The file is missing, unreadable, empty or too large, or an NPY file that
      is damaged or holds no image.
  """
  check_image_file(path)
  try:
    with open(path, "rb") as file:
      head = file.read(_HEAD_BYTES)
  except OSError as error:
    raise _unreadable(path, error) from None
  return num_channels(head, os.fspath(path)) if is_npy(head) else 3


def _unreadable(path: str | os.PathLike[str], error: OSError) -> ValueError:
  name = os.fspath(path)
  if isinstance(error, FileNotFoundError):
    return ValueError(f"image {name!r}: no such file")
  return ValueError(f"image {name!r}: cannot be read ({error.strerror})")


def decode_image(
  data: bytes, name: str, formats: Sequence[str] = FORMATS
) -> np.ndarray:
  """Decode the bytes of an image file to RGB, without resizing.

  The EXIF orientation is applied, and only the first frame or page is read. Everything
  becomes RGB: palettes, 1-bit, greyscale and CMYK (by Pillow's plain formula, Adobe's
  inverted kind included). Transparency is composited over white, because that is what
  transparent graphics are made for and shown on; dropping it would reveal whatever
  colour the transparent pixels happen to store. 16-bit greyscale is divided by 65535 at
  full precision; of 16-bit *colour* Pillow keeps the upper eight bits. Greyscale of 32
  bits must lie in [0, 65535] and floats in [0, 1], since their files do not say what
  white is. Embedded colour profiles are not applied: values are taken as sRGB. A TIFF
  whose bands have no certain meaning as colours (signed values, CIELAB, five bands of
  greyscale) is refused.

  An NPY file, as ``numpy.save`` writes them, is for networks of other than three
  channels: its array ``[H, W]`` or ``[H, W, C]``, uint8, uint16 or float in [0, 1],
  keeps its channels.

  Args:
    data: The whole file, at most 64 MiB; at most 50 million pixels, the shorter side at
      least 4; at most 512 channels.
    name: What errors call the image.
    formats: Those that are allowed, of :data:`cawe_jax.files.images.FORMATS`.

  Returns:
    The image in [0, 1], float32 ``[H, W, 3]``; of an NPY file ``[H, W, C]``.

  Raises:
    ValueError: Empty, too large, truncated, damaged or not an image of these formats.

  Example:
    >>> import io
    >>> file = io.BytesIO()
    >>> Image.new("RGBA", (20, 30), (0, 0, 0, 0)).save(file, "PNG")
    >>> image = decode_image(file.getvalue(), "clear.png")
    >>> image.shape, image.dtype.name, image.min().item()
    ((30, 20, 3), 'float32', 1.0)
    >>> decode_image(file.getvalue()[:60], "half.png")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: image 'half.png': truncated or damaged (...)
  """
  with open_rows(data, name, formats) as rows:
    image = np.empty((rows.height, rows.width, rows.channels), np.float32)
    for channel, top, bottom in rows.pieces():
      image[top:bottom, :, channel] = rows.read(channel, top, bottom)
    return image


def decode_to_size(
  data: bytes,
  name: str,
  size: Size,
  resize: Resize | None = None,
  formats: Sequence[str] = FORMATS,
) -> np.ndarray:
  """What :func:`prepare_image` makes of what :func:`decode_image` returns.

  It takes a third of their memory, because the whole image is never there as floats.

  Args:
    data: As for :func:`cawe_jax.files.images.decode_image`.
    name: As there.
    size: As for :func:`cawe_jax.files.images.prepare_image`.
    resize: As there.
    formats: As for :func:`cawe_jax.files.images.decode_image`.

  Returns:
    The image in [0, 1], float32 ``[H, W, C]``, C as there.

  Raises:
    ValueError: As for both.

  Example:
    >>> import io
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (40, 30)).save(file, "PNG")
    >>> decode_to_size(file.getvalue(), "black.png", 24).shape
    (24, 24, 3)
  """
  shape = check_size(size)
  with open_rows(data, name, formats) as rows:
    return fitted(rows, shape, resize)


def prepare_image(
  image: np.ndarray | Image.Image, size: Size, resize: Resize | None = None
) -> np.ndarray:
  """Scale an image to cover ``size`` and crop the centre.

  The aspect ratio is kept: the largest centred box with the shape of the result is
  resampled, so for a square the shorter side becomes ``size``. The box starts on a
  whole pixel, so that where nothing is scaled nothing is blurred. Resampling is
  bicubic, in float32 and antialiased: when shrinking, the kernel widens with the
  factor. Its overshoot is clipped to [0, 1]. A network's published rule takes the
  place of this box and this filter.

  Args:
    image: ``[H, W]`` or ``[H, W, C]``, uint8, uint16 or float in [0, 1], of which one
      channel becomes three and any other number is kept; or a Pillow image, treated as
      :func:`cawe_jax.files.images.decode_image` says.
    size: Side, or ``(H, W)``, of the result in [4, 4096] pixels.
    resize: The network's published rule.

  Returns:
    The image in [0, 1], float32 ``[H, W, C]``.

  Raises:
    ValueError: The image's shape, dtype or range, the size or the rule, is not as
      stated.

  Example:
    >>> prepare_image(np.full((40, 400), 255, np.uint8), (24, 32)).shape
    (24, 32, 3)
  """
  shape = check_size(size)
  if isinstance(image, Image.Image):
    return fitted(rows_from_pillow(image, "image"), shape, resize)
  return fitted(_rows_from_array(np.asarray(image)), shape, resize)


def image_id(image: np.ndarray) -> int:
  """A number that names an image's pixels, to be folded into a random key.

  Args:
    image: Pixels of any shape, read as float32.

  Returns:
    The first 32 bits of the SHA-256 hash of shape and little-endian pixels, in
    [0, 2**32): the same on every platform.

  Example:
    >>> image_id(np.zeros((2, 2, 3)))
    1040289635
  """
  pixels = np.asarray(image, dtype="<f4")
  content = np.asarray(pixels.shape, dtype="<i8").tobytes() + pixels.tobytes()
  return int.from_bytes(hashlib.sha256(content).digest()[:4], "little")


def _rows_from_array(array: np.ndarray) -> Rows:
  image = as_image(array, "image")
  if image.shape[-1] == 1:
    image = np.broadcast_to(image, (*image.shape[:2], 3))
  return rows_from_array(image)
