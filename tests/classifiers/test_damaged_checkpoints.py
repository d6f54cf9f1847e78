"""Files that contradict themselves, are cut off or changed are refused in one line."""

import io
import os
import struct
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from checkpoint_files import (
  CONTENT,
  FLOAT,
  NUMBERS,
  REBUILD,
  SAFETENSORS,
  SMALL,
  Call,
  Reference,
  archive,
  both_formats,
  dump,
  legacy,
  read,
  refused,
  tensor,
  zipped,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from cawe_jax.classifiers import checkpoints, torch_format
from cawe_jax.classifiers.torch_pickle import Storage, Tensor


@pytest.mark.parametrize(
  ("shape", "strides", "offset"),
  [
    ((25,), (1,), 0),
    ((24,), (1,), 1),
    ((2, 2), (20, 4), 0),
    ((1,), (1,), 24),
    ((), (), 24),
    ((10**9,), (0,), 0),
    ((10**9, 10**9), (1, 1), 0),
  ],
)
@both_formats
def test_tensors_outside_their_storage(write, shape, strides, offset, tmp_path):
  data = write({"w": tensor("a", 24, shape, strides, offset)}, {"a": NUMBERS})
  refused(data, tmp_path, "tensor 'w' lies outside its storage")


@pytest.mark.parametrize(
  ("shape", "strides", "offset"),
  [
    ((2,), (-1,), 5),
    ((-2,), (1,), 0),
    ((2,), (1,), -4),
    ((2,), (1, 1), 0),
    ((2.0,), (1,), 0),
    ((True,), (1,), 0),
    ((1,) * 65, (1,) * 65, 0),
  ],
)
@both_formats
def test_invalid_shapes(write, shape, strides, offset, tmp_path):
  data = write({"w": tensor("a", 24, shape, strides, offset)}, {"a": NUMBERS})
  refused(data, tmp_path, "tensor 'w' has an invalid shape, stride or offset")


WRONG = [
  ([tensor("a", 24, (24,), (1,))], "holds a list"),
  ({"w": 3}, "entry 'w' is not a named tensor"),
  ({3: tensor("a", 24, (24,), (1,))}, "entry 3 is not a named tensor"),
  ({"w": Call(REBUILD, 1, 0, (), (), False, None)}, "tensor 'w' has no storage"),
  ({"w": Reference("module", FLOAT, "a", "cpu", 24, None)}, "of unknown form"),
  ({"w": Reference("storage", "FloatStorage", "a", "cpu", 2, None)}, "unknown form"),
  ({"w": Reference("storage", FLOAT, "a", "cpu", 24, ("b", 0, 24))}, "unknown form"),
  ({"w": tensor("a", -1, (0,), (1,))}, "unknown form"),
  (
    {"w": tensor("a", 24, (24,), (1,)), "v": tensor("a", 12, (2,), (1,))},
    "storage 'a' is declared in two ways",
  ),
  ({"w": tensor("a", 23, (2,), (1,))}, "storage 'a' is .*of another size"),
  ({"w": tensor("b", 24, (24,), (1,))}, "storages do not match|'b' is missing"),
  ({"w": tensor("a", 2**40, (24,), (1,))}, "storage 'a' is .*of another size"),
  (
    {"w": Call(REBUILD, None, 0, (), (), False, None, {"conj": True})},
    "conjugated or negated",
  ),
]


@pytest.mark.parametrize(("value", "match"), WRONG)
@both_formats
def test_other_objects_are_refused(write, value, match, tmp_path):
  refused(write(value, {"a": NUMBERS}), tmp_path, match)


def test_what_surrounds_the_object_is_checked(tmp_path):
  content = {"w": tensor("a", 24, (24,), (1,))}, {"a": NUMBERS}
  refused(legacy(*content) + b"x", tmp_path, "bytes after the last storage")
  refused(legacy({}, {}, {"little_endian": False}), tmp_path, "not little-endian")
  refused(dump(7) + legacy(*content), tmp_path, "not a PyTorch checkpoint")
  refused(zipped(*content, byteorder=b"big"), tmp_path, "not little-endian")
  refused(archive({"readme.txt": b"hello"}), tmp_path, "zip file with 0 objects")
  two = {"a/data.pkl": dump({}), "b/data.pkl": dump({})}
  refused(archive(two), tmp_path, "zip file with 2 objects")
  refused(b"PK\x03\x04" + bytes(100), tmp_path, "not a zip file")
  refused(b"<!DOCTYPE html>", tmp_path, "neither a PyTorch nor a safetensors file")
  refused(b"", tmp_path, "neither a PyTorch nor a safetensors file")


def test_only_stored_entries_are_read(tmp_path):
  """A zip bomb swells when it is decompressed, or reads the same bytes many times."""
  content = dump({"w": tensor("a", 10**7, (10**7,), (1,))})
  bomb = {"x/data.pkl": content, "x/data/a": bytes(4 * 10**7)}
  refused(archive(bomb, zipfile.ZIP_DEFLATED), tmp_path, "is compressed or encrypted")
  encrypted = bytearray(zipped(*CONTENT))
  encrypted[encrypted.rindex(b"PK\x01\x02") + 8] |= 1
  refused(bytes(encrypted), tmp_path, "is compressed or encrypted")
  twice = io.BytesIO(zipped(*CONTENT))
  with zipfile.ZipFile(twice, "a") as writer, warnings.catch_warnings():
    warnings.simplefilter("ignore")
    writer.writestr("archive/data/a", NUMBERS.tobytes())
  refused(twice.getvalue(), tmp_path, "entry 'archive/data/a' occurs twice")


def test_overlapping_entries_are_refused(tmp_path):
  """Forty names in the index for one entry's bytes."""
  content = {f"w{i}": tensor(f"{i:02}", 100, (100,), (1,)) for i in range(40)}
  data = zipped(content, {"00": np.zeros(100, "<f4")})
  start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
  index = [b"PK\x01\x02" + x for x in data[start:end].split(b"PK\x01\x02")[1:]]
  (entry,) = [x for x in index if b"/data/00" in x]
  copies = [entry.replace(b"data/00", f"data/{i:02}".encode()) for i in range(1, 40)]
  count = len(index) + len(copies)
  size = end - start + sum(map(len, copies))
  tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, size, start, 0)
  forged = data[:start] + b"".join(index + copies) + tail
  refused(forged, tmp_path, "its entries are larger than the file")


def test_an_entry_shorter_than_the_index_says_is_refused(tmp_path):
  """Of its two lengths one sizes the tensor and the other what is read.

  As a strided view of too few bytes such a tensor showed the process's memory.
  """
  size = 10**6
  data = bytearray(zipped({"w": tensor("a", size, (size,), (1,))}, {"a": NUMBERS[:1]}))
  entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"archive/data/a"))
  struct.pack_into("<L", data, entry + 24, 4 * size)
  # The index may only promise what the file has bytes for.
  padded = b"PK\x03\x04" + bytes(4 * size) + bytes(data)
  refused(padded, tmp_path, "storage 'a' is truncated")


def test_a_view_is_checked_by_numpy_too():
  described = Tensor(Storage("a", "F32", 10**6), 0, (10**6,), (1,))
  with pytest.raises((TypeError, ValueError), match="buffer"):
    torch_format._cut(described, NUMBERS)


def test_names_of_entries_mean_nothing(tmp_path):
  """Nothing is unpacked, so that a path outside is a name like any other."""
  data = zipped(*CONTENT, **{"../../escape": b"x", "/etc/escape": b"x"})
  assert len(read(data, tmp_path)) == 5
  assert os.listdir(tmp_path) == ["weights.pth"]


@both_formats
def test_tensors_that_share_a_storage_are_bounded(write, tmp_path):
  numbers = np.zeros(10_000, "<f4")
  tied = {f"w{i}": tensor("a", 10_000, (100, 100), (100, 1)) for i in range(2)}
  assert len(read(write(tied, {"a": numbers}), tmp_path)) == 2
  many = {f"w{i}": tensor("a", 10_000, (100, 100), (100, 1)) for i in range(100)}
  refused(write(many, {"a": numbers}), tmp_path, "overlap and make 4000000 bytes of")


def test_large_files_and_pipes_are_refused_unread(tmp_path):
  path = tmp_path / "huge.pth"
  with path.open("wb") as file:
    file.truncate(checkpoints.MAX_FILE_BYTES + 1)  # Sparse: takes no room on disk.
  with pytest.raises(ValueError, match="8589934593 bytes, allowed are at most"):
    checkpoints.read_checkpoint(path)
  os.mkfifo(tmp_path / "pipe")
  with pytest.raises(ValueError, match="not a regular file"):
    checkpoints.read_checkpoint(tmp_path / "pipe")


WHOLE = {**SMALL, "safetensors": SAFETENSORS}


@pytest.mark.parametrize("name", WHOLE)
def test_truncated_at_every_length(name, tmp_path):
  for length in range(len(WHOLE[name])):
    refused(WHOLE[name][:length], tmp_path, "^checkpoint .* cannot be read")


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(
  st.sampled_from(sorted(WHOLE)),
  st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=5),
)
def test_damaged_files_are_read_or_refused(tmp_path_factory, name, changes):
  damaged = bytearray(WHOLE[name])
  for position, value in changes:
    damaged[position % len(damaged)] = value
  try:
    read(bytes(damaged), tmp_path_factory.getbasetemp())
  except ValueError as error:
    refusal = str(error)
    assert "\n" not in refusal


def test_changed_elements_of_a_zip_are_noticed(tmp_path):
  damaged = bytearray(SMALL["zip"])
  damaged[damaged.index(NUMBERS.tobytes()) + 3] ^= 1
  refused(bytes(damaged), tmp_path, "Bad CRC-32")


def test_a_header_that_takes_too_much_memory_is_refused(tmp_path, monkeypatch):
  """Read as Python's objects it takes thirty times its size."""
  header = b"{" + b" " * 2**20 + b"}"
  data = len(header).to_bytes(8, "little") + header
  monkeypatch.setattr(checkpoints, "MAX_HEADER_BYTES", 2**20)
  refused(data, tmp_path, f"its header has {len(header)} bytes, allowed are at most")


def test_what_is_no_checkpoint_is_not_read_whole(tmp_path):
  path = tmp_path / "sparse.pth"
  with path.open("wb") as file:
    file.truncate(2**32)  # Takes no room on the disk.
  for prefix in (None, "0" * 8):
    tracemalloc.start()
    with pytest.raises(ValueError, match="neither a PyTorch nor a safetensors file"):
      checkpoints.read_checkpoint(path, sha256_prefix=prefix)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
