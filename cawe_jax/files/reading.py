"""What Pillow reads, checked: limits first, then pixels, and nothing half decoded."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageFile, ImageOps, PngImagePlugin, TiffImagePlugin

from cawe_jax.files import image_kinds
from cawe_jax.files.arrays import is_npy, rows_from_npy
from cawe_jax.files.fitting import Rows, rows_from_array, scaled
from cawe_jax.files.limits import MAX_PIXELS, check_num_bytes, check_shape

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "NPY")
"""Formats that are read; Pillow knows many more, some of which run other programs. The
last is NumPy's, for images of other than three channels."""
MAX_TEXT_BYTES = 16 * 2**20
"""Each text and colour profile of a PNG, unpacked. Nothing of them is used."""
MAX_ALL_TEXT_BYTES = 4 * MAX_TEXT_BYTES
"""All of them together."""


@contextlib.contextmanager
def open_rows(data: bytes, name: str, formats: Sequence[str]) -> Iterator[Rows]:
  """An image file's rows, as long as they are read; limits are checked first.

  Args:
    data: The whole file.
    name: What errors call the image.
    formats: Those that are allowed, of :data:`FORMATS`.

  Raises:
    ValueError: It is no image of these formats, damaged or too large.
  """
  check_num_bytes(len(data), name)
  if "NPY" in formats and is_npy(data):
    yield rows_from_npy(data, name)
  else:
    with _open_image(data, name, formats) as image:
      yield rows_from_pillow(image, f"image {name!r}")


def _open_image(data: bytes, name: str, formats: Sequence[str]) -> Image.Image:
  """Read the header of an image file."""
  for_pillow = [kind for kind in formats if kind != "NPY"]

  def read_header() -> Image.Image:
    return Image.open(io.BytesIO(data), formats=for_pillow)

  try:
    with _strict_pillow():
      image = read_header()
    if image_kinds.needs_libtiff(image):
      with _strict_pillow(read_libtiff=True):
        image = read_header()
    return image
  except Image.DecompressionBombError:
    raise ValueError(
      f"image {name!r}: more than the {MAX_PIXELS} pixels allowed"
    ) from None
  except MemoryError:
    raise
  # Pillow's readers raise a dozen types on damaged files (also SyntaxError).
  except Exception as error:
    known = image_kinds.why_unopened(data) if set(formats) == set(FORMATS) else None
    reason = (
      known
      or _too_much_text(error)
      or f"not an image or damaged (allowed are {', '.join(formats)})"
    )
    raise ValueError(f"image {name!r}: {reason}") from None


@contextlib.contextmanager
def _strict_pillow(read_libtiff: bool = False) -> Iterator[None]:
  """No warnings, since the checks here decide, and no half-decoded images.

  Other code may have set ``LOAD_TRUNCATED_IMAGES``, as training scripts often do. The
  settings belong to the whole process and are put back afterwards.
  """
  settings = [
    (ImageFile, "LOAD_TRUNCATED_IMAGES", False),
    (TiffImagePlugin, "READ_LIBTIFF", read_libtiff),
    (PngImagePlugin, "MAX_TEXT_CHUNK", MAX_TEXT_BYTES),
    (PngImagePlugin, "MAX_TEXT_MEMORY", MAX_ALL_TEXT_BYTES),
  ]
  before = [getattr(module, name) for module, name, _ in settings]
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for module, name, value in settings:
      setattr(module, name, value)
    try:
      yield
    finally:
      for (module, name, _), value in zip(settings, before, strict=True):
        setattr(module, name, value)


def _too_much_text(error: Exception) -> str | None:
  """What is wrong with a PNG that is whole, by what Pillow says of it."""
  if "MAX_TEXT" not in str(error):
    return None
  return (
    f"one of its texts or its colour profile has more than {MAX_TEXT_BYTES} bytes "
    f"unpacked, or all texts have more than {MAX_ALL_TEXT_BYTES}"
  )


def rows_from_pillow(image: Image.Image, label: str) -> Rows:
  """Check the header, decode and turn upright."""
  check_shape(image.height, image.width, label)
  if reason := image_kinds.refusal(image):
    raise ValueError(f"{label}: {reason}")
  kind, level = image_kinds.tiff_kind(image), image_kinds.transparent_level(image)
  try:
    with _strict_pillow():
      image.load()
      upright = ImageOps.exif_transpose(image)
  except MemoryError:
    raise
  except Exception as error:  # As above: any type.
    detail = " ".join(str(error).split())[:120] or type(error).__name__
    reason = _too_much_text(error) or f"truncated or damaged ({detail})"
    raise ValueError(f"{label}: {reason}") from None
  if upright.mode == "F" or upright.mode.startswith("I"):
    return rows_from_array(_rgb_from_deep_grey(upright, kind, label))
  if level is not None:
    upright.info["transparency"] = level
  if upright.mode == "La":  # Pillow converts it to no other.
    upright = upright.convert("LA")
  mode = "RGBA" if upright.has_transparency_data else "RGB"

  def read(channel: int, top: int, bottom: int) -> np.ndarray:
    piece = upright.crop((0, top, upright.width, bottom)).convert(mode)
    values = scaled(np.asarray(piece.getchannel(channel)), 255)
    if mode == "RGB":
      return values
    alpha = scaled(np.asarray(piece.getchannel(3)), 255)
    return values * alpha + (1.0 - alpha)

  return Rows(upright.height, upright.width, 3, read)


def _rgb_from_deep_grey(
  image: Image.Image, kind: image_kinds.TiffKind | None, label: str
) -> np.ndarray:
  """Greyscale of more than 8 bits, which Pillow's ``convert`` would saturate."""
  values = np.asarray(image)
  white = 1 if image.mode == "F" else 65535
  if kind is not None and kind.bits in (12, 16):
    white = kind.white
  if not (values.min() >= 0 and values.max() <= white):  # Also false for NaN.
    raise ValueError(
      f"{label}: values from {values.min()} to {values.max()} in mode {image.mode}, "
      f"allowed are 0 to {white}"
    )
  grey = scaled(values, white)
  transparent = image.info.get("transparency")
  if isinstance(transparent, int):
    grey[values == transparent] = 1.0
  if kind is not None and kind.photometric == 0:  # of 8 bits or less Pillow does it
    grey = 1 - grey
  return np.broadcast_to(grey[..., None], (*grey.shape, 3))
