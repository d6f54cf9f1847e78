"""A cache for weights that take long to read or convert."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable

import numpy as np
import safetensors
import safetensors.numpy

from cawe_jax.files import cache
from cawe_jax.files import writing as files


def cached_safetensors(
  key: str, build: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
  """Read arrays from the cache, or build them and keep them there.

  The file appears in one step, so that a run beside this one never sees half of it. One
  that does not parse is built anew; a folder that cannot be written is no error.

  Args:
    key: Name of the file in :func:`cawe_jax.files.cache.cache_dir`, without the suffix
      ``.safetensors``; letters, digits, ``_``, ``-`` and inner dots. It should change
      whenever ``build`` would return something else.
    build: Makes the arrays; called only when the cache does not have them.

  Returns:
    Names and arrays, equal bit for bit whether read or built.

  Raises:
    ValueError: The key is not a plain file name.
  """
  if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", key):
    raise ValueError(f"key must be letters, digits, '_', '-' and dots, got {key!r}")
  # RuntimeError: there is no home folder to put a cache into.
  with contextlib.suppress(OSError, RuntimeError, safetensors.SafetensorError):
    path = cache.cache_dir() / f"{key}.safetensors"
    return safetensors.numpy.load(path.read_bytes())
  arrays = build()
  # safetensors writes an array's memory as it lies, transposed arrays too.
  contents = safetensors.numpy.save(
    {name: np.array(array, order="C") for name, array in arrays.items()}
  )
  with contextlib.suppress(OSError, RuntimeError):
    path = cache.cache_dir() / f"{key}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_write(path) as temporary:
      temporary.write_bytes(contents)
  return arrays
