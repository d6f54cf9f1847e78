"""Files that are written whole or not at all.

A run may be interrupted at any moment. Everything the library writes (explanations,
figures, reports) goes to a temporary name in the target's folder and is renamed onto
the target at the end, which the operating system does in one step. A reader therefore
sees the old file or the new one, never half of one.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = "cawe_jax"
"""By what is known which files of common formats this package wrote."""


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
  """Yields a temporary path that replaces ``path`` if the block succeeds.

  The temporary file has the same folder, so that renaming never copies, and the same
  suffix, so that writers which choose a format by suffix choose the right one. When
  the block raises anything, ``KeyboardInterrupt`` too, the temporary file is removed
  and ``path`` stays as it was.

  If ``path`` is a symbolic link, the file that it points to is replaced.

  Args:
    path: File to create or to replace; its folder exists.

  Yields:
    A path that does not exist yet; the block must write a file there.

  Raises:
    FileNotFoundError: The folder does not exist, or the block wrote nothing.
    IsADirectoryError: ``path`` is a folder.

  Example:
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   with atomic_write(Path(folder) / "report.json") as temporary:
    ...     _ = temporary.write_text("{}")
    ...   [file.name for file in Path(folder).iterdir()]
    ['report.json']
  """
  path = Path(path).resolve() if Path(path).is_symlink() else Path(path)
  if not path.parent.is_dir():
    raise FileNotFoundError(f"path: folder {str(path.parent)!r} does not exist")
  if path.is_dir():
    raise IsADirectoryError(f"path: {str(path)!r} is a folder, not a file")
  # Not tempfile.mkstemp: its files are readable by their owner only, for good reasons
  # that do not hold for a result that is renamed to a public place.
  unique = secrets.token_hex(4)
  temporary = path.with_name(f".{path.stem[:32]}-{unique}{path.suffix}")
  try:
    yield temporary
    with temporary.open("r+b") as file:
      os.fsync(file.fileno())  # the content reaches the disk before the name does
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)
