"""Scalars for TensorBoard: means over photographs, a run for each setting."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from experiments.axes import Job
from experiments.report.summary import Row, selected_results, summarise
from experiments.store import Store

_HISTORY = "history/"


def write_tensorboard(jobs: Sequence[Job], store: Store, folder: Path) -> None:
  """Replace the folder with one run for each job and grid point.

  A run has ``mean/NAME`` (see :mod:`.summary`), of ``explain`` also ``history/NAME`` by
  step, of ``curves`` also ``curve/NAME`` by per mille of the entries.
  """
  # Imported here since it imports torch where that is installed, for seconds.
  from tensorboardX import SummaryWriter

  if folder.exists():
    shutil.rmtree(folder)
  rows = {(row.job, row.point): row for row in summarise(jobs, store)}
  for job in jobs:
    results = selected_results(store, job.name)
    for point in range(len(job.grid)) if results else ():
      row = rows[job.name, point]
      name = re.sub(r"[^A-Za-z0-9._=-]+", "_", row.name)
      with SummaryWriter(str(folder / f"{point:03d}-{name}")) as writer:
        for tag, step, value in scalars(row, results, point):
          writer.add_scalar(tag, value, step)


def scalars(
  row: Row, results: list[dict[str, np.ndarray]], point: int
) -> Iterator[tuple[str, int, float]]:
  """Tag, step and value of everything that a run has."""
  for name, number in row.numbers.items():
    if np.isfinite(number.value):
      yield f"mean/{name}", 0, number.value
  if "fraction" in results[0]:
    for name in ("distortion", "score"):
      values = np.mean([result[name][point] for result in results], axis=0)
      for fraction, value in zip(results[0]["fraction"], values, strict=True):
        yield f"curve/{name}", round(1000 * float(fraction)), float(value)
  for key in (key for key in results[0] if key.startswith(_HISTORY)):
    with warnings.catch_warnings():
      # A step that no photograph reached has no mean, and is left out.
      warnings.simplefilter("ignore", RuntimeWarning)
      values = np.nanmean([result[key][point] for result in results], axis=0)
    for step in np.flatnonzero(np.isfinite(values)):
      yield key, int(step), float(values[step])
