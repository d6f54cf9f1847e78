"""Where converted weights and compiled programs are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
  """Folder of this package's cache; it is named, not created.

  Returns:
    ``$CAWE_CACHE``, else ``$XDG_CACHE_HOME/cawe_jax``, else ``~/.cache/cawe_jax``. An
    empty variable counts as unset, and so does a relative ``$XDG_CACHE_HOME``, as its
    specification asks.

  Raises:
    RuntimeError: No variable is set and the user has no home folder.

  Example:
    >>> cache_dir().is_absolute()
    True
  """
  if own := os.environ.get("CAWE_CACHE"):
    return Path(own).expanduser().absolute()
  shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
  return (shared if shared.is_absolute() else Path.home() / ".cache") / "cawe_jax"
