"""Files that are no images, or broken or too large ones, are refused in one line."""

import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import NOISE, RNG, decode, encode, one_line
from PIL import Image, ImageFile

from cawe_jax.files import images


def test_missing_directory_empty_and_text(tmp_path):
  (tmp_path / "empty.png").touch()
  (tmp_path / "text.jpg").write_text("dear diary\n" * 100)
  for name, message in [
    ("none.png", "no such file"),
    ("", "a directory, not an image file"),
    ("empty.png", "empty file"),
    ("text.jpg", "not an image or damaged (allowed are JPEG, PNG"),
    ("x" * 300, "cannot be read (File name too long)"),
  ]:
    path = str(tmp_path / name)
    with pytest.raises(ValueError, match=r"^image ") as error:
      images.load_image(path)
    assert one_line(error).startswith(f"image {path!r}: {message}")


def test_unreadable_file_and_pipe(tmp_path, monkeypatch):
  os.mkfifo(tmp_path / "pipe")
  with pytest.raises(ValueError, match="not a regular file"):
    images.load_image(tmp_path / "pipe")
  path = tmp_path / "locked.png"
  path.write_bytes(encode(NOISE))

  def denied(self):  # A file's mode stops nobody who runs the tests as root.
    raise PermissionError(13, "Permission denied", str(self))

  monkeypatch.setattr("pathlib.Path.read_bytes", denied)
  with pytest.raises(
    ValueError, match=r"cannot be read \(Permission denied\)"
  ) as error:
    images.load_image(path)
  one_line(error)


def test_name_with_a_line_break_stays_on_one_line():
  with pytest.raises(ValueError, match="not an image") as error:
    images.decode_image(b"abc", "two\nlines")
  one_line(error)


@pytest.mark.parametrize("format_name", images.FORMATS)
def test_truncated_files_are_refused_at_every_length(format_name):
  data = encode(NOISE, format_name)
  whole = images.decode_image(data, "whole")
  refused = []
  for length in range(1, len(data), 7):
    try:
      image = images.decode_image(data[:length], "half")
    except ValueError as error:
      refused.append(str(error))
    else:  # Only an end mark is missing, which nothing needs.
      np.testing.assert_array_equal(image, whole)
  assert len(refused) >= (len(data) - 20) // 7
  assert all(e.startswith("image 'half': ") and "\n" not in e for e in refused)


def test_truncated_photograph_is_refused_where_others_allow_it(monkeypatch):
  data = encode(RNG.integers(0, 256, (200, 200, 3), np.uint8), "JPEG")
  monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
  with pytest.raises(ValueError, match=r"'x\.jpg': truncated or damaged") as error:
    images.decode_image(data[: len(data) // 2], "x.jpg")
  one_line(error)
  assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_limits_are_checked_before_decoding(tmp_path, monkeypatch):
  def header(width, height):
    return f"P6 {width} {height} 255\n".encode() + bytes(100)

  def never(self):
    raise AssertionError("decoded")

  monkeypatch.setattr(ImageFile.ImageFile, "load", never)
  for width, height, message in [
    (20_000, 20_000, "more than the 50000000 pixels allowed"),
    (10_000, 10_000, "10000 x 10000 pixels, allowed are at most 50000000 in all"),
    (7_072, 7_072, "7072 x 7072 pixels, allowed"),
    (1, 1, "1 x 1 pixels, the shorter side must have 4"),
    (5000, 3, "5000 x 3 pixels, the shorter side must have 4"),
  ]:
    with pytest.raises(ValueError, match=message) as error:
      images.decode_image(header(width, height), "x.ppm")
    one_line(error)

  path = tmp_path / "huge.png"
  with path.open("wb") as file:
    file.truncate(images.MAX_FILE_BYTES + 1)  # Sparse: takes no room on disk.
  for call in (
    lambda: images.load_image(path),
    lambda: images.decode_image(bytes(images.MAX_FILE_BYTES + 1), "huge"),
  ):
    with pytest.raises(
      ValueError, match="67108865 bytes, allowed are at most 67108864"
    ):
      call()


def test_other_formats_are_refused():
  for format_name in ("ICO", "TGA"):
    with pytest.raises(ValueError, match="not an image or damaged"):
      decode(NOISE, format_name)


@pytest.mark.parametrize(
  ("data", "named"),
  [
    (b"\0\0\0\x18ftypheic" + bytes(50), "HEIC is not read"),
    (b"\xff\x0a" + bytes(50), "JPEG XL is not read"),
    (bytes(128) + b"DICM" + bytes(50), "DICOM is not read"),
    (b"%PDF-1.7" + bytes(50), "PDF is not read"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is not read"),
    (b"<?xml version='1.0'?><svg/>", "XML, such as an SVG, is not read"),
  ],
)
def test_what_lies_among_photographs_is_called_what_it_is(data, named):
  with pytest.raises(ValueError, match=f"image 'scan': {named}; convert it"):
    images.decode_image(data, "scan")


def test_a_bitmap_of_an_unusual_kind_is_not_called_damaged_alone():
  """Its colours are in other bits than Pillow knows; the file is whole."""
  masks = struct.pack("<3I", 0xFF00, 0xFF0000, 0xFF000000)
  header = struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 32, 3, 1024, 0, 0, 0, 0)
  data = b"BM" + struct.pack("<IHHI", 66 + 1024, 0, 0, 66) + header + masks
  with pytest.raises(ValueError, match="damaged, or of a kind that is not read"):
    images.decode_image(data + bytes(1024), "scan")


def test_a_compression_of_tiff_that_is_rarely_there_is_named():
  tags = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, 8), (259, 3, 1, 50001)]
  tags += [(262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (279, 4, 1, 64)]
  body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags)
  data = b"II*\0" + struct.pack("<I", 72) + bytes(64) + body + bytes(4)
  with pytest.raises(ValueError, match="not read: its compression is WebP"):
    images.decode_image(data, "scan")


SMALL_FILES = [encode(NOISE, format_name) for format_name in images.FORMATS] + [
  encode(NOISE[..., 0].astype(np.uint16) * 200, "TIFF"),
  encode(Image.fromarray(NOISE).convert("P"), "TIFF", compression="tiff_lzw"),
]


def decodes_or_refuses(data):
  try:
    image = images.decode_image(data, "fuzz")
  except ValueError as error:
    refusal = str(error)
  else:
    assert image.dtype == np.float32
    assert image.shape[-1] == 3
    assert image.min() >= 0
    assert image.max() <= 1
    return
  assert refusal.startswith("image 'fuzz': ")
  assert "\n" not in refusal


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_one_line(data):
  decodes_or_refuses(data)


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(
  st.sampled_from(SMALL_FILES),
  st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=8),
)
def test_any_damaged_file_decodes_or_raises_one_line(data, changes):
  damaged = bytearray(data)
  for position, value in changes:
    # Half of the changes hit the header, where the damage is most various.
    limit = len(damaged) if position % 2 else min(100, len(damaged))
    damaged[position % limit] = value
  decodes_or_refuses(bytes(damaged))
