"""Files that are small, allowed by their headers, and costly to decode."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def shared_tiles():
  """A TIFF of 1.5 MB, 3,000,000 x 16 pixels; its tiles, all in one place, say 18 TB."""
  count, width, height = 187_500, 3_000_000, 16
  tile_height = 96 * 2**20 // 16  # Of which the image has 16 rows.
  packer = zlib.compressobj(9)
  tile = b"".join(packer.compress(bytes(2**20)) for _ in range(96)) + packer.flush()
  short, long = 3, 4
  first = 8 + len(tile)
  lengths = first + 4 * count
  entries = [
    (256, long, 1, width),
    (257, long, 1, height),
    (258, short, 1, 8),
    (259, short, 1, 8),  # Deflate.
    (262, short, 1, 1),
    (277, short, 1, 1),
    (322, long, 1, 16),
    (323, long, 1, tile_height),
    (324, long, count, first),
    (325, long, count, lengths),
  ]
  directory = struct.pack("<H", len(entries))
  directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
  offsets = np.full(count, 8, "<u4").tobytes()
  sizes = np.full(count, len(tile), "<u4").tobytes()
  header = b"II" + struct.pack("<HI", 42, lengths + 4 * count)
  return header + tile + offsets + sizes + directory


def plain_comments(num_bytes=2**20):
  """A PPM of plain numbers, between which there are comments."""
  return b"P3\n16 16\n255\n" + b"#\n" * (num_bytes // 2) + b"7 " * 16 * 16 * 3


def jpeg_segments(num_segments=80_000):
  """A JPEG of 8 MB in segments of EXIF, which Pillow puts together one by one."""
  file = io.BytesIO()
  Image.new("RGB", (32, 32)).save(file, "JPEG")
  data = file.getvalue()
  body = b"Exif\0\0" + bytes(90)
  segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
  return data[:2] + segment * num_segments + data[2:]


def jpeg_scans(side=7000, num_scans=3000):
  """A progressive JPEG with one scan many times; each goes over all pixels."""
  file = io.BytesIO()
  Image.new("L", (side, side)).save(file, "JPEG", progressive=True)
  data = file.getvalue()
  starts = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xff\xda"]
  last = data[starts[-1] : data.rindex(b"\xff\xd9")]
  return data[: starts[-1]] + last * num_scans + b"\xff\xd9"


def wide_transparency(width=10_000, height=5_000):
  """A PNG of some 200 kB with 50 million pixels of four channels."""

  def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

  packer = zlib.compressobj(9)
  row = bytes(1 + 4 * width)
  packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
  return (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    + chunk(b"IDAT", packed)
    + chunk(b"IEND", b"")
  )
