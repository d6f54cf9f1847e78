"""Converted weights in a file of their own, which says what they are of.

A safetensors file with this package's parameters by their paths (``block_0/kernel``)
and, as metadata, the architecture, this format's version, the SHA-256 of the file that
was converted and the package's version. It is read without knowing how the original
was laid out, and it can hold nothing but numbers.
"""

from __future__ import annotations

import json
import os
from typing import NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from cawe_jax.classifiers.checkpoints import MAX_HEADER_BYTES, read_checkpoint
from cawe_jax.files.writing import atomic_write
from cawe_jax.version import __version__

_FORMAT = "cawe_jax classifier"
_FORMAT_VERSION = "1"


class Converted(NamedTuple):
  """Converted weights.

  Attributes:
    architecture: Name of the network, as :func:`.registry.classifier_names` has it.
    source_sha256: SHA-256 of the converted checkpoint, 64 hexadecimal digits.
    params: Paths and arrays, float32.
  """

  architecture: str
  source_sha256: str
  params: dict[str, np.ndarray]


def save_converted(path: str | os.PathLike[str], converted: Converted) -> None:
  """Write converted weights; the file appears whole or not at all.

  Args:
    path: File to create or to replace; its folder exists.
    converted: What to write.

  Raises:
    OSError: The file cannot be written.
  """
  metadata = {
    "format": _FORMAT,
    "format_version": _FORMAT_VERSION,
    "architecture": converted.architecture,
    "source_sha256": converted.source_sha256,
    "cawe_jax": __version__,
  }
  # safetensors writes an array's memory as it lies, transposed arrays too.
  arrays = {
    name: np.array(array, np.float32, order="C")
    for name, array in converted.params.items()
  }
  contents = safetensors.numpy.save(arrays, metadata)
  with atomic_write(path) as temporary:
    temporary.write_bytes(contents)


def is_converted(path: str | os.PathLike[str]) -> bool:
  """Whether a file says that :func:`save_converted` wrote it.

  Raises:
    ValueError: The file cannot be read.
  """
  return _metadata(path).get("format") == _FORMAT


def read_converted(path: str | os.PathLike[str], architecture: str) -> Converted:
  """Read what :func:`save_converted` wrote.

  Args:
    path: The file.
    architecture: Whose weights they must be.

  Returns:
    The weights; names and shapes are for the architecture to check.

  Raises:
    ValueError: The file is missing or damaged, no converted file, one of another
      version, or the weights of another architecture.

  Example:
    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "small.safetensors")
    >>> save_converted(path, Converted("small", "0" * 64, {"bias": np.ones(2)}))
    >>> read_converted(path, "small").params
    {'bias': array([1., 1.], dtype=float32)}
    >>> read_converted(path, "large")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: weights '...small.safetensors' are of 'small', not of 'large'
  """
  name, metadata = os.fspath(path), _metadata(path)
  if metadata.get("format") != _FORMAT:
    raise ValueError(f"weights {name!r} were not written by cawe convert")
  version = metadata.get("format_version")
  if version != _FORMAT_VERSION:
    raise ValueError(
      f"weights {name!r} have format version {version!a}, which this version of "
      f"cawe_jax does not read; convert the checkpoint again"
    )
  if metadata.get("architecture") != architecture:
    raise ValueError(
      f"weights {name!r} are of {metadata.get('architecture')!a}, not of "
      f"{architecture!r}"
    )
  params = read_checkpoint(path)
  return Converted(architecture, metadata.get("source_sha256", ""), params)


def _metadata(path: str | os.PathLike[str]) -> dict[str, str]:
  """The text that a safetensors file carries; of other files nothing."""
  try:
    if os.path.exists(path) and not os.path.isfile(path):
      return {}  # a named pipe would block
    with open(path, "rb") as file:
      length = int.from_bytes(file.read(8), "little")
      header = file.read(length) if length <= MAX_HEADER_BYTES else b""
  except OSError as error:
    name = os.fspath(path)
    raise ValueError(f"weights {name!r}: cannot be read ({error.strerror})") from None
  try:
    return dict(json.loads(header)["__metadata__"])
  # Whatever JSON there is in the header, or none; deep nesting is a RecursionError.
  except (ValueError, TypeError, KeyError, RecursionError):
    return {}
