"""PyTorch's two file formats, as bytes in memory to arrays.

Since version 1.6 a checkpoint is a zip archive whose entries are stored, not
compressed: ``ROOT/data.pkl`` is the object, ``ROOT/data/KEY`` the elements of each
storage, and ``ROOT/byteorder`` may say ``little``. Before, it was a row of pickles
followed by raw elements:

1. a magic number, the protocol version 1001, and a description of the machine;
2. the object;
3. the list of storage keys; then per key an int64 element count and the elements.

In the object each tensor is a call of ``_rebuild_tensor_v2`` on a storage, named by a
persistent id (:mod:`.torch_pickle`). It is only described there; here it is cut from
its storage, after every bound has been checked.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from cawe_jax.classifiers.element_types import decode_elements, num_bytes
from cawe_jax.classifiers.torch_pickle import Storage, Tensor, evaluate

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
_MAX_DIMENSIONS = 64  # NumPy's limit
_ENCRYPTED = 1  # flag bit of a zip entry
# Where tensors share storages they together exceed the file; tied weights, the common
# case, at most double it. Half precision is doubled once more when read.
_LARGEST_GROWTH = 4

Select = Callable[[Any], dict[str, Tensor]]
"""Finds the tensors wanted in the object that a file holds."""


def read_zip(data: bytes, select: Select) -> dict[str, np.ndarray]:
  """The selected tensors of a file of PyTorch 1.6 or later.

  Args:
    data: The whole file.
    select: From the object to its named tensors.

  Returns:
    Names and contiguous arrays, in the object's order.

  Raises:
    ValueError: The archive or the object is not as PyTorch writes it.
    Exception: Damaged files raise almost any type.
  """
  with zipfile.ZipFile(io.BytesIO(data)) as archive:
    entries = _checked_entries(archive, len(data))
    objects = [name for name in entries if re.fullmatch(r"[^/]+/data\.pkl", name)]
    if len(objects) != 1:
      raise ValueError(f"a zip file with {len(objects)} objects, not one of PyTorch")
    root = objects[0].removesuffix("data.pkl")
    order = entries.get(f"{root}byteorder")
    if order is not None and archive.read(order) != b"little":
      raise ValueError("not little-endian")
    content = evaluate(io.BytesIO(archive.read(entries[objects[0]])))
    tensors = select(content.value)
    storages = {}
    for key in _keys(tensors, len(data)):
      _, element_type, num_elements = content.storages[key]
      entry = entries.get(f"{root}data/{key}")
      if entry is None:
        raise ValueError(f"storage {key!a} is missing")
      if entry.file_size != num_bytes(element_type, num_elements):
        raise ValueError(f"storage {key!a} is of another size than declared")
      raw = archive.read(entry)
      # The index states the length twice, and what is read is the shorter.
      if len(raw) != entry.file_size:
        raise ValueError(f"storage {key!a} is truncated")
      storages[key] = decode_elements(raw, element_type)
  return {name: _cut(t, storages[t.storage.key]) for name, t in tensors.items()}


def read_legacy(data: bytes, select: Select) -> dict[str, np.ndarray]:
  """The selected tensors of a file of PyTorch before 1.6; as :func:`read_zip`."""
  file = io.BytesIO(data)
  if evaluate(file).value != _MAGIC_NUMBER or evaluate(file).value != _PROTOCOL_VERSION:
    raise ValueError("not a PyTorch checkpoint in the legacy format")
  if evaluate(file).value.get("little_endian") is not True:
    raise ValueError("not little-endian")
  content = evaluate(file)
  tensors = select(content.value)
  wanted = _keys(tensors, len(data))
  keys = evaluate(file).value
  # Texts alone: comparing two nested lists can take exponential time.
  if not all(type(key) is str for key in keys):
    raise ValueError("a storage key is not text")
  if sorted(keys) != sorted(content.storages):
    raise ValueError("storages do not match the tensors")
  storages = {}
  for key in keys:
    _, element_type, num_elements = content.storages[key]
    if file.read(8) != num_elements.to_bytes(8, "little"):
      raise ValueError(f"storage {key!a} is truncated or of another size")
    length = num_bytes(element_type, num_elements)
    raw = memoryview(data)[file.tell() : file.tell() + length]
    if len(raw) != length:
      raise ValueError(f"storage {key!a} is truncated")
    if key in wanted:
      storages[key] = decode_elements(raw, element_type)
    file.seek(length, io.SEEK_CUR)
  if file.read(1):
    raise ValueError("bytes after the last storage")
  return {name: _cut(t, storages[t.storage.key]) for name, t in tensors.items()}


def _checked_entries(
  archive: zipfile.ZipFile, num_bytes_of_file: int
) -> dict[str, zipfile.ZipInfo]:
  """Entries by name. Nothing in a checkpoint is compressed, so nothing can swell."""
  entries: dict[str, zipfile.ZipInfo] = {}
  for entry in archive.infolist():
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
      raise ValueError(f"entry {entry.filename!a} is compressed or encrypted")
    if entry.filename in entries:
      raise ValueError(f"entry {entry.filename!a} occurs twice")
    entries[entry.filename] = entry
  # Several entries may claim the same bytes.
  if sum(entry.file_size for entry in entries.values()) > num_bytes_of_file:
    raise ValueError("its entries are larger than the file")
  return entries


def _keys(tensors: dict[str, Tensor], num_bytes_of_file: int) -> set[str]:
  """The storages of the tensors, once all sizes are known to be in bounds."""
  total = 0
  for name, tensor in tensors.items():
    storage, offset, shape, strides = tensor
    if not isinstance(storage, Storage):
      raise ValueError(f"tensor {name!a} has no storage")
    sizes = (offset, *shape, *strides)
    valid = len(shape) == len(strides) <= _MAX_DIMENSIONS
    if not (valid and all(type(n) is int and n >= 0 for n in sizes)):
      raise ValueError(f"tensor {name!a} has an invalid shape, stride or offset")
    steps = zip(shape, strides, strict=True)
    end = offset + sum((n - 1) * step for n, step in steps) + 1
    # The product also forbids stride 0, by which a few bytes could ask for terabytes.
    elements, available = math.prod(shape), storage.num_elements
    if elements > available or (elements and end > available):
      raise ValueError(f"tensor {name!a} lies outside its storage")
    total += num_bytes(storage.element_type, elements)
  if total > _LARGEST_GROWTH * num_bytes_of_file:
    raise ValueError(
      f"its tensors overlap and make {total} bytes of {num_bytes_of_file}"
    )
  return {tensor.storage.key for tensor in tensors.values()}


def _cut(tensor: Tensor, storage: np.ndarray) -> np.ndarray:
  """A contiguous copy of a tensor; NumPy checks once more that it lies inside."""
  if 0 in tensor.shape:
    return np.empty(tensor.shape, storage.dtype)
  view = np.ndarray(
    tensor.shape,
    storage.dtype,
    storage.data,
    tensor.offset * storage.itemsize,
    [step * storage.itemsize for step in tensor.strides],
  )
  return np.array(view, order="C")
