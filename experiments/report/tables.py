"""The table of a sweep, for people (Markdown) and for programs (CSV)."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from cawe_jax.files.writing import atomic_write
from experiments.axes import Job
from experiments.report.summary import (
  Row,
  describe,
  known_numbers,
  mean,
  selected_results,
)
from experiments.store import Store

# Of a curve's numbers, those that a figure is drawn from.
_CURVES = ("distortion", "score", "energy", "bits")

_PHOTOGRAPH = ("id", "label_name", "prediction_name", "confidence")


def write_csv(rows: Sequence[Row], path: Path) -> None:
  """Every number with its standard error and count; empty where not known."""
  _write_rows([describe(row) for row in rows], path)


def write_images(jobs: Sequence[Job], store: Store, path: Path) -> None:
  """What the table has the means of, photograph by photograph, as CSV."""
  rows = [
    {"method": job.label}
    | {f"axes.{name}": value for name, value in job.point_axes(point).items()}
    | {name: result[name].item() for name in _PHOTOGRAPH}
    | {name: values[point].item() for name, values in known_numbers(result).items()}
    for job in jobs
    for result in selected_results(store, job.name)
    for point in range(len(job.grid))
  ]
  _write_rows(rows, path)


def write_curves(jobs: Sequence[Job], store: Store, path: Path) -> None:
  """Every point of the mean curves, with standard errors over photographs, as CSV."""
  rows: list[dict[str, Any]] = []
  for job in jobs:
    results = selected_results(store, job.name)
    for point in range(len(job.grid)):
      rows += _curve_rows(job.point_label(point), results, point)
  _write_rows(rows, path)


def _write_rows(rows: Sequence[dict[str, Any]], path: Path) -> None:
  columns = list(dict.fromkeys(key for row in rows for key in row))
  with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
      writer.writerow({key: _blank(value) for key, value in row.items()})


def _curve_rows(
  label: str, results: Sequence[dict[str, np.ndarray]], point: int
) -> Iterator[dict[str, Any]]:
  for place, fraction in enumerate(results[0]["fraction"] if results else ()):
    row = {"method": label, "fraction": float(fraction), "count": len(results)}
    for name in _CURVES:
      found = mean([r[name][point, place] for r in results])
      row[name] = found.value
      row[f"{name}_standard_error"] = found.standard_error
    yield row


def write_markdown(
  config: ConfigDict, rows: Sequence[Row], store: Store, path: Path
) -> None:
  """Means and standard errors, and what was left out."""
  axes = list(dict.fromkeys(name for row in rows for name in row.axes))
  numbers = list(dict.fromkeys(name for row in rows for name in row.numbers))
  named = [f"axes.{name}" for name in axes]
  heads = ["method", *named, "images", *numbers, "seconds", "s / 1000 evaluations"]
  lines = [
    f"# {config.name}",
    "",
    f"{len(store.stems)} photographs of `{config.data}`; means over those explained "
    "± standard errors; seconds for one explanation on "
    f"{', '.join(_devices(rows, store)) or 'no device'}, compilation apart.",
    "",
    _line(heads),
    _line(["---"] * len(heads)),
  ]
  for row in rows:
    cells = [row.label, *(row.axes.get(name, "") for name in axes), row.num_images]
    cells += [row.numbers.get(name, "") for name in numbers]
    rate = 1000 * row.seconds / row.evaluations if row.evaluations else math.nan
    lines.append(_line([*cells, _seconds(row.seconds), _seconds(rate)]))
  errors = store.read_errors()
  if errors:
    lines += ["", f"Left out, since they cannot be decoded: {len(errors)}.", ""]
    lines += [f"- {_escape(e['id'])}: {_escape(e['error'])}" for e in errors]
  with atomic_write(path) as temporary:
    temporary.write_text("\n".join(lines) + "\n")


def _devices(rows: Sequence[Row], store: Store) -> list[str]:
  """Every kind of device that a batch ran on, with how many worked on it."""
  found = set()
  for name in {row.job for row in rows}:
    for timing in store.read_timings(name):
      kinds = timing["devices"]
      found.add(f"{len(kinds)} {kinds[0]}")
  return sorted(found)


def _seconds(value: float) -> str:
  return f"{value:.3g}" if math.isfinite(value) else ""


def _line(cells: Sequence[Any]) -> str:
  return f"| {' | '.join(_escape(cell) for cell in cells)} |"


def _escape(cell: Any) -> str:
  """No cell ends a column or a line, or is read as HTML."""
  text = " ".join(str(cell).split())
  return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _blank(value: Any) -> Any:
  missing = value is None or (isinstance(value, float) and not math.isfinite(value))
  return "" if missing else value
