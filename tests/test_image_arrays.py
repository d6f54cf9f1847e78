"""Images of any number of channels: files of ``numpy.save``, and arrays."""

import io
import struct

import numpy as np
import pytest

from cawe_jax.files.images import (
  decode_image,
  decode_to_size,
  file_channels,
  prepare_image,
)
from cawe_jax.files.reading import FORMATS


def saved(array, **options):
  file = io.BytesIO()
  np.save(file, array, **options)
  return file.getvalue()


def scene(channels=13, dtype=np.float32):
  values = np.random.default_rng(0).random((20, 30, channels))
  limit = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
  return (limit * values).astype(dtype)


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "f2", "<f4", ">f4", "f8"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
def test_every_channel_is_kept(dtype, channels):
  array = scene(channels, np.dtype(dtype))
  image = decode_image(saved(array), "scene.npy")
  white = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1
  assert image.shape == array.shape
  assert image.dtype == np.float32
  # A division in float32 rounds by half a unit in the last place: 6e-8.
  np.testing.assert_allclose(image, array.astype(float) / white, rtol=0, atol=1e-7)


def test_a_plane_is_one_channel_and_order_of_memory_does_not_matter():
  plane = scene(1)[..., 0]
  np.testing.assert_array_equal(decode_image(saved(plane), "a")[..., 0], plane)
  columns = np.asfortranarray(scene())
  np.testing.assert_array_equal(decode_image(saved(columns), "a"), scene())


def test_a_second_version_of_the_format_is_read():
  file = io.BytesIO()
  np.lib.format.write_array(file, scene(), version=(2, 0))
  np.testing.assert_array_equal(decode_image(file.getvalue(), "a"), scene())


def test_channels_are_fitted_as_photographs_are():
  """Three at a time of the thirteen, by the way that photographs take."""
  fitted = decode_to_size(saved(scene(12)), "scene.npy", (16, 24))
  for first in range(0, 12, 3):
    photograph = prepare_image(scene(12)[..., first : first + 3], (16, 24))
    np.testing.assert_array_equal(fitted[..., first : first + 3], photograph)
  np.testing.assert_array_equal(prepare_image(scene(12), (16, 24)), fitted)


def test_files_say_their_channels(tmp_path):
  path = tmp_path / "scene.npy"
  np.save(path, scene())
  assert file_channels(path) == 13
  path.write_bytes(b"GIF89a")
  assert file_channels(path) == 3


def header(text, version=(1, 0)):
  text = text.ljust(117) + "\n"
  return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(text)) + text.encode()


ZEROS = np.zeros((16, 16, 3), np.float32)
BAD = {
  "cut short": (saved(scene())[:-7], r"truncated or damaged \(31193 bytes .* 31200"),
  "too long": (saved(scene()) + b"more", "truncated or damaged"),
  "half a header": (saved(scene())[:40], "truncated or damaged"),
  "the magic alone": (b"\x93NUMPY", "truncated or damaged"),
  "a newer version": (header("{}", (9, 0)), "truncated or damaged"),
  "no dictionary": (header("__import__('os').system('false')"), "damaged"),
  "pickled objects": (
    saved(np.full((16, 16), None), allow_pickle=True),
    "must be uint8, uint16 or float .* got dtype object",
  ),
  "a record": (saved(np.zeros((16, 16), [("a", "f4")])), "must be uint8"),
  "text": (saved(np.full((16, 16), "red")), "must be uint8"),
  "booleans": (saved(ZEROS > 0), "must be uint8, uint16 or float"),
  "integers": (saved(ZEROS.astype(int)), "got dtype int64"),
  "32 bits": (saved(ZEROS.astype("u4")), "got dtype uint32"),
  "complex": (saved(ZEROS.astype(complex)), "got dtype complex128"),
  "a line": (saved(ZEROS.ravel()), r"must have shape \[H, W\] or \[H, W, C\]"),
  "a batch": (saved(ZEROS[None]), r"got \[1, 16, 16, 3\]"),
  "no channels": (saved(ZEROS[..., :0]), r"got \[16, 16, 0\]"),
  "channels first": (saved(np.zeros((3, 600, 600), "f4")), r"C up to 512"),
  "small": (saved(ZEROS[:3]), "the shorter side must have 4"),
  "negative": (saved(ZEROS - 0.1), r"must lie in \[0, 1\], got values from -0.1"),
  "of 255": (saved(ZEROS + 255), "must lie in .* to 255"),
  "not a number": (saved(ZEROS * np.nan), r"must lie in \[0, 1\]"),
  "announces 18 TB": (
    header("{'descr':'<f4','fortran_order':False,'shape':(3000000,1500000)}"),
    "allowed are at most 50000000 in all",
  ),
  "announces a negative side": (
    header("{'descr':'<f4','fortran_order':False,'shape':(-16,-16)}"),
    "the shorter side must have 4",
  ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_line(name):
  data, message = BAD[name]
  with pytest.raises(ValueError, match=message) as error:
    decode_image(data, "scene.npy")
  assert "'scene.npy'" in str(error.value)
  assert "\n" not in str(error.value)
  assert len(str(error.value)) < 300


def test_who_does_not_allow_arrays_gets_none():
  assert "NPY" in FORMATS
  with pytest.raises(ValueError, match=r"not an image or damaged \(allowed are PNG\)"):
    decode_image(saved(ZEROS), "upload", ("PNG",))
