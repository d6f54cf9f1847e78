"""Time and objective of the recipes against the published algorithm.

    python -m experiments.bench.quality --images FOLDER

For both published settings and every photograph whose published result is stored (see
:mod:`experiments.bench.published`) it searches a mask with each recipe, scores it on
the same 256 fresh draws and prints the ratio of the objectives, their paired difference
with its standard error, and the speed-up: the published 4,800 evaluations at PyTorch's
milliseconds, measured in the same run (:mod:`experiments.bench.pairs`), over the
recipe's wall time.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import cawe_jax as cawe
from cawe_jax import recipes
from experiments.bench import machine, pairs, published
from experiments.bench.runs import (
  SETTINGS,
  Photograph,
  open_session,
  optimise,
  sure_photographs,
)

RECIPES = {recipe.name: recipe for recipe in (recipes.fast(), recipes.default())}


class Row(NamedTuple):
  """One photograph, one recipe, against the published algorithm.

  Attributes:
    published: Objective of the published algorithm.
    ratio: Of the recipe's objective to it.
    difference: Of the two.
    error: Standard error of the difference, from the same draws.
    seconds: The recipe's.
    speed_up: The published algorithm's time with PyTorch over ``seconds``.
  """

  published: float
  ratio: float
  difference: float
  error: float
  seconds: float
  speed_up: float

  @property
  def is_worse(self) -> bool:
    """By more than 2 % and two standard errors."""
    return self.difference > 0.02 * self.published + 2 * self.error


def main() -> None:
  """Measure and print."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--images", type=Path, required=True, help="a folder")
  parser.add_argument("--count", type=int, default=10, help="photographs (10)")
  parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
  parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
  options = parser.parse_args()
  classifier = cawe.load_classifier("efficientnet-lite0")
  photographs = sure_photographs(options.images, classifier, options.count)
  print(machine.describe())
  milliseconds = statistics.median(pairs.measure(4).reference)
  print(f"PyTorch: {milliseconds:.1f} ms per evaluation")
  for setting in options.settings:
    report(setting, photographs, options.recipes, classifier, milliseconds)


def report(
  setting: str,
  photographs: list[Photograph],
  names: list[str],
  classifier: Any,
  reference_milliseconds: float,
) -> None:
  """Print the table of one setting, line by line as results come."""
  print(f"\n{setting}: objective against 4,800 published evaluations")
  heads = "".join(
    f"{name:>9} ratio{'difference':>22}{'s':>6}{'x':>6}" for name in names
  )
  print(f"{'photograph':26}{'published':>10}{heads}")
  found: dict[str, list[Row]] = {name: [] for name in names}
  for photograph in photographs:
    line = ""
    for name in names:
      row = _row(setting, photograph, name, classifier, reference_milliseconds)
      if row is None:
        continue
      found[name].append(row)
      line = line or f"{photograph.name[:25]:26}{row.published:10.5f}"
      difference = f"{row.difference:+.5f} +- {row.error:.5f}"
      line += f"{row.ratio:15.3f}{difference:>22}{row.seconds:6.1f}{row.speed_up:6.1f}"
      line += "!" if row.is_worse else " "
    if line:
      print(line, flush=True)
  for name, rows in found.items():
    if rows:
      recipe = RECIPES[name]
      print(
        f"{name}, {recipe.num_steps * recipe.num_draws} evaluations: objective x "
        f"{statistics.median(row.ratio for row in rows):.3f} (median), "
        f"{max(row.ratio for row in rows):.3f} (worst); faster x "
        f"{statistics.median(row.speed_up for row in rows):.1f} (median), "
        f"{min(row.speed_up for row in rows):.1f} (least); {len(rows)} photographs, "
        f"{sum(row.is_worse for row in rows)} worse by more than 2 % and two errors (!)"
      )


def _row(
  setting: str, photograph: Photograph, name: str, classifier: Any, milliseconds: float
) -> Row | None:
  stored = published.load(setting, photograph)
  if stored is None:
    return None
  method = SETTINGS[setting].method(RECIPES[name])
  session = open_session(classifier, photograph, method)
  run = optimise(session, classifier, method)
  difference, error = run.score.minus(stored.score)
  theirs = stored.evaluations * milliseconds / 1e3
  return Row(
    stored.score.objective,
    run.score.objective / stored.score.objective,
    difference,
    error,
    run.seconds,
    theirs / run.seconds,
  )


if __name__ == "__main__":
  main()
