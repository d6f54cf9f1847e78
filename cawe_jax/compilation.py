"""Compiled programs: kept between runs, and the time that they take."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import jax

from cawe_jax.cache import cache_dir


def use_compilation_cache() -> None:
  """Keep compiled programs, so that the next run does not compile again.

  It changes jax's configuration, so it is for programs, not for the library. Where the
  folder cannot be made, nothing happens.
  """
  folder = cache_dir() / "programs"
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError:
    return  # slower, not wrong
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.02)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def collect_garbage_rarely() -> None:
  """Look for unused cycles of objects less often, for the whole process.

  Tracing makes hundreds of thousands of objects that stay, and Python's collector reads
  them over and over: it takes a tenth of the time until a run starts.
  """
  gc.set_threshold(100_000)


@dataclasses.dataclass
class Clock:
  """Seconds spent on tracing and compiling."""

  seconds: float = 0.0


@contextmanager
def compile_clock() -> Iterator[Clock]:
  """Counts what tracing and compiling take inside the block.

  Example:
    >>> with compile_clock() as clock:
    ...   _ = jax.jit(lambda x: x + 1)(1.0)
    >>> clock.seconds > 0
    True
  """
  clock = Clock()

  def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
    if event.startswith("/jax/core/compile/"):
      clock.seconds += duration_secs

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    yield clock
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
