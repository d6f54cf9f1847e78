"""What tells files, arrays and the library's own code from others of the same name."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cawe_jax.version import __version__

_PACKAGE = Path(__file__).parents[1]
_DECIDES_NO_NUMBER = "playground"


def sha256(path: str | os.PathLike[str]) -> str:
  """The SHA-256 of a file, 64 hexadecimal digits.

  Raises:
    OSError: The file cannot be read.

  Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "empty"
    >>> path.touch()
    >>> sha256(path)[:16]
    'e3b0c44298fc1c14'
  """
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def arrays_sha256(tree: Any) -> str | None:
  """The SHA-256 of the arrays of a pytree, of types, shapes and numbers in order.

  Returns:
    64 hexadecimal digits; None where there is no array.

  Example:
    >>> arrays_sha256({"w": np.zeros(3)}) == arrays_sha256({"w": np.zeros((3, 1))})
    False
    >>> arrays_sha256({"size": 3}) is None
    True
  """
  arrays = [np.asarray(x) for x in jax.tree.leaves(tree) if hasattr(x, "dtype")]
  digest = hashlib.sha256()
  for array in arrays:
    digest.update(f"{array.dtype} {array.shape};".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest() if arrays else None


@functools.cache
def code_version() -> str:
  """The version, and a checksum of the package's files, of modules and of arrays alike.

  Results that were found before are found again for the same code alone: a fork changes
  a formula or learned weights long before it changes the version. The page has no part
  in numbers and does not count.

  Example:
    >>> code_version()  # doctest: +ELLIPSIS
    '0.1.0, code ...'
  """
  digest = hashlib.sha256()
  for path in sorted(_PACKAGE.rglob("*")):
    inside = path.relative_to(_PACKAGE)
    if path.is_file() and not {"__pycache__", _DECIDES_NO_NUMBER} & {*inside.parts}:
      digest.update(f"{inside.as_posix()} {sha256(path)};".encode())
  return f"{__version__}, code {digest.hexdigest()[:12]}"
