"""Reading what visitors send: so many at once, and not slower than others need.

The memory for uploads is bounded by how many are read at once. Who sends a byte a
minute would keep a place that others wait for, so whoever comes when all places are
taken gets the place of the one that sends slowest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

MAX_UPLOAD_BYTES = 16 * 2**20
MAX_CONCURRENT_UPLOADS = 8
"""Uploads that are read at once; together at most 128 MiB."""
UPLOAD_SECONDS = 60.0
"""Time that reading an upload may take."""


class TooLong(Exception):
  """The upload has more bytes than allowed."""


class TooSlow(Exception):
  """The upload took too long, or others needed its place."""


class _Upload:
  def __init__(self) -> None:
    self.data = bytearray()
    self.timeout = asyncio.timeout(UPLOAD_SECONDS)
    self._start = time.monotonic()

  @property
  def rate(self) -> float:
    """Bytes in a second; one that just began is not slow yet."""
    return (len(self.data) + 2**16) / (time.monotonic() - self._start + 0.1)


class Uploads:
  """All uploads that are being read."""

  def __init__(self) -> None:
    self._reading: list[_Upload] = []

  async def read(self, chunks: AsyncIterator[bytes]) -> bytes:
    """The whole body, refused as soon as it is too long, whatever was announced.

    Args:
      chunks: Pieces of the body, as they come.

    Raises:
      TooLong: It has more than 16 MiB.
      TooSlow: It took more than a minute, or was the slowest when others came.
    """
    if len(self._reading) >= MAX_CONCURRENT_UPLOADS:
      slowest = min(self._reading, key=lambda upload: upload.rate)
      self._reading.remove(slowest)
      slowest.timeout.reschedule(0)
    upload = _Upload()
    self._reading.append(upload)
    try:
      async with upload.timeout:
        async for chunk in chunks:
          upload.data += chunk
          if len(upload.data) > MAX_UPLOAD_BYTES:
            raise TooLong
      return bytes(upload.data)
    except TimeoutError:
      raise TooSlow from None
    finally:
      if upload in self._reading:
        self._reading.remove(upload)
