"""The library's own code, told from other code that calls itself the same version."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from cawe_jax.version import __version__

_PACKAGE = Path(__file__).parents[1]
_DECIDES_NO_NUMBER = "playground"


@functools.cache
def library() -> str:
  """The version, and a checksum of the package's files, of modules and of arrays alike.

  Results that were found before are found again for the same library alone: a fork
  changes a formula or learned weights long before it changes the version. The page has
  no part in numbers and does not count.

  Example:
    >>> library()  # doctest: +ELLIPSIS
    '0.1.0, code ...'
  """
  digest = hashlib.sha256()
  for path in sorted(_PACKAGE.rglob("*")):
    inside = path.relative_to(_PACKAGE)
    if path.is_file() and not {"__pycache__", _DECIDES_NO_NUMBER} & {*inside.parts}:
      digest.update(inside.as_posix().encode() + b"\0")
      digest.update(hashlib.sha256(path.read_bytes()).digest())
  return f"{__version__}, code {digest.hexdigest()[:12]}"
