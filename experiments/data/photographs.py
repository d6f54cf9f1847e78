"""What a photograph is before it is decoded, and how many of them are decoded.

A photograph is a name, a label and a place to read bytes from, so that a list of 50,000
is made in a moment, and every process can make the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from cawe_jax.files.images import Resize, Size, decode_image, prepare_image


class Source(Protocol):
  """A place that bytes are read from; a ``Path`` is one."""

  def read_bytes(self) -> bytes:
    """The whole encoded image; ``OSError`` if it cannot be read."""
    ...


class Photograph(NamedTuple):
  """One photograph, not yet read.

  Attributes:
    id: Unique in its dataset, the same in every run, safe as a file's name.
    label: ImageNet index in [0, 1000), or None where it is not known.
    source: Where the encoded image is.
  """

  id: str
  label: int | None
  source: Source

  def read(self) -> bytes:
    """The encoded image.

    Raises:
      OSError: The source cannot be read.
    """
    return self.source.read_bytes()


class Failure(NamedTuple):
  """A photograph that could not be used.

  Attributes:
    id: The photograph's.
    reason: One line.
  """

  id: str
  reason: str


def decode_all(
  photographs: Iterable[Photograph],
  size: Size,
  resize: Resize | None = None,
  *,
  failures: list[Failure],
) -> Iterator[tuple[Photograph, np.ndarray]]:
  """Decode and scale photographs one by one; what cannot be decoded is listed.

  Args:
    photographs: In the order wanted.
    size: Side, or ``(H, W)``, of the images in pixels.
    resize: The network's published rule, as for
      :func:`cawe_jax.files.images.prepare_image`.
    failures: Gets an entry for each photograph that cannot be read or decoded.

  Yields:
    Each of the others, with its image in [0, 1], float32 ``[H, W, 3]``.

  Raises:
    ValueError: The size or the rule is not as
      :func:`cawe_jax.files.images.prepare_image` says.

  Example:
    >>> from experiments.data import load
    >>> failures = []
    >>> for photograph, image in decode_all(load("foolbox", 1), 24, failures=failures):
    ...   print(photograph.id, photograph.label, image.shape)
    imagenet-00 243 (24, 24, 3)
    >>> failures
    []
  """
  for photograph in photographs:
    try:
      image = decode_image(photograph.read(), photograph.id)
    except (OSError, ValueError) as error:
      reason = " ".join(str(error).split())
      failures.append(Failure(photograph.id, reason))
    else:
      yield photograph, prepare_image(image, size, resize)
