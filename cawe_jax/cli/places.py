"""What lies where results would go: judged by what is in the files, not by their names.

A folder of photographs has other files beside them under the same stems: annotations
``photo.json``, arrays ``photo.npz``, masks ``photo.png``. They are never replaced, and
neither are the results of another image that happens to have the same stem.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from cawe_jax.files.storage import load_metadata
from cawe_jax.files.writing import MARK

_MAX_REPORT_BYTES = 16 * 2**20
"""Largest file that is read as a report; one of ours has some kilobytes."""

Report = dict[str, Any]


class Identity(NamedTuple):
  """What tells an image from all others, found where there is something to compare.

  Attributes:
    find_sha256: Finds the SHA-256 of its file, which is the same whatever network the
      image is for.
    find_id: The :func:`cawe_jax.files.images.image_id` of its pixels, for reports that
      do not have the former, and for a file that was written anew with the same pixels.
  """

  find_sha256: Callable[[], str]
  find_id: Callable[[], int]


def check_place(folder: Path, stem: str, image: Identity) -> None:
  """Check that a place is free, or has results of the same image.

  Args:
    folder: Where results go.
    stem: What their names begin with.
    image: Whose results they are to be.

  Raises:
    ValueError: A file there is none of this command, or of another image; one line that
      names it.
    OSError: A file there cannot be read, or its name is too long.
  """
  for path, report in _reports(folder, stem):
    same = report.get("image_sha256") == image.find_sha256()
    if not same and report["request"]["image_id"] != image.find_id():
      raise ValueError(
        f"{str(path)!r} has the results of another image of that name "
        f"({report.get('image')}), which are not replaced; give another --out"
      )


def is_finished(folder: Path, stem: str, request: dict[str, Any]) -> bool:
  """Whether all three files are there and were made by one equal request.

  Args:
    folder: As for :func:`check_place`, which is assumed to have passed.
    stem: As there.
    request: What is asked for; of the image it says nothing.
  """
  reports = [report for _, report in _reports(folder, stem)]
  if len(reports) < 2 or not (folder / f"{stem}.png").exists():
    return False
  first, second = reports
  made_by = {k: v for k, v in first["request"].items() if k != "image_id"}
  return first == second and made_by == json.loads(json.dumps(request))


def other_settings(folder: Path, stem: str, request: dict[str, Any]) -> list[str]:
  """In what a request differs from that of the results that are there, in a few words.

  Args:
    folder: As for :func:`is_finished`.
    stem: As there.
    request: As there.
  """
  reports = [report for _, report in _reports(folder, stem)]
  if not reports:
    return []
  before, now = _flat(reports[0]["request"]), _flat(json.loads(json.dumps(request)))
  missing = object()
  return [
    name
    for name in dict.fromkeys([*before, *now])
    if name != "image_id" and before.get(name, missing) != now.get(name, missing)
  ]


def _flat(request: dict[str, Any]) -> dict[str, Any]:
  """A request's settings by name, those of the method and of own parts one by one."""
  settings: dict[str, Any] = {}
  for name, value in request.items():
    match name, value:
      case "method", dict():
        settings |= value
      case "own_parts", dict():
        settings |= {f"file of the {option}": own for option, own in value.items()}
      case _:
        settings[name] = value
  return settings


def is_figure(path: Path) -> bool:
  """Whether a PNG or PDF file says that this package wrote it."""
  if not path.is_file():
    return False
  if path.suffix.lower() == ".pdf":
    return f"/Creator ({MARK})".encode() in path.read_bytes()
  try:
    with Image.open(path, formats=("PNG",)) as image:
      return image.info.get("Software") == MARK
  except Exception:  # Pillow's readers raise a dozen types, also warnings as errors.
    return False


def why_not(error: Exception, folder: Path, stem: str) -> str:
  """Why results cannot be written; the operating system does not always name them."""
  if isinstance(error, OSError):
    return f"the results {folder / stem}.* cannot be written ({error.strerror})"
  return str(error)


def _reports(folder: Path, stem: str) -> Iterator[tuple[Path, Report]]:
  """The reports in a place: of the JSON and of the ``.npz``, if they are there."""
  found = False
  for suffix, read in ((".json", _of_json), (".npz", _of_npz)):
    path = folder / f"{stem}{suffix}"
    if _is_taken(path):
      yield path, _checked(path, read(path) if path.is_file() else None)
      found = True
  figure = folder / f"{stem}.png"
  # Of a figure alone it is not known which image it is of.
  if _is_taken(figure) and not (found and is_figure(figure)):
    raise _foreign(figure)


def _is_taken(path: Path) -> bool:
  """Whether there is anything; a link that leads nowhere is somebody's, too.

  Raises:
    OSError: It cannot be told: the name is too long, or the folder may not be read.
  """
  try:
    path.lstat()
  except FileNotFoundError:
    return False
  return True


def _checked(path: Path, report: Any) -> Report:
  match report:
    case {"request": {"image_id": _}, "versions": dict()}:
      return report
  raise _foreign(path)


def _of_json(path: Path) -> Any:
  if path.stat().st_size > _MAX_REPORT_BYTES:
    return None
  try:
    return json.loads(path.read_bytes())
  except (ValueError, RecursionError):
    return None


def _of_npz(path: Path) -> Any:
  try:
    return load_metadata(path)
  except ValueError:
    return None


def _foreign(path: Path) -> ValueError:
  return ValueError(
    f"{str(path)!r} was not written by this command and is not replaced; give another "
    "--out"
  )
