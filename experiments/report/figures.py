"""Figures like the paper's, with what it leaves out: means and their standard errors.

Bands and bars are one standard error over photographs to either side. Everything is
drawn with matplotlib's object interface, as in :mod:`cawe_jax.figures`.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from ml_collections import ConfigDict

from cawe_jax.metrics import on_axis
from experiments.axes import Job
from experiments.report.images import explained_image
from experiments.report.summary import Row, percent, selected_results, summarise
from experiments.store import Store

FigureFn = Callable[[ConfigDict, Sequence[Job], Store], Figure | None]
"""``(config, jobs, store) -> figure``, None where there is nothing to draw."""

_CHARACTERS = 30  # of a line above a panel
_LINE_STYLES = ("-", "--", ":")
_LABELS = {
  "rate": "rate: mean of the mask",
  "distortion": "distortion",
  "retained_probability": "retained probability",
}


def curves(config: ConfigDict, jobs: Sequence[Job], store: Store) -> Figure | None:
  """Distortion over the share of entries, its beginning, and over their bits."""
  done = "kept" if config.curve.mask == "keep" else "replaced"
  figure = _figure(16, 5)
  whole, start, bits = figure.subplots(1, 3, sharey=True)
  for title, axes in (
    ("All entries", whole),
    ("The first 10 %", start),
    ("By what the entries cost", bits),
  ):
    axes.set_title(title)
    axes.grid(alpha=0.2)
  whole.set_ylabel(f"distortion ({config.curve.distortion})")
  for axes in (whole, start):
    axes.set_xlabel(f"most relevant entries {done}, %")
  bits.set_xlabel(f"code length of the entries {done}, kbit")
  bits.set_xscale("log")
  start.set_xlim(0, 10)
  lines = [
    (job, point, results)
    for job in jobs
    if (results := selected_results(store, job.name))
    for point in range(len(job.grid))
  ]
  if not lines:
    return None
  last = min(float(r["bits"][point, -1]) for _, point, rs in lines for r in rs)
  for number, (job, point, results) in enumerate(lines):
    label = job.point_label(point)
    distortion = np.stack([r["distortion"][point] for r in results])
    percent = 100 * results[0]["fraction"]
    for axes in (whole, start):
      _band(axes, percent, distortion, number, label)
    cost = np.stack([r["bits"][point] for r in results])
    places = np.geomspace(100, last, 60)
    _band(bits, places / 1000, on_axis(cost, distortion, places), number, label)
  whole.legend(fontsize=8)
  return figure


def trade_off(config: ConfigDict, jobs: Sequence[Job], store: Store) -> Figure | None:
  """Distortion against rate of the optimised masks, a point for each grid point."""
  del config
  figure = _figure(7, 5)
  axes = figure.subplots()
  rows = [row for row in summarise(jobs, store) if row.num_images]
  if not rows:
    return None
  shown = [job for job in jobs if any(row.job == job.name for row in rows)]
  for number, job in enumerate(shown):
    line = [row for row in rows if row.job == job.name]
    x, y = ([row.numbers[key] for row in line] for key in ("rate", "distortion"))
    axes.errorbar(
      [100 * m.value for m in x],
      [m.value for m in y],
      xerr=[100 * m.standard_error for m in x],
      yerr=[m.standard_error for m in y],
      label=_plain(_wrapped(job.full_label, 40)),
      marker="o",
      capsize=2,
      **_style(number),
    )
    for row, rate, distortion in zip(line, x, y, strict=True):
      text = ", ".join(f"{row.axes[name]:g}" for name in job.grid_axes)
      place = (100 * rate.value, distortion.value)
      axes.annotate(text, place, (4, 4), textcoords="offset points", fontsize=7)
  axes.set_xlabel("rate: mean of the mask, %")
  axes.set_ylabel("distortion, on fresh draws")
  axes.grid(alpha=0.2)
  axes.legend(fontsize=8)
  return figure


def by_axis(config: ConfigDict, jobs: Sequence[Job], store: Store) -> Figure | None:
  """Rate, distortion and retained probability, setting by setting."""
  del config
  rows = [row for row in summarise(jobs, store) if row.num_images]
  if not rows:
    return None
  figure = _figure(14, 1.2 + 0.45 * len(rows))
  places = -np.arange(len(rows))
  panels = figure.subplots(1, len(_LABELS), sharey=True)
  for axes, (key, label) in zip(panels, _LABELS.items(), strict=True):
    means = [row.numbers[key] for row in rows]
    values, errors = ([m[i] for m in means] for i in (0, 1))
    axes.errorbar(values, places, xerr=errors, fmt="o", capsize=3, color="#1f7a99")
    axes.set_xlabel(label)
    axes.set_yticks(places, [_plain(_wrapped(row.name, 50)) for row in rows])
    axes.grid(alpha=0.2)
    axes.margins(y=0.3)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
  return figure


def panels(config: ConfigDict, jobs: Sequence[Job], store: Store) -> Figure | None:
  """Photographs and their explanations: a row each, a column for each setting."""
  columns = [(job, point) for job in jobs for point in range(len(job.grid))]
  results = {job.name: selected_results(store, job.name) for job in jobs}
  by_id = {
    name: {str(r["id"]): r for r in found if "explanation" in r}
    for name, found in results.items()
  }
  names = [
    name for name in by_id[jobs[0].name] if all(name in by_id[job.name] for job in jobs)
  ][: config.report.num_panels]
  if not names:
    return None
  rows = {(row.job, row.point): row for row in summarise(jobs, store)}
  figure = _figure(2.2 * (1 + len(columns)), 0.4 + 3 * len(names))
  grid = figure.subplots(len(names), 1 + len(columns), squeeze=False)
  for line, name in zip(grid, names, strict=True):
    first = by_id[jobs[0].name][name]
    line[0].imshow(first["input_image"])
    line[0].set_title(_heading(first), fontsize=8)
    for axes, (job, point) in zip(line[1:], columns, strict=True):
      result = by_id[job.name][name]
      image = explained_image(result, point)
      axes.imshow(image, cmap="gray", vmin=0, vmax=255)
      axes.set_title(_caption(rows[job.name, point], result, point), fontsize=7)
    for axes in line:
      axes.set_axis_off()
  return figure


def runtime(config: ConfigDict, jobs: Sequence[Job], store: Store) -> Figure | None:
  """Seconds of one explanation, method by method."""
  del config
  rows = [row for row in summarise(jobs, store) if math.isfinite(row.seconds)]
  if not rows:
    return None
  figure = _figure(8, 1 + 0.4 * len(rows))
  axes = figure.subplots()
  places = -np.arange(len(rows))
  axes.plot([row.seconds for row in rows], places, "o", color="#1f7a99")
  axes.grid(alpha=0.2)
  axes.set_yticks(places, [_plain(row.name) for row in rows])
  axes.set_xscale("log")
  axes.set_xlabel("seconds for one photograph, compilation apart")
  for place, row in zip(places, rows, strict=True):
    axes.annotate(
      f"{row.seconds:.3g}",
      (row.seconds, place),
      (6, -3),
      textcoords="offset points",
      fontsize=8,
    )
  axes.margins(0.2)
  return figure


FIGURES: dict[str, FigureFn] = {
  "curves": curves,
  "trade_off": trade_off,
  "by_axis": by_axis,
  "panels": panels,
  "runtime": runtime,
}


def _figure(width: float, height: float) -> Figure:
  figure = Figure((width, height), dpi=110, facecolor="white", layout="constrained")
  FigureCanvasAgg(figure)
  return figure


def _style(number: int) -> dict[str, object]:
  colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
  style = _LINE_STYLES[number // len(colours) % len(_LINE_STYLES)]
  return {"color": colours[number % len(colours)], "linestyle": style}


def _band(axes: Axes, x: np.ndarray, values: np.ndarray, number: int, label: str):
  """Mean over photographs ``[n, P]`` with a standard error to either side."""
  style = _style(number)
  middle = values.mean(axis=0)
  axes.plot(x, middle, label=_plain(label), **style)
  if len(values) > 1:
    error = values.std(axis=0, ddof=1) / len(values) ** 0.5
    low, high = middle - error, middle + error
    axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)


def _heading(result: dict[str, np.ndarray]) -> str:
  """What a photograph shows and what the network says, of which one may be wrong."""
  said = f"{result['prediction_name']} ({result['confidence']:.2f})"
  if result["label"] < 0 or result["label"] == result["prediction"]:
    return _plain(_wrapped(said, _CHARACTERS))
  return _plain(_wrapped(f"{result['label_name']}, taken for {said}", _CHARACTERS))


def _caption(row: Row, result: dict[str, np.ndarray], point: int) -> str:
  numbers = (
    f"R {100 * result['rate'][point]:.2f} %  D {result['distortion'][point]:.3f}  "
    f"kept {percent(result['retained_probability'][point])}"
  )
  name = row.name.replace("lagrange multiplier", "λ")  # the panels are narrow
  return f"{_plain(_wrapped(name, _CHARACTERS))}\n{numbers}"


def _wrapped(text: str, width: int) -> str:
  return "\n".join(textwrap.wrap(text, width, break_on_hyphens=False))


def _plain(text: str) -> str:
  """Dollars are no formulas."""
  return text.replace("$", r"\$")
