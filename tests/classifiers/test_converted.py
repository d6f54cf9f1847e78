"""Files of converted weights: what they carry, and what is refused."""

import json
import os
import struct

import numpy as np
import pytest
import safetensors
import safetensors.numpy

import cawe_jax
from cawe_jax.classifiers.converted import (
  Converted,
  is_converted,
  read_converted,
  save_converted,
)

KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3)
SOURCE = "57934424" * 8


@pytest.fixture
def path(tmp_path):
  path = tmp_path / "small.safetensors"
  params = {"stem/kernel": KERNEL.T, "stem/bias": np.array([0.1])}
  save_converted(path, Converted("small", SOURCE, params))
  return path


def test_what_is_written_comes_back(path):
  assert is_converted(path)
  read = read_converted(path, "small")
  assert (read.architecture, read.source_sha256) == ("small", SOURCE)
  assert sorted(read.params) == ["stem/bias", "stem/kernel"]
  # A transposed array is not written as it lies in memory.
  np.testing.assert_array_equal(read.params["stem/kernel"], KERNEL.T, strict=True)
  np.testing.assert_array_equal(read.params["stem/bias"], np.array([0.1], np.float32))


def test_other_programs_can_read_it(path):
  with safetensors.safe_open(path, "numpy") as file:
    assert file.metadata() == {
      "format": "cawe_jax classifier",
      "format_version": "1",
      "architecture": "small",
      "source_sha256": SOURCE,
      "cawe_jax": cawe_jax.__version__,
    }
    np.testing.assert_array_equal(file.get_tensor("stem/kernel"), KERNEL.T)


def test_another_architecture_is_refused(path):
  with pytest.raises(ValueError, match=r"weights '.*' are of 'small', not of 'large'$"):
    read_converted(path, "large")


def with_metadata(path, metadata):
  path.write_bytes(safetensors.numpy.save({"a": np.ones(2, np.float32)}, metadata))
  return path


def test_another_version_is_refused(tmp_path):
  metadata = {"format": "cawe_jax classifier", "format_version": "2"}
  path = with_metadata(tmp_path / "new.safetensors", metadata)
  with pytest.raises(ValueError, match="have format version '2', which this version"):
    read_converted(path, "small")


def test_other_files_are_not_converted_ones(tmp_path):
  path = tmp_path / "other.safetensors"
  header = json.dumps({"__metadata__": ["format"]}).encode()
  deep = b'{"__metadata__":' + b"[" * 100_000
  contents = [
    with_metadata(path, None).read_bytes(),
    with_metadata(path, {"format": "pt"}).read_bytes(),
    b"",
    b"PK\x03\x04",
    b"\x80\x02}.",
    b"\xff" * 100,
    struct.pack("<Q", len(header)) + header,
    struct.pack("<Q", len(deep)) + deep,
  ]
  for content in contents:
    path.write_bytes(content)
    assert not is_converted(path)
    with pytest.raises(ValueError, match="were not written by cawe convert") as error:
      read_converted(path, "small")
    assert "\n" not in str(error.value)


def test_truncated_files_are_refused(path):
  whole = path.read_bytes()
  for length in range(len(whole)):
    path.write_bytes(whole[:length])
    with pytest.raises(ValueError, match=r"cannot be read|were not") as error:
      read_converted(path, "small")
    assert "\n" not in str(error.value)


def test_missing_files_folders_and_pipes(tmp_path):
  with pytest.raises(ValueError, match=r"none': cannot be read \(No such file"):
    is_converted(tmp_path / "none")
  os.mkfifo(tmp_path / "pipe")
  for name in ("pipe", "."):
    assert not is_converted(tmp_path / name)


def test_an_interrupted_write_leaves_the_old_file(path, monkeypatch):
  before = path.read_bytes()

  def full(source, target):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "replace", full)
  with pytest.raises(OSError, match="No space left"):
    save_converted(path, Converted("other", SOURCE, {"a": KERNEL}))
  assert path.read_bytes() == before
  assert os.listdir(path.parent) == ["small.safetensors"]
