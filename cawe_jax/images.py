"""Decoding and preprocessing of photographs, with Pillow and NumPy alone.

Every image that enters the package, from a file, an upload or an array, takes the path
written here, so that a number computed in the browser equals the one from the shell.
Two rules shape the module. The limits are checked on the file's header, before a single
pixel is decoded. And whatever is wrong with a file, the caller gets a ``ValueError`` of
one line: a damaged photograph is refused, never returned half grey.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import operator
import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Formats that are read; Pillow knows many more, some of which run other programs."""
MAX_FILE_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
"""A full-frame camera's picture; as float32 in three colours 600 MB."""
MIN_SIDE, MAX_SIDE = 16, 4096
"""Shorter side of an image, and sides that ``size`` may ask for, in pixels."""

Size = int | tuple[int, int]
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


def load_image(
  path: str | os.PathLike[str], size: Size | None = None, resize: Resize | None = None
) -> np.ndarray:
  """Read an image file, decode it, and fit it to a size.

  See :func:`cawe_jax.images.decode_image` and :func:`cawe_jax.images.prepare_image`.

  Args:
    path: A JPEG, PNG, WebP, BMP, GIF, TIFF or PPM file of at most 64 MiB.
    size: Side, or ``(H, W)``, of the result in [16, 4096] pixels; None keeps the size.
    resize: The network's published rule, of use only with a size.

  Returns:
    The image in [0, 1], float32 ``[H, W, 3]``.

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
  name = os.fspath(path)
  try:
    status = os.stat(path)
    # A named pipe or a device would block or never end.
    if not stat.S_ISREG(status.st_mode):
      kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
      raise ValueError(f"image {name!r}: {kind}, not an image file")
    _check_num_bytes(status.st_size, name)
    data = Path(path).read_bytes()
  except FileNotFoundError:
    raise ValueError(f"image {name!r}: no such file") from None
  except OSError as error:
    raise ValueError(f"image {name!r}: cannot be read ({error.strerror})") from None
  image = decode_image(data, name)
  return image if size is None else prepare_image(image, size, resize)


def decode_image(data: bytes, name: str) -> np.ndarray:
  """Decode the bytes of an image file to RGB, without resizing.

  The EXIF orientation is applied, and only the first frame or page is read. Everything
  becomes RGB: palettes, 1-bit, greyscale and CMYK (by Pillow's plain formula, Adobe's
  inverted kind included). Transparency is composited over white, because that is what
  transparent graphics are made for and shown on; dropping it would reveal whatever
  colour the transparent pixels happen to store. 16-bit greyscale is divided by 65535 at
  full precision; of 16-bit *colour* Pillow keeps the upper eight bits. Greyscale of 32
  bits must lie in [0, 65535] and floats in [0, 1], since their files do not say what
  white is. Embedded colour profiles are not applied: values are taken as sRGB.

  Args:
    data: The whole file, at most 64 MiB; at most 50 million pixels, the shorter side at
      least 16.
    name: What errors call the image.

  Returns:
    The image in [0, 1], float32 ``[H, W, 3]``.

  Raises:
    ValueError: Empty, too large, truncated, damaged or not an image of these formats.

  Example:
    >>> file = io.BytesIO()
    >>> Image.new("RGBA", (20, 30), (0, 0, 0, 0)).save(file, "PNG")
    >>> image = decode_image(file.getvalue(), "clear.png")
    >>> image.shape, image.dtype.name, image.min().item()
    ((30, 20, 3), 'float32', 1.0)
    >>> decode_image(file.getvalue()[:60], "half.png")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: image 'half.png': truncated or damaged (...)
  """
  _check_num_bytes(len(data), name)
  with _strict_pillow():
    try:
      image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
      raise ValueError(
        f"image {name!r}: more than the {MAX_PIXELS} pixels allowed"
      ) from None
    # Pillow's readers raise a dozen types on damaged files (also SyntaxError).
    except Exception:
      raise ValueError(
        f"image {name!r}: not an image or damaged (allowed are {', '.join(FORMATS)})"
      ) from None
  with image:
    return _rgb_from_pillow(image, f"image {name!r}")


def prepare_image(
  image: np.ndarray | Image.Image, size: Size, resize: Resize | None = None
) -> np.ndarray:
  """Convert to RGB, scale to cover ``size`` and crop the centre.

  The aspect ratio is kept: the largest centred box with the shape of the result is
  resampled, so for a square the shorter side becomes ``size``. The box starts on a
  whole pixel, so that where nothing is scaled nothing is blurred. Resampling is
  bicubic, in float32 and antialiased: when shrinking, the kernel widens with the
  factor. Its overshoot is clipped to [0, 1]. A network's published rule takes the
  place of this box and this filter.

  Args:
    image: ``[H, W]``, ``[H, W, 1]`` or ``[H, W, 3]``, uint8, uint16 or float in [0, 1];
      or a Pillow image, treated as :func:`cawe_jax.images.decode_image` says.
    size: Side, or ``(H, W)``, of the result in [16, 4096] pixels.
    resize: The network's published rule.

  Returns:
    The image in [0, 1], float32 ``[H, W, 3]``.

  Raises:
    ValueError: The image's shape, dtype or range, the size or the rule, is not as
      stated.

  Example:
    >>> prepare_image(np.full((40, 400), 255, np.uint8), (24, 32)).shape
    (24, 32, 3)
  """
  height, width = _check_size(size)
  if resize is not None:
    _check_resize(resize, height, width)
  if isinstance(image, Image.Image):
    rgb = _rgb_from_pillow(image, "image")
  else:
    rgb = _rgb_from_array(np.asarray(image))
  if resize is None:
    resampling = Image.Resampling.BICUBIC
    box = _centred_box(rgb.shape[0], rgb.shape[1], height, width)
  else:
    resampling = _FILTERS[resize.filter]
    box = _published_box(rgb.shape[0], rgb.shape[1], height, width, resize.size)
  channels = [
    Image.fromarray(np.ascontiguousarray(rgb[..., channel])).resize(
      (width, height), resampling, box=box
    )
    for channel in range(3)
  ]
  return np.clip(np.stack([np.asarray(c) for c in channels], axis=-1), 0.0, 1.0)


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


@contextlib.contextmanager
def _strict_pillow() -> Iterator[None]:
  """No warnings, since the checks here decide, and no half-decoded images.

  Other code may have set ``LOAD_TRUNCATED_IMAGES``, as training scripts often do. Both
  settings belong to the whole process and are put back afterwards.
  """
  lenient = ImageFile.LOAD_TRUNCATED_IMAGES
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
      yield
    finally:
      ImageFile.LOAD_TRUNCATED_IMAGES = lenient


def _rgb_from_pillow(image: Image.Image, label: str) -> np.ndarray:
  """Check the header, decode, turn upright and convert to float32 ``[H, W, 3]``."""
  _check_shape(image.height, image.width, label)
  try:
    with _strict_pillow():
      image.load()
      upright = ImageOps.exif_transpose(image)
  except Exception as error:  # As above: any type.
    detail = " ".join(str(error).split())[:120] or type(error).__name__
    raise ValueError(f"{label}: truncated or damaged ({detail})") from None
  if upright.mode == "F" or upright.mode.startswith("I"):
    return _rgb_from_deep_grey(upright, label)
  if upright.has_transparency_data:
    rgba = _scaled(np.asarray(upright.convert("RGBA")), 255)
    alpha = rgba[..., 3:]
    return rgba[..., :3] * alpha + (1.0 - alpha)
  return _scaled(np.asarray(upright.convert("RGB")), 255)


def _rgb_from_deep_grey(image: Image.Image, label: str) -> np.ndarray:
  """Greyscale of more than 8 bits, which Pillow's ``convert`` would saturate."""
  values = np.asarray(image)
  white = 1 if image.mode == "F" else 65535
  if not (values.min() >= 0 and values.max() <= white):  # Also false for NaN.
    raise ValueError(
      f"{label}: values from {values.min()} to {values.max()} in mode {image.mode}, "
      f"allowed are 0 to {white}"
    )
  grey = _scaled(values, white)
  transparent = image.info.get("transparency")
  if isinstance(transparent, int):
    grey[values == transparent] = 1.0
  return np.repeat(grey[..., None], 3, axis=-1)


def _rgb_from_array(array: np.ndarray) -> np.ndarray:
  if array.ndim == 2:
    array = array[..., None]
  if array.ndim != 3 or array.shape[-1] not in (1, 3):
    raise ValueError(
      f"image must have shape [H, W], [H, W, 1] or [H, W, 3], got {list(array.shape)}"
    )
  _check_shape(array.shape[0], array.shape[1], "image")
  if array.dtype in (np.uint8, np.uint16):
    image = _scaled(array, np.iinfo(array.dtype).max)
  elif np.issubdtype(array.dtype, np.floating):
    if not (array.min() >= 0 and array.max() <= 1):
      raise ValueError(
        f"image must lie in [0, 1], got values from {array.min()} to {array.max()}"
      )
    image = array.astype(np.float32)
  else:
    raise ValueError(
      f"image must be uint8, uint16 or float in [0, 1], got dtype {array.dtype}"
    )
  return np.broadcast_to(image, (*image.shape[:2], 3))


def _scaled(values: np.ndarray, white: int) -> np.ndarray:
  """Values over the white level, divided in place to spare a copy."""
  image = values.astype(np.float32)
  image /= np.float32(white)
  return image


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


def _check_size(size: Any) -> tuple[int, int]:
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


def _check_num_bytes(num_bytes: int, name: str) -> None:
  if num_bytes == 0:
    raise ValueError(f"image {name!r}: empty file")
  if num_bytes > MAX_FILE_BYTES:
    raise ValueError(
      f"image {name!r}: {num_bytes} bytes, allowed are at most {MAX_FILE_BYTES}"
    )


def _check_shape(height: int, width: int, label: str) -> None:
  if height * width > MAX_PIXELS:
    raise ValueError(
      f"{label}: {width} x {height} pixels, allowed are at most {MAX_PIXELS} in all"
    )
  if min(height, width) < MIN_SIDE:
    raise ValueError(
      f"{label}: {width} x {height} pixels, the shorter side must have {MIN_SIDE}"
    )
