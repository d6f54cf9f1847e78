"""Every kind of TIFF and PNG is read as what it is, or refused as what it is."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
import tifffile
from image_files import NOISE, RNG, chunk, encode, one_line
from PIL import Image, PngImagePlugin

from cawe_jax.files import images

HEIGHT, WIDTH = 24, 20
# Photometric interpretation, colours and what the further bands are.
COLOURS = [
  ("minisblack", 1, ()),
  ("miniswhite", 1, ()),
  ("minisblack", 1, ("unassalpha",)),
  ("minisblack", 1, ("assocalpha",)),
  ("minisblack", 1, ("unspecified",) * 3),
  ("rgb", 3, ()),
  ("rgb", 3, ("unassalpha",)),
  ("rgb", 3, ("assocalpha",)),
  ("rgb", 3, ("unspecified",) * 2),
  ("separated", 4, ()),
  ("ycbcr", 3, ()),
  ("cielab", 3, ()),
]
TYPES = ["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"]
WHITE = {"u1": 255, "u2": 65535, "u4": 65535, "i4": 65535}  # others: signed, or 1
COMPRESSIONS = [(None, False), ("deflate", False), ("deflate", True)]


def values_of(dtype, num_bands):
  """Within the white level; premultiplied is what is only half as bright as opaque."""
  fractions = np.linspace(0, 1, HEIGHT * WIDTH * num_bands)
  fractions = RNG.permutation(fractions).reshape(HEIGHT, WIDTH, num_bands)
  return (fractions * WHITE.get(dtype, 127 if dtype[0] == "i" else 1)).astype(dtype)


def colours_of(values, dtype, photometric, extra):
  """RGB by the TIFF specification's definitions; None for what is not read at all."""
  if dtype[0] == "i" and dtype != "i4":
    return None
  bands = values / WHITE.get(dtype, 1)
  match photometric:
    case "minisblack":
      rgb = bands[..., :1]
    case "miniswhite":
      rgb = 1 - bands
    case "rgb":
      rgb = bands[..., :3]
    case "separated":
      rgb = (1 - bands[..., :3]) * (1 - bands[..., 3:])
    case "ycbcr":
      luma, blue, red = np.moveaxis(255 * bands, -1, 0)
      blue, red = blue - 128, red - 128
      green = luma - 0.344136 * blue - 0.714136 * red
      rgb = np.stack([luma + 1.402 * red, green, luma + 1.772 * blue], -1) / 255
      rgb = rgb.clip(0, 1)
    case "cielab":
      return None
  alpha = bands[..., -1:]
  if extra == ("unassalpha",):
    rgb = rgb * alpha + 1 - alpha
  elif extra == ("assocalpha",):
    rgb = rgb + 1 - alpha
  return np.broadcast_to(rgb, (HEIGHT, WIDTH, 3))


def is_wanted(dtype, photometric, num_colours, extra, order):
  """What people have, and what must therefore be read, not refused."""
  if dtype == "f4":
    return photometric == "minisblack" and not extra and order == "<"
  is_known = photometric in ("minisblack", "rgb") and len(extra) < 2
  if dtype == "u2":
    is_grey_with_alpha = num_colours == 1 and extra
    return (is_known and not is_grey_with_alpha) or (photometric, order) == (
      "miniswhite",
      "<",
    )
  return dtype == "u1" and (is_known or photometric in ("miniswhite", "separated"))


@pytest.mark.parametrize("dtype", TYPES)
def test_every_combination_is_read_right_or_refused(dtype):
  num_read = 0
  for (
    photometric,
    num_colours,
    extra,
  ), order, planar, compression, tile in itertools.product(
    COLOURS, "<>", ("contig", "separate"), COMPRESSIONS, (None, (16, 16))
  ):
    num_bands = num_colours + len(extra)
    if (planar == "separate" and num_bands == 1) or (
      compression[1] and dtype[0] == "f"
    ):
      continue
    values = values_of(dtype, num_bands)
    if extra == ("assocalpha",):
      # A premultiplied colour is at most its opacity.
      values[..., :-1] = np.minimum(values[..., :-1], values[..., -1:])
    stored = np.moveaxis(values, -1, 0) if planar == "separate" else values
    file = io.BytesIO()
    tifffile.imwrite(
      file,
      np.ascontiguousarray(stored) if num_bands > 1 else values[..., 0],
      byteorder=order,
      photometric=photometric,
      planarconfig=planar if num_bands > 1 else None,
      extrasamples=extra or None,
      compression=compression[0],
      predictor=compression[1],
      tile=tile,
      rowsperstrip=None if tile else 7,
      metadata=None,
    )
    case = (photometric, extra, order, planar, compression, tile)
    expected = colours_of(values, dtype, photometric, extra)
    try:
      image = images.decode_image(file.getvalue(), "test")
    except ValueError as error:
      message = str(error)
      assert " is not read" in message or "in mode" in message, (case, message)
      assert "\n" not in message
      is_planar_alpha = planar == "separate" and num_colours == 1
      wanted = is_wanted(dtype, photometric, num_colours, extra, order)
      assert not wanted or is_planar_alpha, (case, message)
    else:
      num_read += 1
      assert expected is not None, case
      # Of 16 bits in colour 8 are kept; opacity and ink multiply what is lost.
      is_exact = num_colours == 1 or (dtype == "u1" and photometric == "rgb")
      tolerance = 1e-6 if is_exact and not extra else 4 / 255
      assert np.abs(image - expected).max() < tolerance, case
  assert num_read > 0 or dtype in ("i1", "i2", "f2", "f8")


def test_bytes_in_another_order_are_not_taken_for_values():
  """Turned around, the bytes of 0.5 are a number near 0, and so an allowed one."""
  file = io.BytesIO()
  half = np.full((HEIGHT, WIDTH), 0.5, np.float32)
  tifffile.imwrite(file, half, byteorder=">", compression="deflate")
  with pytest.raises(ValueError, match="not read: libtiff turns its bytes around"):
    images.decode_image(file.getvalue(), "test")


def test_a_palette_and_jpeg_do_not_go_together():
  file = io.BytesIO()
  colours = RNG.integers(0, 256, (3, 256), np.uint16) * 257
  tifffile.imwrite(file, NOISE[..., 0], photometric="palette", colormap=colours)
  expected = np.float32(colours.T[NOISE[..., 0]] // 257) / np.float32(255)
  image = images.decode_image(file.getvalue(), "test")
  np.testing.assert_array_equal(image, expected)
  none, jpeg = (struct.pack("<HHIH", 259, 3, 1, number) for number in (1, 7))
  data = file.getvalue()
  assert data.count(none) == 1
  with pytest.raises(ValueError, match="not read: JPEG changes the palette's indices"):
    images.decode_image(data.replace(none, jpeg), "test")


def test_what_tifffile_writes_of_an_array_of_planes():
  values = RNG.integers(0, 65536, (3, HEIGHT, WIDTH), np.uint16)
  file = io.BytesIO()
  tifffile.imwrite(file, values, photometric="rgb")
  image = images.decode_image(file.getvalue(), "test")
  expected = (values // 256).transpose(1, 2, 0) / 255
  np.testing.assert_array_equal(image, expected.astype(np.float32))


@pytest.mark.parametrize("bands", [2, 5, 13])
def test_bands_without_a_meaning_are_called_so(bands):
  for planar in ("contig", "separate"):
    shape = (bands, HEIGHT, WIDTH) if planar == "separate" else (HEIGHT, WIDTH, bands)
    file = io.BytesIO()
    tifffile.imwrite(
      file, np.ones(shape, "u2"), photometric="minisblack", planarconfig=planar
    )
    with pytest.raises(
      ValueError, match=r"convert it, e\.g\. to an 8-bit RGB"
    ) as error:
      images.decode_image(file.getvalue(), "bands.tif")
    assert f"'bands.tif': a TIFF of {bands} bands of 16-bit unsigned values" in (
      one_line(error)
    )


# ---- TIFFs by hand: depths that tifffile does not write ----

REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def grey_tiff(levels, bits, photometric=1, fill_order=1, order="<", packed=False):
  """A greyscale TIFF; its rows begin at whole bytes, the highest bit first."""
  if bits % 8 == 0:
    data = levels.astype(f"{order}u{bits // 8}").tobytes()
  else:
    rows = (levels[..., None] >> np.arange(bits)[::-1]) & 1
    data = np.packbits(rows.reshape(len(levels), -1).astype("u1"), axis=1).tobytes()
  data = zlib.compress(data) if packed else data
  # libtiff turns the bits around before it unpacks.
  data = data.translate(REVERSED) if fill_order == 2 else data
  height, width = levels.shape
  tags = {
    **{256: width, 257: height, 258: bits, 259: 8 if packed else 1, 262: photometric},
    **{266: fill_order, 273: 8, 277: 1, 278: height, 279: len(data)},
  }
  entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, tags[tag]) for tag in tags)
  head = b"II*\0" if order == "<" else b"MM\0*"
  start = struct.pack(f"{order}I", 8 + len(data))
  count = struct.pack(f"{order}H", len(tags))
  return head + start + data + count + entries + bytes(4)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8, 10, 12, 14, 16])
@pytest.mark.parametrize("packed", [False, True])
def test_greyscale_of_every_depth(bits, packed):
  levels = RNG.integers(0, 2**bits, (HEIGHT, WIDTH))
  read = set()
  for photometric, fill_order, order in itertools.product((0, 1), (1, 2), "<>"):
    data = grey_tiff(levels, bits, photometric, fill_order, order, packed)
    try:
      image = images.decode_image(data, "test")
    except ValueError as error:
      refused = str(error)
    else:
      refused = None
    if refused:
      assert f"'test': a TIFF of 1 band of {bits}-bit unsigned values" in refused
      continue
    fraction = levels / (2**bits - 1)
    expected = fraction if photometric else 1 - fraction
    np.testing.assert_allclose(image[..., 0], expected, atol=2e-7)
    read.add((photometric, order))
  both = set(itertools.product((0, 1), "<>"))
  allowed = {6: [], 10: [], 14: [], 12: [(1, "<")], 16: [(0, "<"), (1, "<"), (1, ">")]}
  assert read == set(allowed.get(bits, both))


def test_a_big_endian_big_tiff_is_called_so():
  file = io.BytesIO()
  tifffile.imwrite(file, NOISE, byteorder=">", bigtiff=True, photometric="rgb")
  with pytest.raises(ValueError, match="'x': a big-endian BigTIFF is not read"):
    images.decode_image(file.getvalue(), "x")


@pytest.mark.parametrize("head", [b"PF 20 20 -1\n", b"P7\nWIDTH 20\n"])
def test_other_kinds_of_ppm_are_called_so(head):
  with pytest.raises(ValueError, match=r"'x': a PPM of the kind P[F7] is not read"):
    images.decode_image(head + bytes(4800), "x")


# ---- PNG ----


def png(levels, bits, colour_type, extra=b""):
  """A PNG of these levels, without filters."""
  height, width = levels.shape[:2]
  if bits == 16:
    rows = [row.astype(">u2").tobytes() for row in levels]
  else:
    shifted = (levels.reshape(height, -1, 1) >> np.arange(bits)[::-1]) & 1
    packed = np.packbits(shifted.reshape(height, -1).astype("u1"), axis=1)
    rows = [row.tobytes() for row in packed]
  header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
  pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
  return (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", header)
    + extra
    + chunk(b"IDAT", pixels)
    + chunk(b"IEND", b"")
  )


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_level_of_every_depth(bits):
  levels = RNG.integers(0, 2**bits, (HEIGHT, WIDTH))
  expected = levels / (2**bits - 1)
  np.testing.assert_allclose(
    images.decode_image(png(levels, bits, 0), "test")[..., 0], expected, atol=1e-7
  )
  level = int(levels[0, 0])
  declared = chunk(b"tRNS", struct.pack(">H", level))
  image = images.decode_image(png(levels, bits, 0, declared), "test")
  expected[levels == level] = 1
  np.testing.assert_allclose(image[..., 0], expected, atol=1e-7)


def test_a_transparent_colour():
  levels = RNG.integers(0, 4, (HEIGHT, WIDTH, 3)) * 85
  declared = chunk(b"tRNS", struct.pack(">3H", *levels[0, 0]))
  expected = levels / 255
  expected[(levels == levels[0, 0]).all(-1)] = 1
  image = images.decode_image(png(levels, 8, 2, declared), "test")
  np.testing.assert_allclose(image, expected, atol=1e-7)
  # Of 16 bits the upper ones do not tell it from its like.
  with pytest.raises(
    ValueError, match="of 16-bit RGB with a transparent colour is not"
  ):
    images.decode_image(png(levels, 16, 2, declared), "test")


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_long_texts_and_profiles(kind, place):
  whole = encode(NOISE)
  for megabytes in (3, 20):
    text = zlib.compress(bytes(megabytes * 2**20))
    extra = chunk(kind, b"a\0" + (b"\1\0\0\0" if kind == b"iTXt" else b"\0") + text)
    at = 33 if place == "before" else len(whole) - 12
    data = whole[:at] + extra + whole[at:]
    if megabytes == 3:
      image = images.decode_image(data, "test")
      np.testing.assert_array_equal(image, images.decode_image(whole, "test"))
    else:
      with pytest.raises(
        ValueError, match=r"'long\.png': one of its texts or"
      ) as error:
        images.decode_image(data, "long.png")
      assert "has more than 16777216 bytes unpacked" in one_line(error)


def test_pillow_images_are_judged_too():
  """Images that the caller opened, as notebooks do."""
  planes = io.BytesIO()
  tifffile.imwrite(planes, np.ones((3, 24, 20), "u2"), photometric="rgb")
  planes.seek(0)
  with Image.open(planes) as image, pytest.raises(ValueError, match="mixes up"):
    images.prepare_image(image, 16)
  levels = io.BytesIO(grey_tiff(RNG.integers(0, 2**16, (24, 20)), 16, photometric=0))
  with Image.open(levels) as image:
    np.testing.assert_array_equal(
      images.prepare_image(image, (24, 20)), images.decode_image(levels.getvalue(), "t")
    )


def tiff(pixels, *left_out, **options):
  """A TIFF without some of its tags, which are overwritten by a private one."""
  file = io.BytesIO()
  tifffile.imwrite(file, pixels, metadata=None, **options)
  data = bytearray(file.getvalue())
  with tifffile.TiffFile(io.BytesIO(bytes(data))) as whole:
    for number in left_out:
      offset = whole.pages[0].tags[number].offset
      data[offset : offset + 2] = (65000).to_bytes(2, "little")
  return bytes(data)


def test_a_fourth_band_of_which_nothing_is_said_is_no_opacity():
  pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 4), np.uint8)
  said = tiff(pixels, photometric="rgb", extrasamples=["unassalpha"])
  assert images.decode_image(said, "test").shape == (20, 24, 3)
  unsaid = tiff(pixels, 338, photometric="rgb", extrasamples=["unassalpha"])
  with pytest.raises(ValueError, match="not known whether its last band is opacity"):
    images.decode_image(unsaid, "test")


@pytest.mark.parametrize(
  ("largest", "white"), [(4095, 4095), (1023, 1023), (16383, 16383), (4000, 65535)]
)
def test_the_bits_of_a_camera_are_known_by_its_largest_value(largest, white):
  pixels = np.arange(480, dtype=np.uint16).reshape(20, 24)
  data = tiff(pixels, extratags=[(281, "H", 1, largest, True)])
  image = images.decode_image(data, "test")
  np.testing.assert_allclose(image[..., 0], pixels / white, atol=1e-7)


def test_the_limit_that_many_texts_reach_is_named(monkeypatch):
  # Pillow's own is the same today.
  monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 2**40)
  info = PngImagePlugin.PngInfo()
  for i in range(65):
    info.add_text(f"text {i}", "x" * 2**20, zip=True)
  data = encode(NOISE, pnginfo=info)
  assert len(data) < 2**20
  with pytest.raises(ValueError, match=r"or all texts have more than 67108864$"):
    images.decode_image(data, "test")
