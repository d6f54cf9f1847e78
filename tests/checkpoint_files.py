"""Checkpoints written byte by byte, in both formats of PyTorch."""

import collections
import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from cawe_jax.classifiers import checkpoints

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}


class Global:
  """Pickled as the name of a global, which need not exist here."""

  def __init__(self, module, name):
    self.module, self.name = module, name


class Call:
  """Pickled as a call of a global on arguments."""

  def __init__(self, function, *arguments):
    self.function, self.arguments = function, arguments


class Reference:
  """Pickled as a persistent id."""

  def __init__(self, *pid):
    self.pid = pid


class Writer(pickle._Pickler):
  """The pure Python pickler, taught to write names that it cannot import."""

  def persistent_id(self, value):
    return value.pid if isinstance(value, Reference) else None

  def save(self, value, save_persistent_id=True):
    if isinstance(value, Global):
      self.write(f"c{value.module}\n{value.name}\n".encode())
    elif isinstance(value, Call):
      self.save(value.function)
      self.save(value.arguments)
      self.write(pickle.REDUCE)
    else:
      super().save(value, save_persistent_id)


def dump(value):
  file = io.BytesIO()
  Writer(file, 2).dump(value)
  return file.getvalue()


REBUILD = Global("torch._utils", "_rebuild_tensor_v2")
FLOAT = Global("torch", "FloatStorage")


def tensor(key, size, shape, strides, offset=0, storage_type=FLOAT):
  storage = Reference("storage", storage_type, key, "cpu", size, None)
  return Call(
    REBUILD, storage, offset, shape, strides, False, collections.OrderedDict()
  )


def legacy(tensors, storages, system=SYSTEM):
  """A file with the given object and raw storages by key, as before PyTorch 1.6."""
  head = dump(MAGIC) + dump(PROTOCOL) + dump(system) + dump(tensors)
  return (
    head
    + dump(list(storages))
    + b"".join(
      struct.pack("<q", array.size) + array.tobytes() for array in storages.values()
    )
  )


def zipped(tensors, storages, root="archive", **others):
  """The same as PyTorch 1.6 and later write it."""
  entries = {
    "data.pkl": tensors if isinstance(tensors, bytes) else dump(tensors),
    "byteorder": b"little",
    **{f"data/{key}": array.tobytes() for key, array in storages.items()},
    "version": b"3\n",
    **others,
  }
  return archive({f"{root}/{name}": content for name, content in entries.items()})


def archive(entries, compression=zipfile.ZIP_STORED):
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w", compression) as writer:
    for name, content in entries.items():
      writer.writestr(name, content)
  return file.getvalue()


def read(data, tmp_path):
  path = tmp_path / "weights.pth"
  path.write_bytes(data)
  return checkpoints.read_checkpoint(path)


def refused(data, tmp_path, match):
  with pytest.raises(ValueError, match=match) as error:
    read(data, tmp_path)
  assert "\n" not in str(error.value)
  assert str(error.value).startswith("checkpoint '")
  assert error.value.__cause__ is None


NUMBERS = np.arange(24, dtype="<f4")
LONG = Global("torch", "LongStorage")
CONTENT = (
  {
    "plain": tensor("a", 24, (2, 3, 4), (12, 4, 1)),
    "transposed": tensor("a", 24, (4, 6), (1, 4)),
    "part": tensor("a", 24, (3, 2), (8, 2), offset=5),
    "count": tensor("b", 1, (), (), storage_type=LONG),
    "empty": tensor("c", 0, (0, 3), (3, 1)),
  },
  {"b": np.array([2**40], "<i8"), "c": NUMBERS[:0], "a": NUMBERS},
)
FORMATS = {"legacy": legacy, "zip": zipped}
SMALL = {name: write(*CONTENT) for name, write in FORMATS.items()}
both_formats = pytest.mark.parametrize("write", FORMATS.values(), ids=list(FORMATS))
SAFETENSORS = safetensors.numpy.save({"w": NUMBERS, "b": NUMBERS[:3] * 2})
