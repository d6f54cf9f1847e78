"""Every kind of file that is read, and every kind that is refused by one line."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from image_files import EIGHT_BITS, NOISE, RNG, chunk, decode, encode, one_line
from PIL import Image
from processes import run_python

import cawe_jax
from cawe_jax.files import images


def png_of_16_bits(values, colour_type, transparent=None):
  """A PNG file written by hand, because Pillow writes no 16-bit colour."""
  height, width = values.shape[:2]
  header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
  rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
  extra = b"" if transparent is None else chunk(b"tRNS", struct.pack(">H", transparent))
  pixels = chunk(b"IDAT", zlib.compress(rows))
  head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
  return head + extra + pixels + chunk(b"IEND", b"")


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


@pytest.mark.parametrize("path", [None, 3, b"a.png", io.BytesIO(), "a\0b.png"])
def test_what_is_no_path_is_named(path):
  with pytest.raises(ValueError, match=r"^image .* is no path of a file$"):
    images.load_image(path)


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


def test_module_needs_neither_jax_nor_matplotlib():
  # Without the package's own __init__, which imports everything.
  code = (
    "import sys, types\n"
    "package = types.ModuleType('cawe_jax')\n"
    f"package.__path__ = [{os.path.dirname(cawe_jax.__file__)!r}]\n"
    "sys.modules['cawe_jax'] = package\n"
    "import cawe_jax.files.images\n"
    "assert not {'jax', 'matplotlib'} & set(sys.modules)\n"
  )
  done = run_python(code)
  assert done.returncode == 0, done.stderr
