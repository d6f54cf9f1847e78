"""What a sweep found, in numbers: means and standard errors over photographs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.axes import Job
from experiments.building import make_methods
from experiments.judging import METRICS
from experiments.store import Store

NUMBERS = (
  "rate",
  "rate_l0",
  "distortion",
  "objective",
  "retained_probability",
  "explanation_probability",
  "area",
)
"""Keys of results, ``[G]`` each, of which the table has the means."""

ENOUGH = 0.5
"""Share of the clean probability; an explanation that retains less explains little."""

FRACTIONS = (0.01, 0.05, 0.1, 0.5)
"""Points of a curve that the table has, where the curve has them."""


class Mean(NamedTuple):
  """A mean over the photographs where a number is defined."""

  value: float
  standard_error: float
  count: int

  def __str__(self) -> str:
    if not self.count:
      return ""
    error = f" ± {self.standard_error:.2g}" if self.count > 1 else ""
    return f"{self.value:.4g}{error}"


class Row(NamedTuple):
  """One job at one grid point.

  Attributes:
    label: What legends call the method.
    name: The method and its place on all axes, in one line.
    job: Name of the job.
    point: Index of the grid point.
    axes: Its value on every axis of the sweep.
    num_images: Photographs explained.
    numbers: Means by name.
    seconds: The time of one explanation, compilation apart; NaN if no batch was timed.
    compile_seconds: How long the whole job compiled.
    evaluations: Passes through the network that the method's recipe asks for; None
      where others are done too, and for rankings.
  """

  label: str
  name: str
  job: str
  point: int
  axes: dict[str, Any]
  num_images: int
  numbers: dict[str, Mean]
  seconds: float
  compile_seconds: float
  evaluations: int | None


def selected_results(store: Store, job: str) -> list[dict[str, np.ndarray]]:
  """Results of the photographs that were explained."""
  return [result for result in store.read_results(job) if result["selected"]]


def known_numbers(result: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Those of ``NUMBERS`` that a result has, and what metrics said, ``[G]`` each.

  ``retains_enough`` is 1 where at least ``ENOUGH`` of the probability is retained, and
  0 where less is. A metric's number is called ``metrics.deletion``: ``distortion``
  might be one's own.
  """
  # Of curves, the distortion has a second axis.
  found = {
    name: result[name] for name in NUMBERS if name in result and result[name].ndim == 1
  }
  if "retained_probability" in found:
    retained = found["retained_probability"]
    found["retains_enough"] = np.where(
      np.isnan(retained), np.nan, (retained >= ENOUGH).astype(np.float64)
    )
  judged = (name for name in result if name.startswith(f"{METRICS}/"))
  return found | {name.replace("/", ".", 1): result[name] for name in judged}


def mean(values: Any) -> Mean:
  """Mean over photographs, those without a number left out.

  The standard error is that of the mean as an estimate for photographs like these; with
  fewer than two it is not known.

  Example:
    >>> mean([1.0, 3.0, np.nan])
    Mean(value=2.0, standard_error=1.0, count=2)
  """
  known = np.asarray(values, np.float64)
  known = known[np.isfinite(known)]
  if not known.size:
    return Mean(math.nan, math.nan, 0)
  error = known.std(ddof=1) / known.size**0.5 if known.size > 1 else math.nan
  return Mean(float(known.mean()), float(error), known.size)


def summarise(jobs: Sequence[Job], store: Store) -> list[Row]:
  """One row for each job and grid point, in order."""
  rows = []
  for job in jobs:
    results = selected_results(store, job.name)
    timings = store.read_timings(job.name)
    count = sum(t["num_images"] * t["num_points"] for t in timings)
    seconds = sum(t["seconds"] for t in timings) / count if count else math.nan
    for point in range(len(job.grid)):
      rows.append(
        Row(
          job.label,
          job.point_label(point),
          job.name,
          point,
          job.point_axes(point),
          len(results),
          _numbers(results, point),
          seconds,
          sum(t["compile_seconds"] for t in timings),
          _evaluations(job, results),
        )
      )
  return rows


def _numbers(results: list[dict[str, np.ndarray]], point: int) -> dict[str, Mean]:
  if not results:
    return {}
  known = [known_numbers(result) for result in results]
  found = {name: mean([numbers[name][point] for numbers in known]) for name in known[0]}
  for fraction in FRACTIONS if "fraction" in results[0] else ():
    place = np.flatnonzero(np.isclose(results[0]["fraction"], fraction))
    if place.size:
      values = [result["distortion"][point, place[0]] for result in results]
      found[f"distortion_at_{100 * fraction:g}_%"] = mean(values)
  return found


def _evaluations(job: Job, results: list[dict[str, np.ndarray]]) -> int | None:
  has_curves = bool(results) and "fraction" in results[0]
  if job.settings["ranking"] is not None or has_curves:
    return None
  method = make_methods(job)[0]
  draws = method.recipe.num_draws if method.perturbation.is_random else 1
  return method.recipe.num_steps * draws


def percent(value: float) -> str:
  """A share in per cent, without decimals.

  Example:
    >>> percent(0.876), percent(math.nan)
    ('88 %', 'n/a')
  """
  return f"{100 * value:.0f} %" if math.isfinite(value) else "n/a"


def describe(row: Row) -> dict[str, Any]:
  """A row as flat columns: numbers with their standard errors and counts.

  An axis is named as in the config, ``axes.distortion``: a number may have its name.
  """
  flat: dict[str, Any] = {"method": row.label, "job": row.job}
  flat |= {f"axes.{name}": value for name, value in row.axes.items()}
  flat["num_images"] = row.num_images
  for name, number in row.numbers.items():
    flat |= {
      name: number.value,
      f"{name}_standard_error": number.standard_error,
      f"{name}_count": number.count,
    }
  flat["seconds_per_explanation"] = row.seconds
  flat["compile_seconds"] = row.compile_seconds
  flat["evaluations"] = row.evaluations
  per_evaluation = row.seconds / row.evaluations if row.evaluations else math.nan
  flat["seconds_per_1000_evaluations"] = 1000 * per_evaluation
  return json.loads(json.dumps(flat))
