"""Compiled programs: kept between runs, given up, and the time that they take."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from cawe_jax.files.cache import cache_dir

MAX_CACHE_BYTES = 2 * 2**30
"""Compiled programs that are kept on the disk; of more, the oldest go."""


def enable_compilation_cache() -> Path | None:
  """Keep compiled programs on disk, so that the next process does not compile again.

  The commands do so by themselves. In Python it is left to the caller, since it changes
  JAX's configuration for all programs of the process, and writes files: they are in
  ``$CAWE_CACHE/programs``, by default ``~/.cache/cawe_jax/programs``, may be removed at
  any time, and are found again by equal programs alone. Call it at the start; programs
  that were compiled before are not kept. The folder holds at most 2 GiB; the oldest
  programs go first.

  Returns:
    The folder; None where it cannot be made, or the user has no home folder, and then
    nothing happens.

  Example:
    >>> folder = enable_compilation_cache()  # doctest: +SKIP
  """
  try:
    folder = cache_dir() / "programs"
    folder.mkdir(parents=True, exist_ok=True)
  except (OSError, RuntimeError):
    return None  # slower, not wrong
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.02)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
  tidy_compilation_cache()
  # JAX looks for a folder once, at the first program of a process.
  compilation_cache.reset_cache()
  return folder


def tidy_compilation_cache() -> None:
  """Remove the oldest programs beyond the limit, and those that a full disk left empty.

  JAX never replaces a file, so an empty one would be read in vain for ever. A folder
  that :func:`enable_compilation_cache` did not choose stays as it is.
  """
  folder = cache_dir() / "programs"
  if jax.config.values["jax_compilation_cache_dir"] != str(folder):
    return
  kept = []
  # There may be tens of thousands, at the start of every command.
  with os.scandir(folder) as entries:
    for entry in entries:
      with contextlib.suppress(OSError):  # Another process may tidy as well.
        status = entry.stat()
        if status.st_size:
          kept.append((status.st_mtime, status.st_size, entry.path))
        else:
          os.unlink(entry.path)
  total = sum(size for _, size, _ in kept)
  for _, size, path in sorted(kept):
    if total <= MAX_CACHE_BYTES:
      return
    with contextlib.suppress(OSError):
      os.unlink(path)
    total -= size


@contextmanager
def compilation_that_asks(check: Callable[[], None]) -> Iterator[None]:
  """Calls ``check`` between the parts of compiling, in this thread, inside the block.

  A program is traced, lowered and compiled, and JAX reports each. What ``check`` raises
  ends the compilation there; one part cannot be interrupted.

  Example:
    >>> def check():
    ...   raise TimeoutError
    >>> try:
    ...   with compilation_that_asks(check):
    ...     jax.jit(lambda x: x + 2)(1.0)
    ... except TimeoutError:
    ...   print("given up")
    given up
  """
  thread = threading.get_ident()

  def started(event: str, **kwargs: str | int) -> None:
    if threading.get_ident() == thread and event.startswith(_PARTS):
      check()

  def finished(event: str, duration_secs: float, **kwargs: str | int) -> None:
    started(event)

  jax.monitoring.register_event_listener(started)
  jax.monitoring.register_event_duration_secs_listener(finished)
  try:
    yield
  finally:
    jax.monitoring.unregister_event_listener(started)
    jax.monitoring.unregister_event_duration_listener(finished)


def collect_garbage_rarely() -> None:
  """Look for unused cycles of objects less often, for the whole process.

  Tracing makes hundreds of thousands of objects that stay, and Python's collector reads
  them over and over: it takes a tenth of the time until a run starts.
  """
  gc.set_threshold(100_000)


_PARTS = ("/jax/core/compile/", "/jax/compilation_cache/compile_requests")


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
