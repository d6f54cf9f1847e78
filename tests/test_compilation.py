"""Compiled programs are kept between calls, and compiling is timed apart."""

import os
import threading

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

import cawe_jax
from cawe_jax.files import compilation
from cawe_jax.files.compilation import (
  compilation_that_asks,
  compile_clock,
  enable_compilation_cache,
)

_OPTIONS = (
  "jax_compilation_cache_dir",
  "jax_persistent_cache_min_compile_time_secs",
  "jax_persistent_cache_min_entry_size_bytes",
)


@pytest.fixture
def restored_options():
  before = {name: getattr(jax.config, name) for name in _OPTIONS}
  yield
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


def test_the_command_keeps_compiled_programs(tmp_path, monkeypatch, restored_options):
  monkeypatch.setenv("CAWE_CACHE", str(tmp_path))
  enable_compilation_cache()
  assert jax.config.jax_compilation_cache_dir == str(tmp_path / "programs")
  assert (tmp_path / "programs").is_dir()
  # The smallest program, a run's start, takes 70 ms.
  assert jax.config.jax_persistent_cache_min_compile_time_secs < 0.05


def test_python_finds_programs_again(tmp_path, monkeypatch, restored_options):
  """Also where something was compiled before without a cache."""
  jax.config.update("jax_compilation_cache_dir", None)
  compilation_cache.reset_cache()
  jax.jit(lambda x: x + 41)(1.0)
  monkeypatch.setenv("CAWE_CACHE", str(tmp_path))
  folder = cawe_jax.enable_compilation_cache()
  assert folder == tmp_path / "programs"
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  assert jax.jit(lambda x: x + 42)(1.0) == 43
  kept = {path.name for path in folder.iterdir()}
  assert kept
  # Another function object, the same program.
  assert jax.jit(lambda x: x + 42)(1.0) == 43
  assert {path.name for path in folder.iterdir() if "atime" not in path.name} <= kept


def test_an_impossible_cache_is_no_error(tmp_path, monkeypatch, restored_options):
  (tmp_path / "file").touch()
  monkeypatch.setenv("CAWE_CACHE", str(tmp_path / "file"))
  before = jax.config.jax_compilation_cache_dir
  assert enable_compilation_cache() is None
  assert jax.config.jax_compilation_cache_dir == before


def test_the_clock_counts_compiling_and_nothing_after():
  double = jax.jit(lambda x: 2 * x)
  with compile_clock() as clock:
    double(jnp.ones(3))
  assert clock.seconds > 0
  counted = clock.seconds
  jax.jit(lambda x: 3 * x)(jnp.ones(3))
  assert clock.seconds == counted


def test_the_oldest_programs_go_and_so_do_empty_files(
  tmp_path, monkeypatch, restored_options
):
  """A full disk leaves empty files, which JAX reads in vain and never replaces."""
  folder = tmp_path / "programs"
  folder.mkdir()
  for age, name in enumerate(["new", "newer", "newest", "empty"][::-1]):
    (folder / name).write_bytes(b"" if name == "empty" else bytes(40))
    os.utime(folder / name, (1e9 - age, 1e9 - age))
  monkeypatch.setattr(compilation, "MAX_CACHE_BYTES", 100)
  monkeypatch.setenv("CAWE_CACHE", str(tmp_path))
  compilation.tidy_compilation_cache()  # Not ours yet.
  assert len(list(folder.iterdir())) == 4
  enable_compilation_cache()
  assert {path.name for path in folder.iterdir()} == {"newer", "newest"}


class Left(Exception):
  pass


def test_compiling_is_given_up_between_its_parts():
  """Neither before it began nor after it is done, and in no other thread."""
  asked, traced = 0, []

  def check():
    nonlocal asked
    asked += 1
    if asked == after:
      raise Left

  def count_parts():
    nonlocal asked
    asked = 0
    program = jax.jit(lambda x: traced.append(x) or jnp.sin(4 * x))
    with compilation_that_asks(check):
      program(1.0)
    return asked

  after = None
  parts = count_parts()
  assert parts >= 3  # It is traced, lowered and compiled.
  for part in range(1, parts + 1):
    after = part
    with pytest.raises(Left):
      count_parts()
  assert len(traced) == parts + 1
  with compilation_that_asks(check):
    asked, after = 0, 1
    other = threading.Thread(target=jax.jit(lambda x: jnp.cos(5 * x)), args=(1.0,))
    other.start()
    other.join()
  assert asked == 0


def test_no_home_folder_is_no_error(monkeypatch, restored_options):
  """As in containers, whose user may have no entry in the list of users."""

  def unknown(user):
    raise KeyError(user)

  for name in ("CAWE_CACHE", "XDG_CACHE_HOME", "HOME"):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setattr("pwd.getpwuid", unknown)
  before = jax.config.jax_compilation_cache_dir
  enable_compilation_cache()
  assert jax.config.jax_compilation_cache_dir == before
  monkeypatch.setenv("CAWE_CACHE", "~nobody-of-that-name/cache")
  enable_compilation_cache()
  assert jax.config.jax_compilation_cache_dir == before
