"""A cache that is written once, survives damage and never stops a run."""

import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from cawe_jax.classifiers import weight_cache
from cawe_jax.files import cache

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
  assert_same(weight_cache.cached_safetensors("lite0-v1.2", build), ARRAYS)
  assert_same(weight_cache.cached_safetensors("lite0-v1.2", never_build), ARRAYS)
  # The temporary file is gone.
  assert os.listdir(tmp_path / "deep" / "cache") == ["lite0-v1.2.safetensors"]


@pytest.mark.parametrize("keep", [0, 4, 30, -1])
def test_damaged_cache_is_rebuilt(keep, tmp_path, monkeypatch):
  monkeypatch.setenv("CAWE_CACHE", str(tmp_path))
  path = tmp_path / "key.safetensors"
  whole = safetensors.numpy.save({"stale": np.ones(3, np.float32)})
  path.write_bytes(whole[:keep])
  assert_same(weight_cache.cached_safetensors("key", build), ARRAYS)
  assert_same(weight_cache.cached_safetensors("key", never_build), ARRAYS)
  path.write_bytes(os.urandom(100))
  assert_same(weight_cache.cached_safetensors("key", build), ARRAYS)


def test_unwritable_cache_is_no_error(tmp_path, monkeypatch):
  (tmp_path / "file").touch()
  monkeypatch.setenv("CAWE_CACHE", str(tmp_path / "file"))
  assert_same(weight_cache.cached_safetensors("key", build), ARRAYS)
  # A folder where the file should be.
  monkeypatch.setenv("CAWE_CACHE", str(tmp_path))
  (tmp_path / "key.safetensors").mkdir()
  assert_same(weight_cache.cached_safetensors("key", build), ARRAYS)

  def homeless():
    raise RuntimeError("Could not determine home directory.")

  monkeypatch.setattr(cache, "cache_dir", homeless)
  assert_same(weight_cache.cached_safetensors("key", build), ARRAYS)


def test_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
  monkeypatch.setenv("CAWE_CACHE", str(tmp_path))

  def full(source, target):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "replace", full)
  assert_same(weight_cache.cached_safetensors("key", build), ARRAYS)
  assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("key", ["", "../x", "a/b", ".hidden", "a..b", "a\n", "ä"])
def test_bad_keys(key):
  with pytest.raises(ValueError, match="key must be letters") as error:
    weight_cache.cached_safetensors(key, never_build)
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
