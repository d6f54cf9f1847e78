"""The ImageNet validation set as it is handed out: a tar of 50,000 photographs.

The archive is never unpacked. Its headers are read once and checked: only regular files
under their official names, which have no folder in them. The images are then read at
their places. The folder that others have unpacked is accepted too, flat or with one
folder for each WordNet id.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cawe_jax.files.images import MAX_FILE_BYTES
from experiments.data.folder import list_folder
from experiments.data.labels import validation_label, wordnet_ids, wordnet_label
from experiments.data.photographs import Photograph


class Member(NamedTuple):
  """A file inside an open tar.

  Attributes:
    archive: The tar.
    info: The file's header.
  """

  archive: tarfile.TarFile
  info: tarfile.TarInfo

  def read_bytes(self) -> bytes:
    """The file.

    Raises:
      OSError: The archive ends before the file does, or cannot be read.
    """
    file = self.archive.extractfile(self.info)
    data = file.read() if file else b""
    if len(data) != self.info.size:
      raise OSError(f"{self.info.name}: {len(data)} of {self.info.size} bytes")
    return data


@contextmanager
def open_validation(source: str | os.PathLike[str]) -> Iterator[list[Photograph]]:
  """The photographs of the official archive or of the folder unpacked from it.

  Args:
    source: ``ILSVRC2012_img_val.tar`` or the folder.

  Yields:
    The photographs by number, to be read inside the block.

  Raises:
    ValueError: The source is missing, damaged, or holds anything else.
  """
  path = Path(source)
  try:
    mode = path.stat().st_mode
  except OSError as error:
    raise ValueError(f"source {str(path)!r}: {error.strerror}") from None
  if stat.S_ISDIR(mode):
    yield _list_unpacked(path)
  elif stat.S_ISREG(mode):
    with _open_tar(path) as archive:
      yield _list_tar(archive, f"source {str(path)!r}")
  else:
    raise ValueError(f"source {str(path)!r} is neither a file nor a folder")


def _open_tar(path: Path) -> tarfile.TarFile:
  try:
    # A compressed one could not be read at random places.
    return tarfile.open(path, "r:")
  except (OSError, tarfile.TarError) as error:
    detail = str(error) or "it is empty"
    raise ValueError(
      f"source {str(path)!r} is no uncompressed tar ({detail})"
    ) from None


def _list_tar(archive: tarfile.TarFile, name: str) -> list[Photograph]:
  found: dict[str, Photograph] = {}
  try:
    for member in archive:
      if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise ValueError(f"{name}: {member.name!r} is not a regular file")
      stem, label = _official(member.name, name)
      if stem in found:
        raise ValueError(f"{name}: {member.name!r} is in it twice")
      if not 0 < member.size <= MAX_FILE_BYTES:
        raise ValueError(
          f"{name}: {member.name!r} has {member.size} bytes, allowed are 1 to "
          f"{MAX_FILE_BYTES}"
        )
      found[stem] = Photograph(stem, label, Member(archive, member))
  except (OSError, tarfile.TarError) as error:
    raise ValueError(f"{name} is truncated or damaged ({error})") from None
  # The iteration also ends, in silence, where a header is damaged.
  archive.fileobj.seek(archive.offset)
  if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
    raise ValueError(f"{name} is truncated or damaged (no end of archive)")
  return [found[stem] for stem in sorted(found)]


def _list_unpacked(folder: Path) -> list[Photograph]:
  name = f"source {str(folder)!r}"
  photographs, ignored = list_folder(folder)
  for entry in ignored:
    if validation_label(Path(entry.id).stem) is not None:
      raise ValueError(f"{name}: {entry.id!r} is {entry.reason}")
  found: dict[str, Photograph] = {}
  for photograph in photographs:
    path = photograph.source
    assert isinstance(path, Path)
    stem, label = _official(path.name, name)
    if stem in found:
      raise ValueError(f"{name}: {path.name!r} is in it twice")
    said = wordnet_label(path.parent.name)
    if said not in (None, label):
      raise ValueError(
        f"{name}: {path.name!r} is in folder {path.parent.name!r}, but its class is "
        f"{wordnet_ids()[label]}"
      )
    found[stem] = Photograph(stem, label, path)
  return [found[stem] for stem in sorted(found)]


def _official(file_name: str, where: str) -> tuple[str, int]:
  """Name without suffix and label of a file that has an official name."""
  stem, suffix = os.path.splitext(file_name)
  label = validation_label(stem)
  if label is None or suffix != ".JPEG":
    raise ValueError(
      f"{where}: {file_name!r} is in it; allowed are ILSVRC2012_val_00000001.JPEG to "
      "ILSVRC2012_val_00050000.JPEG"
    )
  return stem, label
