"""Checkpoints of other frameworks, without these frameworks.

Three formats are read, told apart by their first bytes, not by their names: PyTorch's
zip archive (since version 1.6) and its row of pickles (before), and safetensors. A
pickle can run any code in Python's own unpickler; these never meet it, they are
evaluated by :mod:`.torch_pickle`, which can do nothing but describe tensors.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors

from cawe_jax.classifiers.element_types import decode_elements
from cawe_jax.classifiers.torch_format import read_legacy, read_zip
from cawe_jax.classifiers.torch_pickle import Tensor

MAX_FILE_BYTES = 8 * 2**30
"""Largest checkpoint. Reading takes three times its size, six in half precision."""

MAX_HEADER_BYTES = 4 * 2**20
"""Largest header of a safetensors file; ten thousand tensors need one MiB. What Python
makes of a header takes thirty times its size."""

_AVERAGE = "; the published accuracy is mostly that of the average (ema)"


class Checkpoint(NamedTuple):
  """What was read of a file.

  Attributes:
    entry: Under which name a training checkpoint has it; None if it is all there is.
    tensors: Names and contiguous arrays, in the file's order: every floating type as
      float32, other types as they are.
  """

  entry: str | None
  tensors: dict[str, np.ndarray]


def read_checkpoint(
  path: str | os.PathLike[str],
  *,
  sha256_prefix: str | None = None,
  entry: str | None = None,
) -> dict[str, np.ndarray]:
  """The tensors of :func:`open_checkpoint`, with the same arguments.

  Example:
    >>> import safetensors.numpy, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "weights")
    >>> safetensors.numpy.save_file({"bias": np.ones(2, np.float16)}, path)
    >>> read_checkpoint(path)
    {'bias': array([1., 1.], dtype=float32)}
  """
  return open_checkpoint(path, sha256_prefix=sha256_prefix, entry=entry).tensors


def open_checkpoint(
  path: str | os.PathLike[str],
  *,
  sha256_prefix: str | None = None,
  entry: str | None = None,
) -> Checkpoint:
  """Read named tensors; nothing in the file is executed.

  A training checkpoint has the state dictionary as one of its entries, often ``model``
  or ``state_dict``. If there is one, it is read; what stands beside it (an epoch, an
  optimiser) is left out. If there are several, one must be named: an average of the
  weights over the training, as timm's ``state_dict_ema``, is another network. Objects
  of other classes are refused wherever they stand.

  Args:
    path: A PyTorch file, legacy or zip, or a safetensors file, of at most 8 GiB.
    sha256_prefix: At least the first 8 hexadecimal digits of the file's SHA-256, by
      which PyTorch ends file names, as ``resnet18-f37072fd.pth``; None checks nothing.
    entry: Name of the state dictionary in a training checkpoint; of an
      average with entries both names, ``model_ema.module``.

  Raises:
    ValueError: The file is missing, has another hash, is truncated or damaged, holds
      anything but tensors by name, has several state dictionaries or not the one that
      is named, or asks for more memory than it has bytes for.
  """
  name = os.fspath(path)
  if sha256_prefix is not None and not re.fullmatch("[0-9a-f]{8,64}", sha256_prefix):
    raise ValueError(
      f"sha256_prefix must be 8 to 64 lower-case hex digits, got {sha256_prefix!r}"
    )
  data = _read_file(path)
  if sha256_prefix is not None and _reader(data[:9]):
    digest = hashlib.sha256(data).hexdigest()
    if not digest.startswith(sha256_prefix):
      raise ValueError(
        f"checkpoint {name!r}: SHA-256 must start with {sha256_prefix}, got {digest}"
      )
  try:
    checkpoint = _parse(data, entry)
    _check_names(checkpoint.tensors)
    return checkpoint
  # Damaged files raise almost any type, from EOFError to UnicodeDecodeError.
  except Exception as error:
    detail = " ".join(str(error).split())[:300] or type(error).__name__
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
    with Path(path).open("rb") as file:
      start = file.read(9)
      file.seek(0)
      # Of what is no checkpoint the start says so; the rest may be gigabytes.
      return file.read() if _reader(start) else start
  except OSError as error:
    raise ValueError(
      f"checkpoint {name!r}: cannot be read ({error.strerror})"
    ) from None


def _parse(data: bytes, entry: str | None) -> Checkpoint:
  read = _reader(data[:9])
  if read is None:
    raise ValueError("neither a PyTorch nor a safetensors file")
  return read(data, entry)


def _reader(start: bytes) -> Callable[[bytes, str | None], Checkpoint] | None:
  """How to read a file, by its first nine bytes; None if there is no way."""
  # First, because the length before the brace may begin like a pickle; no file of
  # PyTorch has a brace there.
  if start[8:] == b"{":
    return _read_safetensors_file
  if start.startswith(b"PK\x03\x04"):
    return functools.partial(_read_torch_file, read_zip)
  if start.startswith(b"\x80"):  # the first instruction of a pickle
    return functools.partial(_read_torch_file, read_legacy)
  return None


def _read_safetensors_file(data: bytes, entry: str | None) -> Checkpoint:
  if entry is not None:
    raise ValueError(f"a safetensors file has no entries, so none is {entry!a}")
  return Checkpoint(None, _read_safetensors(data))


def _read_torch_file(
  read: Callable[..., dict[str, np.ndarray]], data: bytes, entry: str | None
) -> Checkpoint:
  found: list[str | None] = []

  def select(content: Any) -> dict[str, Tensor]:
    name, tensors = _state_dictionary(content, entry)
    found.append(name)
    return tensors

  tensors = read(data, select)
  return Checkpoint(found[0], tensors)


def _state_dictionary(
  content: Any, entry: str | None
) -> tuple[str | None, dict[str, Tensor]]:
  """The named tensors in what a PyTorch file holds, and the name of their entry."""
  if not isinstance(content, dict):
    raise ValueError(f"holds a {type(content).__name__}, not a state dictionary")
  found = _entries(content)
  names = list(found)
  if entry is None and len(names) > 1:
    raise ValueError(
      f"holds several state dictionaries: {', '.join(map(ascii, names))}; name the one "
      f"that is wanted (--entry){_AVERAGE if any(map(_is_average, names)) else ''}"
    )
  if entry is not None and entry not in names:
    held = ", ".join(map(ascii, names)) or "none"
    raise ValueError(f"has no state dictionary {entry!a}; its entries that are: {held}")
  name = entry if entry is not None else next(iter(names), None)
  tensors = content if name is None else found[name]
  for key, tensor in tensors.items():
    if not (isinstance(key, str) and isinstance(tensor, Tensor)):
      raise ValueError(f"entry {key!a} is not a named tensor")
  return name, tensors


def _entries(content: dict[Any, Any]) -> dict[str, Any]:
  """The state dictionaries among the entries, and of averages also theirs.

  An average may keep its weights beside its decay, as ``model_ema.module``; what an
  optimiser keeps is no network.
  """
  found: dict[str, Any] = {}
  for key, value in content.items():
    if _has_tensors(value):
      found[key] = value
    elif isinstance(value, dict) and _is_average(key):
      found |= {f"{key}.{k}": v for k, v in value.items() if _has_tensors(v)}
  return found


def _has_tensors(value: Any) -> bool:
  """Whether an entry is a state dictionary, which has tensors by name."""
  if not isinstance(value, dict):
    return False
  return any(isinstance(tensor, Tensor) for tensor in value.values())


def _is_average(name: Any) -> bool:
  return "ema" in str(name)


def _check_names(names: Iterable[str]) -> None:
  """Names are shown in errors, where control characters would command a terminal."""
  for name in names:
    if not name.isprintable():
      raise ValueError(f"tensor name {name!a} is not printable")


def _read_safetensors(data: bytes) -> dict[str, np.ndarray]:
  """The library checks the header: all offsets in the file, without gap or overlap."""
  size = int.from_bytes(data[:8], "little")
  if size > MAX_HEADER_BYTES:
    raise ValueError(
      f"its header has {size} bytes, allowed are at most {MAX_HEADER_BYTES}"
    )
  return {
    name: decode_elements(tensor["data"], tensor["dtype"]).reshape(tensor["shape"])
    for name, tensor in safetensors.deserialize(data)
  }
