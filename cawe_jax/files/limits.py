"""Limits of an image, which are checked on its header, before a pixel is decoded."""

from __future__ import annotations

from cawe_jax.files.fitting import MIN_SIDE

MAX_FILE_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
"""A full-frame camera's picture; as float32 in three colours 600 MB."""


def check_num_bytes(num_bytes: int, name: str) -> None:
  """Refuse files that are empty or too large."""
  if num_bytes == 0:
    raise ValueError(f"image {name!r}: empty file")
  if num_bytes > MAX_FILE_BYTES:
    raise ValueError(
      f"image {name!r}: {num_bytes} bytes, allowed are at most {MAX_FILE_BYTES}"
    )


def check_shape(height: int, width: int, label: str) -> None:
  """Refuse images of too many pixels, or of too few in a side."""
  if height * width > MAX_PIXELS:
    raise ValueError(
      f"{label}: {width} x {height} pixels, allowed are at most {MAX_PIXELS} in all"
    )
  if min(height, width) < MIN_SIDE:
    raise ValueError(
      f"{label}: {width} x {height} pixels, the shorter side must have {MIN_SIDE}"
    )
