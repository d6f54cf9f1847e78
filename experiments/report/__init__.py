"""What people look at: figures, tables, scalars and a gallery, made from the results.

Everything here is read off the files of a sweep and can be made again at any time; no
number is computed that the table does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from cawe_jax.figures import save_figure
from experiments.axes import Job
from experiments.report.figures import FIGURES
from experiments.report.gallery import write_gallery
from experiments.report.summary import summarise
from experiments.report.tables import (
  write_csv,
  write_curves,
  write_images,
  write_markdown,
)
from experiments.report.tensorboard import write_tensorboard
from experiments.store import Store


def write_report(config: ConfigDict, jobs: Sequence[Job], store: Store) -> list[Path]:
  """Write ``WORKDIR/report``.

  Args:
    config: The config; ``config.report.figures`` names entries of ``FIGURES``.
    jobs: All jobs, done.
    store: The sweep's folder.

  Returns:
    The files that were written, TensorBoard's folder among them.

  Raises:
    ValueError: No figure of that name.
  """
  check_report(config)
  folder = store.folder / "report"
  folder.mkdir(exist_ok=True)
  rows = summarise(jobs, store)
  paths = [folder / "table.md", folder / "table.csv"]
  write_markdown(config, rows, store, paths[0])
  write_csv(rows, paths[1])
  if config.task != "rank":
    paths.append(folder / "images.csv")
    write_images(jobs, store, paths[-1])
  if config.task == "curves":
    paths.append(folder / "curves.csv")
    write_curves(jobs, store, paths[-1])
  for name in config.report.figures:
    figure = FIGURES[name](config, jobs, store)
    if figure is not None:
      paths.append(folder / f"{name}.png")
      save_figure(figure, paths[-1])
  if config.task in ("explain", "rank"):
    paths.append(folder / "gallery.html")
    write_gallery(config, jobs, store, paths[-1])
  paths.append(folder / "tensorboard")
  write_tensorboard(jobs, store, paths[-1])
  return paths


def check_report(config: ConfigDict) -> None:
  """Refuse a figure that does not exist, before hours of work.

  Raises:
    ValueError: Names it and the ones that do.
  """
  for name in config.report.figures:
    if name not in FIGURES:
      raise ValueError(f"report.figures has {name!r}; allowed: {', '.join(FIGURES)}")
