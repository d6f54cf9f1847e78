"""PyTorch checkpoints without PyTorch, and a cache for what is made of them.

PyTorch's legacy file (before version 1.6) is a row of pickles followed by raw numbers:

1. a magic number, the protocol version 1001, and a description of the machine;
2. the object, in which each tensor is a call of ``_rebuild_tensor_v2`` on a storage
   named by a persistent id;
3. the list of storage keys; then per key an int64 element count and the elements.

A pickle can run any code, so two locks are put before it: the file's SHA-256 must be
the expected one, and the unpickler knows four names, none of which does anything
(tensors are only described while unpickling and cut from their storages afterwards).
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import io
import math
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from cawe_jax import cache, files

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
_DTYPES: dict[str, np.dtype] = {
  "FloatStorage": np.dtype("<f4"),
  "LongStorage": np.dtype("<i8"),
}


def read_legacy_checkpoint(
  path: str | os.PathLike[str], *, sha256_prefix: str
) -> dict[str, np.ndarray]:
  """Read a state dictionary in PyTorch's legacy format; nothing in it is executed.

  Args:
    path: The file; PyTorch's convention ends its name with the hash's start,
      ``efficientnet-lite0-57934424.pth``.
    sha256_prefix: At least the first 8 hexadecimal digits of the file's SHA-256.

  Returns:
    Parameter names and arrays, float32 or int64, in the file's order.

  Raises:
    ValueError: The file is missing, has another hash, is truncated or damaged, or holds
      anything but float32 and int64 tensors by name.
  """
  name = os.fspath(path)
  if not re.fullmatch("[0-9a-f]{8,64}", sha256_prefix):
    raise ValueError(
      f"sha256_prefix must be 8 to 64 lower-case hex digits, got {sha256_prefix!r}"
    )
  try:
    data = Path(path).read_bytes()
  except OSError as error:
    raise ValueError(
      f"checkpoint {name!r}: cannot be read ({error.strerror})"
    ) from None
  digest = hashlib.sha256(data).hexdigest()
  if not digest.startswith(sha256_prefix):
    raise ValueError(
      f"checkpoint {name!r}: SHA-256 must start with {sha256_prefix}, got {digest}"
    )
  try:
    return _parse(data)
  # Damaged pickles raise almost any type, from EOFError to UnicodeDecodeError.
  except Exception as error:
    detail = " ".join(str(error).split())[:200] or type(error).__name__
    raise ValueError(f"checkpoint {name!r}: cannot be read ({detail})") from None


def cached_safetensors(
  key: str, build: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
  """Read arrays from the cache, or build them and keep them there.

  The file appears in one step, so that a run beside this one never sees half of it. One
  that does not parse is built anew; a folder that cannot be written is no error.

  Args:
    key: Name of the file in :func:`cawe_jax.cache.cache_dir`, without the suffix
      ``.safetensors``; letters, digits, ``_``, ``-`` and inner dots. It should change
      whenever ``build`` would return something else.
    build: Makes the arrays; called only when the cache does not have them.

  Returns:
    Names and arrays, equal bit for bit whether read or built.

  Raises:
    ValueError: The key is not a plain file name.
  """
  if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", key):
    raise ValueError(f"key must be letters, digits, '_', '-' and dots, got {key!r}")
  # RuntimeError: there is no home folder to put a cache into.
  with contextlib.suppress(OSError, RuntimeError, safetensors.SafetensorError):
    path = cache.cache_dir() / f"{key}.safetensors"
    return safetensors.numpy.load(path.read_bytes())
  arrays = build()
  # safetensors writes an array's memory as it lies, transposed arrays too.
  contents = safetensors.numpy.save(
    {name: np.array(array, order="C") for name, array in arrays.items()}
  )
  with contextlib.suppress(OSError, RuntimeError):
    path = cache.cache_dir() / f"{key}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_write(path) as temporary:
      temporary.write_bytes(contents)
  return arrays


class _Storage(NamedTuple):
  """A row of numbers that follows later in the file."""

  key: str
  dtype: np.dtype
  num_elements: int


class _Tensor(NamedTuple):
  """A strided view of a storage, in elements; checked by :func:`_materialise`."""

  storage: Any
  offset: Any
  shape: Any
  strides: Any


class _RebuildTensor:
  """Stands for ``torch._utils._rebuild_tensor_v2``; no slot that a pickle could set."""

  __slots__ = ()

  def __call__(
    self,
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any,
    backward_hooks: Any,
  ) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


class _RestrictedUnpickler(pickle.Unpickler):
  """Knows four names and one kind of persistent id."""

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) == ("collections", "OrderedDict"):
      return collections.OrderedDict
    if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
      return _RebuildTensor()
    if module == "torch" and name in _DTYPES:
      return name  # A string: it can be neither called nor changed.
    raise ValueError(f"refused to load {module}.{name}")

  def persistent_load(self, pid: Any) -> _Storage:
    match pid:
      case ("storage", str(kind), str(key), str(), int(num_elements), None) if (
        kind in _DTYPES and num_elements >= 0
      ):
        return _Storage(key, _DTYPES[kind], num_elements)
    raise ValueError("storage reference of unknown form")


def _parse(data: bytes) -> dict[str, np.ndarray]:
  if data.startswith(b"PK"):
    raise ValueError("a zip file of PyTorch 1.6 or later, only legacy files are read")
  file = io.BytesIO(data)
  if _load(file) != _MAGIC_NUMBER or _load(file) != _PROTOCOL_VERSION:
    raise ValueError("not a PyTorch checkpoint in the legacy format")
  if _load(file).get("little_endian") is not True:
    raise ValueError("not little-endian")
  tensors = _load(file)
  if not isinstance(tensors, dict):
    raise ValueError(f"holds a {type(tensors).__name__}, not a state dictionary")
  for name, tensor in tensors.items():
    if not (isinstance(name, str) and isinstance(tensor, _Tensor)):
      raise ValueError(f"entry {name!r} is not a named tensor")
    if not isinstance(tensor.storage, _Storage):
      raise ValueError(f"tensor {name!r} has no storage")
  storages = _read_storages(file, {t.storage for t in tensors.values()})
  return {
    name: _materialise(name, tensor, storages[tensor.storage.key])
    for name, tensor in tensors.items()
  }


def _load(file: io.BytesIO) -> Any:
  return _RestrictedUnpickler(file).load()


def _read_storages(file: io.BytesIO, declared: set[_Storage]) -> dict[str, np.ndarray]:
  """Read all raw numbers, whose keys and sizes must be the declared ones."""
  by_key = {storage.key: storage for storage in declared}
  keys = _load(file)
  if len(by_key) != len(declared) or sorted(keys) != sorted(by_key):
    raise ValueError("storages do not match the tensors")
  storages = {}
  for key in keys:
    _, dtype, num_elements = by_key[key]
    if file.read(8) != num_elements.to_bytes(8, "little"):
      raise ValueError(f"storage {key!r} is truncated or of another size")
    raw = file.read(num_elements * dtype.itemsize)
    if len(raw) != num_elements * dtype.itemsize:
      raise ValueError(f"storage {key!r} is truncated")
    storages[key] = np.frombuffer(raw, dtype)
  if file.read(1):
    raise ValueError("bytes after the last storage")
  return storages


def _materialise(name: str, tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
  """Cut a tensor out of its storage as a contiguous copy, checking every bound."""
  _, offset, shape, strides = tensor
  sizes = (offset, *shape, *strides)
  if len(shape) != len(strides) or not all(type(n) is int and n >= 0 for n in sizes):
    raise ValueError(f"tensor {name!r} has an invalid shape, stride or offset")
  end = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + 1
  # The product also forbids stride 0, by which a few bytes could ask for terabytes.
  if math.prod(shape) > storage.size or (0 not in shape and end > storage.size):
    raise ValueError(f"tensor {name!r} lies outside its storage")
  if 0 in shape:
    return np.empty(shape, storage.dtype)
  view = np.lib.stride_tricks.as_strided(
    storage[offset:], shape, [step * storage.itemsize for step in strides]
  )
  return np.array(view, order="C")
