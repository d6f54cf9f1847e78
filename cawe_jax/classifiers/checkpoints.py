"""Checkpoints of other frameworks, without these frameworks.

Three formats are read, told apart by their first bytes, not by their names: PyTorch's
zip archive (since version 1.6) and its row of pickles (before), and safetensors. A
pickle can run any code in Python's own unpickler; these never meet it, they are
evaluated by :mod:`.torch_pickle`, which can do nothing but describe tensors.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from cawe_jax.classifiers.element_types import decode_elements
from cawe_jax.classifiers.torch_format import read_legacy, read_zip
from cawe_jax.classifiers.torch_pickle import Tensor

MAX_FILE_BYTES = 8 * 2**30
"""Largest checkpoint. Reading takes three times its size, six in half precision."""

_WRAPPERS = ("model", "state_dict")


def read_checkpoint(
  path: str | os.PathLike[str], *, sha256_prefix: str | None = None
) -> dict[str, np.ndarray]:
  """Read named tensors; nothing in the file is executed.

  A training checkpoint that has the state dictionary as its entry ``model`` or
  ``state_dict`` is read as that dictionary, and what stands beside it (an epoch, an
  optimiser) is left out. Objects of other classes are refused wherever they stand.

  Args:
    path: A PyTorch file, legacy or zip, or a safetensors file, of at most 8 GiB.
    sha256_prefix: At least the first 8 hexadecimal digits of the file's SHA-256, by
      which PyTorch ends file names, as ``resnet18-f37072fd.pth``; None checks nothing.

  Returns:
    Names and contiguous arrays, in the file's order: every floating type as float32,
    other types as they are.

  Raises:
    ValueError: The file is missing, has another hash, is truncated or damaged, holds
      anything but tensors by name, or asks for more memory than it has bytes for.

  Example:
    >>> import safetensors.numpy, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "weights")
    >>> safetensors.numpy.save_file({"bias": np.ones(2, np.float16)}, path)
    >>> read_checkpoint(path)
    {'bias': array([1., 1.], dtype=float32)}
  """
  name = os.fspath(path)
  if sha256_prefix is not None and not re.fullmatch("[0-9a-f]{8,64}", sha256_prefix):
    raise ValueError(
      f"sha256_prefix must be 8 to 64 lower-case hex digits, got {sha256_prefix!r}"
    )
  data = _read_file(path)
  if sha256_prefix is not None:
    digest = hashlib.sha256(data).hexdigest()
    if not digest.startswith(sha256_prefix):
      raise ValueError(
        f"checkpoint {name!r}: SHA-256 must start with {sha256_prefix}, got {digest}"
      )
  try:
    tensors = _parse(data)
    _check_names(tensors)
    return tensors
  # Damaged files raise almost any type, from EOFError to UnicodeDecodeError.
  except Exception as error:
    detail = " ".join(str(error).split())[:200] or type(error).__name__
    raise ValueError(f"checkpoint {name!r}: cannot be read ({detail})") from None


def _read_file(path: str | os.PathLike[str]) -> bytes:
  """The bytes of a file of weights.

  Raises:
    ValueError: The file is missing, unreadable or larger than :data:`MAX_FILE_BYTES`.
  """
  name = os.fspath(path)
  try:
    status = os.stat(path)
    if status.st_size > MAX_FILE_BYTES:
      raise ValueError(
        f"checkpoint {name!r}: {status.st_size} bytes, allowed are at most "
        f"{MAX_FILE_BYTES}"
      )
    # A named pipe or a device would block or never end.
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
      raise ValueError(f"checkpoint {name!r}: not a regular file")
    return Path(path).read_bytes()
  except OSError as error:
    raise ValueError(
      f"checkpoint {name!r}: cannot be read ({error.strerror})"
    ) from None


def _parse(data: bytes) -> dict[str, np.ndarray]:
  if data.startswith(b"PK\x03\x04"):
    return read_zip(data, _state_dictionary)
  if data.startswith(b"\x80"):  # the first instruction of a pickle
    return read_legacy(data, _state_dictionary)
  if data[8:9] == b"{":
    return _read_safetensors(data)
  raise ValueError("neither a PyTorch nor a safetensors file")


def _state_dictionary(content: Any) -> dict[str, Tensor]:
  """The named tensors in what a PyTorch file holds."""
  if not isinstance(content, dict):
    raise ValueError(f"holds a {type(content).__name__}, not a state dictionary")
  found = [key for key in _WRAPPERS if isinstance(content.get(key), dict)]
  if len(found) > 1:
    raise ValueError(f"holds several state dictionaries: {', '.join(found)}")
  tensors = content[found[0]] if found else content
  for name, tensor in tensors.items():
    if not (isinstance(name, str) and isinstance(tensor, Tensor)):
      raise ValueError(f"entry {name!a} is not a named tensor")
  return tensors


def _check_names(names: Iterable[str]) -> None:
  """Names are shown in errors, where control characters would command a terminal."""
  for name in names:
    if not name.isprintable():
      raise ValueError(f"tensor name {name!a} is not printable")


def _read_safetensors(data: bytes) -> dict[str, np.ndarray]:
  """The library checks the header: all offsets in the file, without gap or overlap."""
  return {
    name: decode_elements(tensor["data"], tensor["dtype"]).reshape(tensor["shape"])
    for name, tensor in safetensors.deserialize(data)
  }
