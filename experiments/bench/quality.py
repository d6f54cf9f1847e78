"""Time until a mask is as good as the published algorithm's.

    python -m experiments.bench.quality --images FOLDER

For both published settings and every photograph whose published result is stored (see
:mod:`experiments.bench.published`) it searches a mask with a growing number of
evaluations, scores every mask on the same 256 fresh draws and prints the ratio of the
objectives, with the standard error of the paired difference and a ``!`` where the mask
is worse by more than 2 % and two of those. Then: the fewest evaluations that reach the
published objective or less, their seconds, and the speed-up, which is the published
4,800 evaluations at PyTorch's milliseconds, measured in the same run
(:mod:`experiments.bench.pairs`), over those seconds. To tell the algorithm from its
implementation there are two more ratios: of Adam with the default recipe's schedule,
steps and draws, and of the published algorithm after a tenth of its steps.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import cawe_jax as cawe
from cawe_jax import recipes, solvers
from cawe_jax.recipes import Recipe
from experiments.bench import machine, pairs, published
from experiments.bench.runs import (
  SETTINGS,
  Photograph,
  open_session,
  optimise,
  sure_photographs,
)

_TUNED = recipes.default()
RECIPES = [recipes.fast(), _TUNED._replace(num_steps=350), _TUNED]
RECIPES.append(_TUNED._replace(num_steps=700))
ADAM = _TUNED._replace(solver=solvers.adam(), step_size=recipes.cvpr2023().step_size)


class Result(NamedTuple):
  """One photograph and one recipe, against the published algorithm.

  Attributes:
    ratio: Of the recipe's objective to the published one.
    error: Standard error of the difference, from the same draws, over the published.
    evaluations: The recipe's.
    seconds: The recipe's.
  """

  ratio: float
  error: float
  evaluations: int
  seconds: float

  @property
  def is_worse(self) -> bool:
    """By more than 2 % and two standard errors."""
    return self.ratio - 1 > 0.02 + 2 * self.error

  def __str__(self) -> str:
    return f"{self.ratio:.3f}+-{self.error:.3f}{'!' if self.is_worse else ' '}"


class Row(NamedTuple):
  """One photograph.

  Attributes:
    published: Objective of the published algorithm.
    early: The ratio of its objective after a tenth of its steps.
    results: Of ``ADAM`` and of ``RECIPES``, with more and more evaluations.
  """

  published: float
  early: float
  results: list[Result]

  @property
  def first(self) -> Result | None:
    """The first of ``RECIPES`` that reaches the published objective, or less."""
    return next((result for result in self.results[1:] if result.ratio <= 1), None)


def main() -> None:
  """Measure and print."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--images", type=Path, required=True, help="a folder")
  parser.add_argument("--count", type=int, default=10, help="photographs (10)")
  parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
  options = parser.parse_args()
  classifier = cawe.load_classifier("efficientnet-lite0")
  photographs = sure_photographs(options.images, classifier, options.count)
  print(machine.describe())
  milliseconds = statistics.median(pairs.measure(4).reference)
  print(f"PyTorch: {milliseconds:.1f} ms per evaluation")
  for setting in options.settings:
    report(setting, photographs, classifier, milliseconds)


def report(
  setting: str,
  photographs: list[Photograph],
  classifier: Any,
  reference_milliseconds: float,
) -> None:
  """Print the table of one setting, line by line as results come."""
  print(f"\n{setting}: objective over that of 4,800 published evaluations")
  names = ["Adam", *(str(recipe.num_steps * recipe.num_draws) for recipe in RECIPES)]
  heads = "".join(f"{name:>15}" for name in names)
  tail = f"{'reached with':>14}{'s':>6}{'x':>6}"
  print(f"{'photograph':26}{'published':>9}{'first 10 %':>11}{heads}{tail}")
  rows: list[Row] = []
  speed_ups: list[float] = []
  for photograph in photographs:
    stored = published.load(setting, photograph)
    if stored is None:
      continue
    row = measure(setting, photograph, stored, classifier)
    rows.append(row)
    cells = "".join(f" {result!s:>14}" for result in row.results)
    line = f"{photograph.name[:25]:26}{row.published:9.5f}{row.early:11.2f}{cells}"
    if row.first is None:
      line += f"{'none':>14}"
    else:
      seconds = row.first.seconds
      speed_ups.append(stored.evaluations * reference_milliseconds / 1e3 / seconds)
      line += f"{row.first.evaluations:14}{seconds:6.1f}{speed_ups[-1]:6.1f}"
    print(line, flush=True)
  if rows:
    _summarise(rows, speed_ups)
  else:
    print("no published result is stored for these photographs")


def _summarise(rows: list[Row], speed_ups: list[float]) -> None:
  columns = list(zip(*(row.results for row in rows), strict=True))
  medians = [statistics.median(r.ratio for r in column) for column in columns]
  early = statistics.median(row.early for row in rows)
  # Where nothing was reached there is no speed-up, which a median counts as the least.
  every = [*speed_ups, *[0.0] * (len(rows) - len(speed_ups))]
  cells = "".join(f"{median:>7.3f}{'':8}" for median in medians)
  print(f"{'median':35}{early:11.2f}{cells}{'':20}{statistics.median(every):6.1f}")
  worst = "".join(f"{max(r.ratio for r in column):>7.3f}{'':8}" for column in columns)
  print(f"{'worst':46}{worst}{'':20}{min(every):6.1f}")
  worse = "".join(f"{sum(r.is_worse for r in c):>7}{'':8}" for c in columns)
  print(f"{f'worse (!), of {len(rows)}':46}{worse}")


def measure(
  setting: str, photograph: Photograph, stored: published.Published, classifier: Any
) -> Row:
  """Search with ``ADAM`` and every recipe, and compare."""

  def compare(recipe: Recipe) -> Result:
    method = SETTINGS[setting].method(recipe)
    session = open_session(classifier, photograph, method)
    run = optimise(session, classifier, method)
    _, error = run.score.minus(stored.score)
    theirs = stored.score.objective
    return Result(
      run.score.objective / theirs, error / theirs, run.evaluations, run.seconds
    )

  # One step's own draws are few: five steps around the tenth.
  tenth = len(stored.history) // 10
  early = statistics.mean(stored.history[max(tenth - 2, 0) : tenth + 3])
  return Row(
    stored.score.objective,
    early / stored.score.objective,
    [compare(recipe) for recipe in (ADAM, *RECIPES)],
  )


if __name__ == "__main__":
  main()
