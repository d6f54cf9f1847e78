"""Any folder of images: which files are photographs, what they are called and show.

Nothing is opened here, so that a folder of a million files is listed in seconds. Files
that cannot be photographs are listed with the reason.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cawe_jax.files.images import MAX_FILE_BYTES
from experiments.data.labels import label_of_path
from experiments.data.photographs import Failure, Photograph

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_MAX_ID = 100
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]|^[.-]")


class Listing(NamedTuple):
  """What a folder holds.

  Attributes:
    photographs: Sorted by path.
    ignored: The other files, sorted, each with the reason; their ids are paths.
  """

  photographs: list[Photograph]
  ignored: list[Failure]


def list_folder(folder: str | os.PathLike[str]) -> Listing:
  """List the photographs of a folder and of all folders in it.

  Hidden files and folders are ignored, as are folders that are links (which may lead
  back); links to files are followed. A photograph's id is its path without the suffix,
  ``-`` for the separators and ``_`` for what is unsafe in a file's name. Eight digits
  of a hash of the path are added where that changes a name or where two would be alike.
  The class is found as :func:`experiments.data.labels.label_of_path` says; of the
  folders above, only the one given counts.

  Args:
    folder: An existing folder.

  Raises:
    ValueError: It is missing or not a folder.

  Example:
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "tench").mkdir()
    >>> for name in ("tench/a.jpg", "notes.txt"):
    ...   _ = (folder / name).write_bytes(b"x")
    >>> listing = list_folder(folder)
    >>> [(photograph.id, photograph.label) for photograph in listing.photographs]
    [('tench-a', 0)]
    >>> listing.ignored
    [Failure(id='notes.txt', reason='not an image by its suffix')]
  """
  folder = Path(folder)
  if not folder.is_dir():
    problem = "is not a folder" if folder.exists() else "does not exist"
    raise ValueError(f"folder {str(folder)!r} {problem}")
  # With the name of the folder itself, which a bare "." does not tell.
  name = folder.resolve().name
  photographs, ignored = [], []
  taken: set[str] = set()
  for relative, reason in sorted(_walk(folder, "")):
    path = Path(relative)
    if reason is None:
      label = label_of_path(name / path)
      photographs.append(Photograph(_new_id(path, taken), label, folder / path))
    else:
      ignored.append(Failure(relative, reason))
  return Listing(photographs, ignored)


def _walk(folder: Path, relative: str) -> Iterator[tuple[str, str | None]]:
  """Relative paths, each with the reason why it is ignored, or None."""
  try:
    with os.scandir(folder / relative) as found:
      entries = list(found)
  except OSError as error:
    yield relative, f"cannot be read ({error.strerror})"
    return
  for entry in entries:
    path = os.path.join(relative, entry.name)
    if entry.name.startswith("."):
      yield path, "hidden"
    elif entry.is_dir(follow_symlinks=False):
      yield from _walk(folder, path)
    else:
      yield path, _reason_to_ignore(entry)


def _reason_to_ignore(entry: os.DirEntry[str]) -> str | None:
  try:
    status = entry.stat()
  except OSError as error:
    return f"cannot be read ({error.strerror})"
  if stat.S_ISDIR(status.st_mode):
    return "a link to a folder"
  if not stat.S_ISREG(status.st_mode):
    return "not a regular file"  # A named pipe would block whoever reads it.
  if os.path.splitext(entry.name)[1].casefold() not in SUFFIXES:
    return "not an image by its suffix"
  if status.st_size == 0:
    return "empty"
  if status.st_size > MAX_FILE_BYTES:
    return f"{status.st_size} bytes, allowed are at most {MAX_FILE_BYTES}"
  return None


def _new_id(path: Path, taken: set[str]) -> str:
  plain = "-".join(path.with_suffix("").parts)
  name = _UNSAFE.sub("_", plain)[:_MAX_ID]
  # Some file systems do not tell small letters from capital ones.
  if name != plain or name.casefold() in taken:
    name += f"-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
  taken.add(name.casefold())
  return name
