"""Every kind of file that is read, and every kind that is refused by one line."""

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from cawe_jax import images

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (24, 20, 3), np.uint8)
EIGHT_BITS = NOISE.astype(np.float32) / np.float32(255)


def encode(image, format_name="PNG", **options):
  file = io.BytesIO()
  if not isinstance(image, Image.Image):
    image = Image.fromarray(image)
  image.save(file, format_name, **options)
  return file.getvalue()


def decode(image, format_name="PNG", **options):
  return images.decode_image(encode(image, format_name, **options), "test")


def png_of_16_bits(values, colour_type, transparent=None):
  """A PNG file written by hand, because Pillow writes no 16-bit colour."""

  def chunk(kind, content):
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

  height, width = values.shape[:2]
  header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
  rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
  extra = b"" if transparent is None else chunk(b"tRNS", struct.pack(">H", transparent))
  pixels = chunk(b"IDAT", zlib.compress(rows))
  head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
  return head + extra + pixels + chunk(b"IEND", b"")


def one_line(error):
  message = str(error.value)
  assert "\n" not in message
  assert error.value.__cause__ is None
  return message


@pytest.mark.parametrize("format_name", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_colour_is_exact(format_name):
  image = decode(NOISE, format_name)
  assert image.dtype == np.float32
  np.testing.assert_array_equal(image, EIGHT_BITS)


def test_lossy_formats_come_close():
  smooth = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
  for format_name in ("JPEG", "WEBP", "GIF"):
    image = decode(smooth, format_name)
    assert np.abs(image - smooth[..., None] / 255).max() < 0.03, format_name


def test_greyscale_and_palette_and_one_bit():
  grey = NOISE[..., 0]
  expected = np.repeat(EIGHT_BITS[..., :1], 3, axis=-1)
  np.testing.assert_array_equal(decode(grey), expected)
  np.testing.assert_array_equal(decode(Image.fromarray(grey).convert("P")), expected)
  bits = Image.fromarray(grey > 127)
  assert bits.mode == "1"
  np.testing.assert_array_equal(decode(bits), (expected > 0.5).astype(np.float32))


def test_sixteen_bit_grey_keeps_every_level():
  values = RNG.integers(0, 65536, (24, 20), np.uint16)
  values[0, :3] = [0, 256, 65535]
  expected = np.repeat((values / 65535)[..., None], 3, -1).astype(np.float32)
  assert expected[0, 1, 0] == np.float32(256 / 65535)
  for format_name in ("PNG", "TIFF", "PPM"):
    np.testing.assert_allclose(decode(values, format_name), expected, rtol=2e-7, atol=0)
  mode_i = Image.fromarray(values.astype(np.int32))
  assert mode_i.mode == "I"
  np.testing.assert_allclose(decode(mode_i, "TIFF"), expected, rtol=2e-7, atol=0)
  small = images.prepare_image(mode_i, 16)
  assert 0.2 < small.std() / expected.std() < 1.1  # Saturated it would be 0.
  big_endian = images.decode_image(png_of_16_bits(values, 0), "test")
  np.testing.assert_array_equal(big_endian, decode(values))


def test_sixteen_bit_grey_with_a_transparent_level():
  values = np.full((20, 20), 1000, np.uint16)
  values[3, 4] = 2000
  image = images.decode_image(png_of_16_bits(values, 0, transparent=1000), "test")
  np.testing.assert_allclose(image[3, 4], 2000 / 65535, rtol=1e-6)
  image[3, 4] = 1
  np.testing.assert_array_equal(image, np.ones((20, 20, 3), np.float32))


@pytest.mark.parametrize("colour_type", [2, 4, 6])
def test_sixteen_bit_colour_keeps_the_upper_byte(colour_type):
  num_channels = {2: 3, 4: 2, 6: 4}[colour_type]
  values = RNG.integers(0, 65536, (20, 20, num_channels))
  image = images.decode_image(png_of_16_bits(values, colour_type), "test")
  colours = values / 65535
  if colour_type == 4:
    colours = colours[..., [0, 0, 0, 1]]
  alpha = colours[..., 3:] if colour_type != 2 else 1.0
  # One level of 8 bits in colour and one in alpha.
  expected = colours[..., :3] * alpha + 1 - alpha
  np.testing.assert_allclose(image, expected, atol=2.01 / 255)


def test_float_images_must_lie_between_0_and_1():
  values = RNG.random((24, 20), dtype=np.float32)
  expected = np.repeat(values[..., None], 3, axis=-1)
  np.testing.assert_array_equal(decode(values, "TIFF"), expected)
  for bad in (-0.1, 1.5, np.nan):
    values[0, 0] = bad
    with pytest.raises(ValueError, match=r"mode F, allowed are 0 to 1") as error:
      decode(values, "TIFF")
    one_line(error)
  with pytest.raises(
    ValueError, match="from -5 to -5 in mode I, allowed are 0 to 65535"
  ):
    decode(np.full((20, 20), -5, np.int32), "TIFF")


def test_alpha_is_composited_over_white():
  rgba = np.full((20, 20, 4), (255, 0, 51, 102), np.uint8)
  expected = np.array([1.0, 0.6, 0.2 * 0.4 + 0.6])
  np.testing.assert_allclose(decode(rgba)[5, 5], expected, atol=1e-6)
  grey_alpha = Image.fromarray(rgba).convert("LA")
  luminance = np.asarray(grey_alpha)[0, 0, 0] / 255
  result = decode(grey_alpha)
  np.testing.assert_allclose(result, luminance * 0.4 + 0.6, atol=1e-6)
  # A colour, a grey level and a palette entry declared transparent.
  pair = np.zeros((20, 20, 3), np.uint8)
  pair[:, 10:] = 128
  flat = Image.fromarray(pair)
  for image, key in [
    (flat, (0, 0, 0)),
    (flat.convert("L"), 0),
    (flat.convert("P", palette=Image.Palette.ADAPTIVE), b"\xff\x00"),
  ]:
    result = decode(image, transparency=key)
    assert {1.0, 0.0} >= set(np.unique(result)) - {np.float32(128 / 255)}
    assert (result == 1).mean() == 0.5


@pytest.mark.parametrize("format_name", ["JPEG", "TIFF"])
def test_cmyk(format_name):
  # Pillow writes CMYK JPEG as Adobe does, inverted, so reading must invert again.
  ink = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
  np.testing.assert_allclose(decode(ink, format_name)[5, 5], [1, 0, 0], atol=0.02)
  black = Image.new("CMYK", (32, 32), (0, 0, 0, 255))
  np.testing.assert_allclose(decode(black, format_name), 0, atol=0.02)


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation(format_name):
  turns = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda x: np.rot90(x, 1),
  }
  options = {"lossless": True, "exact": True} if format_name == "WEBP" else {}
  for orientation, turn in turns.items():
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(NOISE, format_name, exif=exif, **options)
    np.testing.assert_array_equal(image, turn(EIGHT_BITS))


def test_only_the_first_frame_is_read():
  frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
  for format_name in ("GIF", "TIFF", "PNG"):
    image = decode(frames[0], format_name, save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(image[4, 4], [1, 0, 0])


def test_resize_keeps_constants_ramps_and_averages():
  flat = images.prepare_image(np.full((100, 80), 77, np.uint8), 33)
  np.testing.assert_allclose(flat, 77 / 255, atol=1e-6)

  ramp = np.broadcast_to(np.linspace(0, 1, 97), (64, 97))
  for size in (48, (16, 200)):
    row = images.prepare_image(ramp, size)[3, :, 0]
    assert (np.diff(row) >= -1e-6).all()

  # Bicubic without antialiasing would return some of the board's squares.
  board = np.indices((256, 256)).sum(0) % 2
  grey = images.prepare_image(board.astype(np.float32), 32)
  np.testing.assert_allclose(grey[1:-1, 1:-1], 0.5, atol=0.01)

  # A smooth image shrunk eightfold is close to its box averages.
  y, x = np.mgrid[0:256, 0:256] / 256
  smooth = 0.5 + 0.4 * np.sin(6 * x) * np.cos(5 * y)
  boxes = smooth.reshape(32, 8, 32, 8).mean((1, 3))
  small = images.prepare_image(smooth, 32)[..., 0]
  np.testing.assert_allclose(small[1:-1, 1:-1], boxes[1:-1, 1:-1], atol=0.01)
  np.testing.assert_allclose(small, boxes, atol=0.05)


def scaled_then_cropped(channel, size, resize):
  """torchvision's rule step by step: scale everything, round, crop the centre."""
  height, width = channel.shape
  short, long = sorted((height, width))
  new_long = int(resize.size * long / short)
  new_width, new_height = (
    (resize.size, new_long) if width <= height else (new_long, resize.size)
  )
  filters = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}
  scaled = np.asarray(
    Image.fromarray(channel).resize((new_width, new_height), filters[resize.filter])
  )
  top = round((new_height - size) / 2.0)
  left = round((new_width - size) / 2.0)
  return scaled[top : top + size, left : left + size]


@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
  ("shape", "size", "shorter"),
  [
    ((101, 67), 32, 37),  # The longer side becomes 55.76, the rest 23 and 5 pixels.
    ((67, 101), 32, 37),
    ((51, 34), 48, 55),  # Enlarged.
    ((64, 64), 21, 24),
    ((97, 50), 50, 50),  # Nothing but a crop, after 23.5 pixels.
    ((33, 250), 17, 30),
    ((40, 40), 40, 40),
  ],
)
def test_the_published_rule(shape, size, shorter, name):
  resize = images.Resize(shorter, name)
  # Contrast so low that no overshoot is clipped, as 8 bits are after each pass.
  pixels = RNG.integers(64, 192, (*shape, 3), np.uint8)
  result = images.prepare_image(pixels, size, resize)
  assert result.shape == (size, size, 3)
  for channel in range(3):
    exact = scaled_then_cropped(
      pixels[..., channel].astype(np.float32) / 255, size, resize
    )
    # The same sums with weights computed from a box: 32-bit rounding of pixels.
    np.testing.assert_allclose(result[..., channel], exact, rtol=0, atol=2e-5)
    # As torchvision does it, on 8 bits, which are rounded after each of two passes;
    # the second can enlarge the first's half level by the kernel's overshoot, 1.3.
    coarse = scaled_then_cropped(pixels[..., channel], size, resize)
    np.testing.assert_allclose(
      255 * result[..., channel], coarse, rtol=0, atol=0.5 * 1.3 + 0.5 + 0.02
    )


def test_the_published_rule_differs_from_the_default():
  """Its frame is the point: a resize to 256 shows less of the photograph."""
  photograph = RNG.random((90, 70), dtype=np.float32)
  default = images.prepare_image(photograph, 32)
  for other in (images.Resize(37, "bicubic"), images.Resize(32, "bilinear")):
    assert np.abs(images.prepare_image(photograph, 32, other) - default).max() > 0.05
  # Where nothing is truncated the two are one.
  square = images.Resize(32, "bicubic")
  np.testing.assert_array_equal(
    images.prepare_image(photograph[:64, :64], 32, square),
    images.prepare_image(photograph[:64, :64], 32),
  )


def test_a_long_strip_takes_little_memory(monkeypatch):
  asked = []
  original = Image.Image.resize

  def resize(self, size, *arguments, **options):
    asked.append(size)
    return original(self, size, *arguments, **options)

  monkeypatch.setattr(Image.Image, "resize", resize)
  strip = np.zeros((16, 1_000_000), np.float32)
  images.prepare_image(strip, 224, images.Resize(256, "bilinear"))
  # Scaled as a whole it would be 256 x 16 million pixels: 16 GB a channel.
  assert asked == [(224, 224)] * 3


@pytest.mark.parametrize(
  ("resize", "message"),
  [
    (images.Resize(31, "bicubic"), r"resize.size must be in \[32, 4096\] .*got 31"),
    (images.Resize(9999, "bicubic"), r"resize.size must be in .*got 9999"),
    (images.Resize(40, "nearest"), "must be one of bilinear, bicubic, got 'nearest'"),
  ],
)
def test_bad_rules(resize, message):
  with pytest.raises(ValueError, match=message) as error:
    images.prepare_image(NOISE, 32, resize)
  one_line(error)


def test_overshoot_is_clipped():
  step = np.zeros((20, 20), np.float32)
  step[:, 10:] = 1
  image = images.prepare_image(step, 40)
  assert image.min() == 0
  assert image.max() == 1
  assert image.dtype == np.float32


def test_nothing_is_squashed():
  """A square stays a square, whatever the shapes of the image and the result."""
  for shape, size in [((60, 200), 40), ((200, 60), (40, 90)), ((90, 70), (30, 60))]:
    image = np.zeros(shape, np.float32)
    middle = [slice(n // 2 - 8, n // 2 + 8) for n in shape]
    image[tuple(middle)] = 1
    result = images.prepare_image(image, size)[..., 0]
    height, width = (size, size) if isinstance(size, int) else size
    assert result.shape == (height, width)
    scale = max(height / shape[0], width / shape[1])
    rows, columns = result.max(1).sum(), result.max(0).sum()
    np.testing.assert_allclose([rows, columns], 16 * scale, atol=1.0)
    centre = [
      (axis * result.sum(1 - i)).sum() / result.sum()
      for i, axis in enumerate((np.arange(height) + 0.5, np.arange(width) + 0.5))
    ]
    np.testing.assert_allclose(centre, [height / 2, width / 2], atol=scale)


def test_without_scaling_the_centre_is_cropped_exactly():
  image = images.prepare_image(NOISE, (20, 20))
  np.testing.assert_array_equal(image, EIGHT_BITS[2:22])
  odd = images.prepare_image(NOISE[:21], (20, 20))
  np.testing.assert_array_equal(odd, EIGHT_BITS[:20])
  wide = images.prepare_image(NOISE[:17, :20], (17, 17))
  np.testing.assert_array_equal(wide, EIGHT_BITS[:17, 1:18])
  np.testing.assert_array_equal(images.prepare_image(NOISE, (24, 20)), EIGHT_BITS)


def test_extreme_aspect_ratio():
  assert images.prepare_image(np.zeros((16, 30_000), np.uint8), 224).shape[0] == 224


def test_arrays_of_all_kinds_agree():
  grey = NOISE[..., 0]
  expected = images.prepare_image(grey, 16)
  for same in (
    grey[..., None],
    np.repeat(grey[..., None], 3, -1),
    grey / 255.0,
    grey.astype(np.uint16) * 257,
    Image.fromarray(grey),
  ):
    np.testing.assert_allclose(images.prepare_image(same, 16), expected, atol=1e-6)


@pytest.mark.parametrize(
  ("image", "message"),
  [
    (np.zeros((20, 20, 4)), r"\[H, W, 3\], got \[20, 20, 4\]"),
    (np.zeros((2, 20, 20, 3)), r"got \[2, 20, 20, 3\]"),
    (np.zeros((20, 20), np.int64), "uint8, uint16 or float"),
    (np.full((20, 20), 255.0), r"in \[0, 1\], got values from 255.0 to 255.0"),
    (np.full((20, 20), np.nan), r"in \[0, 1\], got values from nan"),
    (np.zeros((20, 15)), "15 x 20 pixels"),
    (np.zeros((0, 0)), "0 x 0 pixels"),
    (Image.new("L", (1, 1)), "1 x 1 pixels"),
  ],
)
def test_bad_arrays(image, message):
  with pytest.raises(ValueError, match=message) as error:
    images.prepare_image(image, 32)
  one_line(error)


@pytest.mark.parametrize(
  "size", [0, -3, 15, 4097, True, 2.5, "224", (32,), (32, 32, 3), (32, 0), None]
)
def test_bad_sizes(size):
  with pytest.raises(
    ValueError, match=r"size must be .* in \[16, 4096\], got"
  ) as error:
    images.prepare_image(NOISE, size)
  one_line(error)


def test_load_image_is_decode_then_prepare(tmp_path):
  path = tmp_path / "noise.png"
  path.write_bytes(encode(NOISE))
  np.testing.assert_array_equal(images.load_image(path), EIGHT_BITS)
  np.testing.assert_array_equal(
    images.load_image(str(path), (18, 16)), images.prepare_image(NOISE, (18, 16))
  )
  rule = images.Resize(19, "bilinear")
  np.testing.assert_array_equal(
    images.load_image(path, 16, rule), images.prepare_image(NOISE, 16, rule)
  )


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
    (1, 1, "1 x 1 pixels, the shorter side must have 16"),
    (5000, 15, "5000 x 15 pixels, the shorter side must have 16"),
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
  for format_name in ("ICO", "TGA", "PDF"):
    with pytest.raises(ValueError, match="not an image or damaged"):
      decode(NOISE, format_name)


def test_image_id_depends_on_pixels_and_shape_alone():
  image = EIGHT_BITS
  assert images.image_id(image) == images.image_id(image[::-1][::-1])
  assert images.image_id(image) == images.image_id(image.astype(">f4"))
  others = [image + 1e-7, image[::-1], image.reshape(20, 24, 3), image[..., :1]]
  ids = {images.image_id(other) for other in [image, *others]}
  assert len(ids) == 5
  assert all(0 <= number < 2**32 for number in ids)
  # Pinned, so that a change of the hash cannot change everybody's draws unnoticed.
  pinned = images.image_id(np.arange(12, dtype=np.float32).reshape(2, 2, 3))
  assert pinned == 837228829


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


def test_module_needs_neither_jax_nor_matplotlib():
  code = (
    "import importlib.util, sys\n"
    f"spec = importlib.util.spec_from_file_location('images', {images.__file__!r})\n"
    "spec.loader.exec_module(importlib.util.module_from_spec(spec))\n"
    "assert not {'jax', 'matplotlib'} & set(sys.modules)\n"
  )
  subprocess.run([sys.executable, "-c", code], check=True)
