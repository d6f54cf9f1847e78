"""Compiled programs are kept between calls, and compiling is timed apart."""

import jax
import jax.numpy as jnp
import pytest

from cawe_jax.compilation import compile_clock, use_compilation_cache

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


def test_the_command_keeps_compiled_programs(tmp_path, monkeypatch, restored_options):
  monkeypatch.setenv("CAWE_CACHE", str(tmp_path))
  use_compilation_cache()
  assert jax.config.jax_compilation_cache_dir == str(tmp_path / "programs")
  assert (tmp_path / "programs").is_dir()
  # The smallest program, a run's start, takes 70 ms.
  assert jax.config.jax_persistent_cache_min_compile_time_secs < 0.05


def test_an_impossible_cache_is_no_error(tmp_path, monkeypatch, restored_options):
  (tmp_path / "file").touch()
  monkeypatch.setenv("CAWE_CACHE", str(tmp_path / "file"))
  before = jax.config.jax_compilation_cache_dir
  use_compilation_cache()
  assert jax.config.jax_compilation_cache_dir == before


def test_the_clock_counts_compiling_and_nothing_after():
  double = jax.jit(lambda x: 2 * x)
  with compile_clock() as clock:
    double(jnp.ones(3))
  assert clock.seconds > 0
  counted = clock.seconds
  jax.jit(lambda x: 3 * x)(jnp.ones(3))
  assert clock.seconds == counted
