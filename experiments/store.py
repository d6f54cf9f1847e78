"""The folder of a sweep: what is in it, and how it gets there.

Every file is written whole or not at all, one for each image and job, so that whatever
kills a run costs the batches in flight (by default of one photograph each) and nothing
else. There is no index that could disagree with the files: what is there is done. Equal
runs give equal bytes, timings apart.

::

  WORKDIR/
    config.json                     the config, the versions, the checksums of weights
                                    and of the files that functions of one's own are in
    photographs.json                id and label of every photograph, in order
    results/JOB/00003-ID.npz        one image, see below
    errors/00003-ID.json            a photograph that could not be decoded: id, error
    timings/JOB/00000.json          one batch: seconds, compile_seconds, num_images,
                                    num_points, process, devices
    report/                         figures, tables, gallery: made from the above

A result is a NumPy archive. With G grid points (``Job.grid``, in order):

=====================  ====================  =====================================
``id``                 str                   of the photograph
``sha256``             str                   of its file
``label``              int                   true class, -1 where unknown
``label_name``         str                   its name, empty where unknown
``prediction``         int                   the network's class
``prediction_name``    str                   its name
``confidence``         float32               its probability
``selected``           bool                  False: not explained, no keys below
=====================  ====================  =====================================

of ``explain``, beside ``[G]`` of every number of :class:`cawe_jax.Explanation`
(``target``, ``rate``, ``rate_l0``, ``distortion``, ``distortion_standard_error``,
``objective``, ``lagrange_multiplier``, ``probability``, ``retained_probability``,
``explanation_probability``, ``num_steps``, ``model_evaluations``; units as there):

=====================  ====================  =====================================
``input_image``        uint8 ``[H, W, C]``   255 times the image
``explanation``        uint8 ``[G, H, W]``   255 times the greyscale explanation
``mask/0``, ...        float32 ``[G, ...]``  in [0, 1], coarsest leaf first
``history/objective``  float32 ``[G, N]``    also ``distortion`` and ``rate``, by step
=====================  ====================  =====================================

of both, where the config names metrics, ``metrics/NUMBER``, float64 ``[G]``; of
``rank``: ``input_image`` as above and ``relevance/0``, ..., float32 ``[G, ...]``,
any real numbers, coarsest leaf first; and of ``curves`` the fields of
:class:`cawe_jax.metrics.Curve` for P points, with ``area`` under it:

=====================  ====================  =====================================
``fraction``           float64 ``[P]``       share of entries kept, or replaced
``distortion``         float32 ``[G, P]``    also ``standard_error``, ``score``,
                                             ``agreement``; over draws
``energy``             float64 ``[G, P]``    share of squared coefficients, in [0, 1]
``bits``               float64 ``[G, P]``    code length of these entries
``area``               float64 ``[G]``       mean height of ``distortion``
=====================  ====================  =====================================
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cawe_jax.files.writing import atomic_write

_MISSING = "(not set)"


class Store(NamedTuple):
  """A sweep's folder and the names of its images' files.

  Attributes:
    folder: The working folder.
    stems: One for each photograph, in order.
  """

  folder: Path
  stems: tuple[str, ...]

  def result_path(self, job: str, image: int) -> Path:
    """Where the result of an image is or will be."""
    return self.folder / "results" / job / f"{self.stems[image]}.npz"

  def is_done(self, job: str, image: int) -> bool:
    """Whether the result of an image is there."""
    return self.result_path(job, image).is_file()

  def has_failed(self, image: int) -> bool:
    """Whether an image could not be decoded when it was last tried."""
    return self._error_path(image).is_file()

  def num_left(self, jobs: Sequence[str]) -> int:
    """Results that are still to be written, images that cannot be decoded aside."""
    images = [i for i in range(len(self.stems)) if not self.has_failed(i)]
    return sum(not self.is_done(job, i) for job in jobs for i in images)

  def write_result(
    self, job: str, image: int, arrays: Mapping[str, np.ndarray]
  ) -> None:
    """Write one image's result."""
    path = self.result_path(job, image)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
      np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

  def read_results(self, job: str) -> list[dict[str, np.ndarray]]:
    """All results of a job that are there, in the photographs' order."""
    found = []
    for image in range(len(self.stems)):
      if self.is_done(job, image):
        with _opened(self.result_path(job, image)) as archive:
          found.append(dict(archive))
    return found

  def photograph_sha256(self, jobs: Sequence[str], image: int) -> str | None:
    """The checksum of the file that an image's results are of; None if none is there.

    Raises:
      ValueError: A result is damaged.
    """
    for job in jobs:
      if self.is_done(job, image):
        with _opened(self.result_path(job, image)) as archive:
          return str(archive["sha256"]) if "sha256" in archive else None
    return None

  def remove_leftovers(self) -> None:
    """Remove what a killed run was just writing; only once everything is done."""
    for path in (self.folder / "results").glob("*/.*"):
      path.unlink(missing_ok=True)

  def write_timing(self, job: str, batch: int, timing: Mapping[str, Any]) -> None:
    """Write how long one batch took."""
    path = self.folder / "timings" / job / f"{batch:05d}.json"
    write_json(path, timing)

  def read_timings(self, job: str) -> list[dict[str, Any]]:
    """Timings of a job's batches that were done, in order."""
    paths = sorted((self.folder / "timings" / job).glob("[0-9]*.json"))
    return [_read_json(path) for path in paths]

  def write_error(self, image: int, name: str, error: str) -> None:
    """List a photograph that cannot be decoded."""
    write_json(self._error_path(image), {"id": name, "error": error})

  def clear_error(self, image: int) -> None:
    """Forget an error, since the photograph can be decoded now."""
    self._error_path(image).unlink(missing_ok=True)

  def read_errors(self) -> list[dict[str, str]]:
    """The photographs that could not be decoded, in order."""
    paths = sorted((self.folder / "errors").glob("[0-9]*.json"))
    return [_read_json(path) for path in paths]

  def _error_path(self, image: int) -> Path:
    return self.folder / "errors" / f"{self.stems[image]}.json"


def open_store(
  folder: str | Path,
  settings: Mapping[str, Any],
  photographs: Sequence[tuple[str, int | None]],
) -> Store:
  """A new folder, or one that was made with equal settings and photographs.

  Args:
    folder: Made if missing; its parents too.
    settings: All that decides the results, as JSON can hold it.
    photographs: Id and label of each.

  Raises:
    ValueError: The folder holds a sweep with other settings or photographs, and the
      message shows every difference; or one of these two files is damaged.
  """
  folder = Path(folder)
  for name, content in check_store(folder, settings, photographs).items():
    if not (folder / name).is_file():
      write_json(folder / name, content)
  stems = (f"{i:05d}-{_slug(name)}" for i, (name, _) in enumerate(photographs))
  return Store(folder, tuple(stems))


def check_store(
  folder: str | Path,
  settings: Mapping[str, Any],
  photographs: Sequence[tuple[str, int | None]],
) -> dict[str, Any]:
  """What a folder's files would hold; nothing is written.

  Args:
    folder: As for :func:`open_store`.
    settings: As there.
    photographs: As there.

  Returns:
    The content of each file by its name.

  Raises:
    ValueError: As for :func:`open_store`.
  """
  wanted = {
    "config.json": _as_json(dict(settings)),
    "photographs.json": [{"id": name, "label": label} for name, label in photographs],
  }
  for name, content in wanted.items():
    path = Path(folder) / name
    if path.is_file():
      _check_equal(Path(folder), name, _read_json(path), content)
  return wanted


def write_json(path: Path, content: Any) -> None:
  """Write a small file of JSON, whole or not at all."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with atomic_write(path) as temporary:
    temporary.write_text(json.dumps(content, indent=2) + "\n")


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
  try:
    # NumPy would leave a file open that it opened itself and cannot read.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
      yield archive
  except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
    raise ValueError(
      f"result {str(path)!r} is damaged; remove it, and the same command makes it again"
    ) from None


def _read_json(path: Path) -> Any:
  try:
    return json.loads(path.read_text())
  except ValueError:
    raise ValueError(
      f"{str(path)!r} is damaged or of another program: it is not JSON"
    ) from None


def differences(old: Any, new: Any) -> list[str]:
  """What differs between two values of JSON, one line for each key.

  Example:
    >>> differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})
    ['a.b: 1 there, 3 now']
  """
  before, now = _flat(old), _flat(new)
  return [
    f"{key}: {before.get(key, _MISSING)} there, {now.get(key, _MISSING)} now"
    for key in sorted(before.keys() | now.keys())
    if before.get(key, _MISSING) != now.get(key, _MISSING)
  ]


def _check_equal(folder: Path, name: str, old: Any, new: Any) -> None:
  changed = differences(old, new)
  if not changed:
    return
  files = [_own_file(line) for line in changed]
  if all(files):
    raise ValueError(
      f"workdir {str(folder)!r} holds results of an earlier state of the file of "
      f"{', '.join(dict.fromkeys(map(str, files)))}; give another --workdir, or undo "
      "what has changed in it"
    )
  raise ValueError(
    f"workdir {str(folder)!r} holds a run with another {name}; give another "
    f"--workdir, or undo: {'; '.join(changed)}"
  )


def _own_file(difference: str) -> str | None:
  """Which function of one's own has another file, if that is all that differs.

  Example:
    >>> _own_file('own_parts.distortion.mine:gap.sha256: "a5" there, "ba" now')
    'distortion mine:gap'
    >>> _own_file("axes.seed: [0] there, [1] now")
  """
  found = re.match(r"own_parts\.(\w+)\.(.+?)\.(sha256|imports\..+): ", difference)
  return f"{found[1]} {found[2]}" if found else None


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
  """Leaves by dotted path; a list of plain values is one leaf."""
  if isinstance(value, dict):
    items = [(str(key), item) for key, item in value.items()]
  elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
    items = [(str(index), item) for index, item in enumerate(value)]
  else:
    return {prefix: json.dumps(value)}
  parts = (_flat(item, f"{prefix}.{key}" if prefix else key) for key, item in items)
  return {key: leaf for part in parts for key, leaf in part.items()}


def _as_json(value: Any) -> Any:
  return json.loads(json.dumps(value))


def _slug(name: str) -> str:
  return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[-60:]
