"""How many settings the page keeps compiled programs for.

Each combination of method, wavelet, perturbation and distortion has programs of its
own, and there are thousands. They are kept for the last few: with the default network
the server has 510 MiB before the first and 1,456 after five
(``python -m experiments.bench.page_memory --settings 5``). A program that was dropped
is read from the disk when it is wanted again, which takes a second or two.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Callable, Hashable, Iterator

import jax

MAX_SETTINGS = 8
"""Settings whose programs are kept at once."""


class Programs:
  """Which settings have programs; those of all are dropped when there are too many.

  JAX can drop all of its programs or none. What compiling new ones took for a while,
  more than they need themselves, is returned to the system at once.

  Args:
    dropped: Called when the programs were dropped.

  Example:
    >>> programs = Programs(lambda: print("dropped"))
    >>> for settings in (*range(MAX_SETTINGS), 0):
    ...   with programs.using(settings):
    ...     pass  # compile and run
    >>> with programs.using("one more"):
    ...   pass
    dropped
  """

  def __init__(self, dropped: Callable[[], None] = lambda: None):
    self._dropped = dropped
    self._settings: set[Hashable] = set()

  @contextlib.contextmanager
  def using(self, settings: Hashable) -> Iterator[None]:
    """While these settings' programs are compiled and used."""
    is_new = settings not in self._settings
    if is_new and len(self._settings) >= MAX_SETTINGS:
      self._settings.clear()
      jax.clear_caches()
      gc.collect()
      _return_memory()
      self._dropped()
    self._settings.add(settings)
    try:
      yield
    finally:
      if is_new:
        _return_memory()


def _return_memory() -> None:
  """To the system, from glibc, which keeps what was freed; others need not be asked."""
  with contextlib.suppress(AttributeError, OSError, TypeError):
    ctypes.CDLL(None).malloc_trim(0)
