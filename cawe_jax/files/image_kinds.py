"""What Pillow reads as something else, and what it does not read at all.

Pillow knows some hundred combinations of colours, depth, planes, byte order and
compression of a TIFF. For some of them it returns other pixels than the file has,
without a word. These are refused here; the tests compare all combinations with what
tifffile wrote. A file of a kind that is not read is not damaged, so it is called what
it is.
"""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin

_COLOURS = {
  0: ("greyscale with 0 as white", 1),
  1: ("greyscale", 1),
  2: ("RGB", 3),
  3: ("palette", 1),
  5: ("CMYK", 4),
  6: ("YCbCr", 3),
  8: ("CIELAB", 3),
}
"""Names of TIFF's photometric interpretations and how many bands they have."""
_FORMATS = {1: "unsigned", 2: "signed", 3: "floating-point"}
_JPEG = 7
_LARGEST_VALUE = 281
"""TIFF's tag MaxSampleValue."""
_CAMERAS = {2**bits - 1 for bits in (10, 12, 14)}
_ADVICE = "convert it, e.g. to an 8-bit RGB PNG"


_WEBP = 50001
"""TIFF's number of a compression that libtiff is often built without."""
_OTHERS = {
  "HEIC": (4, (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1")),
  "JPEG XL": (0, (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
  "DICOM": (128, (b"DICM",)),
  "PDF": (0, (b"%PDF",)),
  "SVG": (0, (b"<svg",)),
  "XML, such as an SVG,": (0, (b"<?xml",)),
}
"""What people have in folders of photographs, and by which bytes at which place."""


class TiffKind(NamedTuple):
  """What the tags of a TIFF's first page say.

  Attributes:
    photometric: What the values mean; see ``_COLOURS``.
    bands: Colours and whatever is beside them.
    bits: The number of bits of one value.
    sample_format: 1 unsigned, 2 signed, 3 floating-point.
    is_planar: Whether each band is stored by itself.
    compression: 1 is none.
    is_big_endian: Byte order of the file.
    says_what_is_extra: Whether it is said what bands beside the colours are.
    white: The largest value that there may be, where values are unsigned.
  """

  photometric: int
  bands: int
  bits: int
  sample_format: int
  is_planar: bool
  compression: int
  is_big_endian: bool
  says_what_is_extra: bool
  white: int

  @property
  def is_grey(self) -> bool:
    """Whether it is greyscale of either direction."""
    return self.photometric in (0, 1)

  def describe(self) -> str:
    """In words, for errors."""
    name, _ = _COLOURS.get(self.photometric, (f"colour kind {self.photometric}", 0))
    values = _FORMATS.get(self.sample_format, "other")
    return (
      f"a TIFF of {self.bands} band{'s' if self.bands > 1 else ''} of {self.bits}-bit "
      f"{values} values ({name}"
      f"{', separate planes' if self.is_planar else ''}"
      f"{', big-endian' if self.is_big_endian else ''}"
      f"{f', compression {self.compression}' if self.compression != 1 else ''})"
    )


def tiff_kind(image: Image.Image) -> TiffKind | None:
  """The kind of a TIFF that Pillow has opened; None of other images."""
  tags = getattr(image, "tag_v2", None)
  return None if tags is None else _kind(tags)


def needs_libtiff(image: Image.Image) -> bool:
  """Whether an opened TIFF is one that libtiff reads, but not Pillow by itself.

  Uncompressed planes of 16 bits Pillow reads as planes of 8, and bits in reversed order
  it does not know for all depths.
  """
  kind = tiff_kind(image)
  is_raw = kind is not None and kind.compression == 1
  reverses = is_raw and image.tag_v2.get(TiffImagePlugin.FILLORDER, 1) == 2  # type: ignore[attr-defined]
  return is_raw and (kind.is_planar or reverses) and not image.use_load_libtiff  # type: ignore


def refusal(image: Image.Image) -> str | None:
  """Why an opened image would be read as something else; None if it would not.

  Args:
    image: Opened, and not yet decoded.
  """
  kind = tiff_kind(image)
  if kind is not None and (why := _why_not_certain(kind, image)):
    return f"{kind.describe()} is not read: {why}; {_ADVICE}"
  if "transparency" in image.info and _png_bits(image) == "RGB;16B":
    return (
      "a PNG of 16-bit RGB with a transparent colour is not read: of its values only "
      f"the upper 8 bits are, which do not tell that colour from others; {_ADVICE}"
    )
  return None


def transparent_level(image: Image.Image) -> int | None:
  """The transparent level of an opened greyscale PNG, as its decoded values are.

  Pillow scales values of 2 and 4 bits to 8, but not the level.
  """
  level = image.info.get("transparency")
  if not isinstance(level, int) or image.mode != "L":
    return None
  return level * {"L;2": 85, "L;4": 17}.get(_png_bits(image), 1)


def why_unopened(data: bytes) -> str | None:
  """What a file is that Pillow does not open although its header is whole.

  Args:
    data: The whole file.

  Returns:
    A sentence; None if the file is no image of a known format, or damaged.
  """
  if data.startswith((b"PF", b"P7")):
    return f"a PPM of the kind {data[:2].decode()} is not read; {_ADVICE}"
  for name, (start, beginnings) in _OTHERS.items():
    if data.startswith(beginnings, start):
      return f"{name} is not read; {_ADVICE}"
  if data.startswith(b"BM"):
    return f"a BMP that is damaged, or of a kind that is not read; {_ADVICE}"
  if data.startswith(b"MM\0+"):
    return f"a big-endian BigTIFF is not read; {_ADVICE}"
  if not data.startswith((b"II*\0", b"MM\0*", b"II+\0")):
    return None
  try:
    tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2:3] == b"+" else 8])
    file = io.BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    return f"{_kind(tags).describe()} is not read; {_ADVICE}"
  except Exception:  # Pillow's readers raise a dozen types on damaged files.
    return None


def _kind(tags: Any) -> TiffKind:
  """From the tags, with the defaults that the format gives them.

  Raises:
    Exception: A tag is no number.
  """
  plugin = TiffImagePlugin
  return TiffKind(
    photometric=int(tags.get(plugin.PHOTOMETRIC_INTERPRETATION, 0)),
    bands=int(tags.get(plugin.SAMPLESPERPIXEL, 1)),
    bits=int(tags.get(plugin.BITSPERSAMPLE, (1,))[0]),
    sample_format=int(tags.get(plugin.SAMPLEFORMAT, (1,))[0]),
    is_planar=tags.get(plugin.PLANAR_CONFIGURATION, 1) == 2,
    compression=int(tags.get(plugin.COMPRESSION, 1)),
    is_big_endian=tags.prefix == b"MM",
    says_what_is_extra=plugin.EXTRASAMPLES in tags,
    white=_white(tags),
  )


def _white(tags: Any) -> int:
  """What the bits allow, or the camera's bits that the largest value names."""
  bits = int(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0])
  largest = int(np.max(tags.get(_LARGEST_VALUE, 0)))
  # Of pixels of 16 bits from a camera of 12, it is 4095; any other number may be that
  # of the brightest pixel, which need not be white.
  if bits == 16 and largest in _CAMERAS:
    return largest
  return 2**bits - 1


def _why_not_certain(kind: TiffKind, image: Image.Image) -> str | None:
  """What would go wrong; the cases are those that the tests found."""
  name, num_colours = _COLOURS.get(kind.photometric, ("", 0))
  if kind.compression == _WEBP:
    return "its compression is WebP"
  if kind.photometric not in _COLOURS or name == "CIELAB":
    return "its colours have no certain meaning here"
  if kind.sample_format == 2 and kind.bits < 32:
    return "it is not known which of its signed values is white"
  if kind.bits == 32 and kind.is_big_endian and kind.compression != 1:
    return "libtiff turns its bytes around"
  if name == "palette" and kind.compression == _JPEG:
    return "JPEG changes the palette's indices"
  others = kind.bands - num_colours
  if others == 1 and not kind.is_grey and not kind.says_what_is_extra:
    return "it is not known whether its last band is opacity"
  if kind.is_grey and others and (kind.is_planar or others > 1):
    return "it is not known which bands are which colours"
  if needs_libtiff(image):
    return "Pillow mixes up its planes"
  return None


def _png_bits(image: Image.Image) -> str:
  """Pillow's name of how an opened PNG stores its values, e.g. ``L;2``."""
  return str(image.tile[0].args) if image.format == "PNG" and image.tile else ""  # type: ignore
