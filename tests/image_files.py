"""Encoded images for the tests of decoding."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from cawe_jax.files import images

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (24, 20, 3), np.uint8)
EIGHT_BITS = NOISE.astype(np.float32) / np.float32(255)


def encode(image, format_name="PNG", **options):
  file = io.BytesIO()
  if format_name == "NPY":
    np.save(file, np.asarray(image))
    return file.getvalue()
  if not isinstance(image, Image.Image):
    image = Image.fromarray(image)
  image.save(file, format_name, **options)
  return file.getvalue()


def decode(image, format_name="PNG", **options):
  return images.decode_image(encode(image, format_name, **options), "test")


def chunk(kind, content):
  """A piece of a PNG file."""
  body = kind + content
  return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def one_line(error):
  message = str(error.value)
  assert "\n" not in message
  assert error.value.__cause__ is None
  return message
