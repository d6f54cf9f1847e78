"""Time until a mask is as good as the published algorithm's.

    python -m experiments.bench.quality --images FOLDER

For both published settings and every photograph whose published results are stored (see
:mod:`experiments.bench.published`; of several seeds the one with the median objective
counts, and ``seeds`` are the ratios of the best and the worst to it; of this library's
own there are as many as ``--seeds`` says, and the median counts too) it searches a mask
with a growing number of evaluations, scores every mask on the same 256 fresh draws and
prints the ratio of the objectives, with the standard error of the paired difference and
a ``!`` where the mask is worse by more than 2 % and two of those. Then: the fewest
evaluations that reach the published objective or less, their seconds, and the speed-up,
which is the published 4,800 evaluations at PyTorch's milliseconds, measured in the same
run (:mod:`experiments.bench.pairs`), over those seconds. To tell the algorithm from its
implementation there are two more ratios: of Adam with the default recipe's schedule,
steps and draws (one seed), and of the published algorithm after a tenth of its steps.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cawe_jax as cawe
from cawe_jax import recipes, solvers
from cawe_jax.recipes import Recipe
from experiments.bench import machine, pairs
from experiments.bench.published import Published, load, typical
from experiments.bench.runs import (
  SETTINGS,
  Photograph,
  search,
  sure_photographs,
)

EVALUATIONS = (400, 500, 1000, 1150)
ADAM = recipes.default()._replace(
  solver=solvers.adam(), step_size=recipes.cvpr2023().step_size
)


class Result(NamedTuple):
  """One photograph and one recipe, against the published algorithm.

  Attributes:
    ratio: Of the recipe's objective to the published one.
    error: Standard error of the difference, from the same draws, over the published.
    evaluations: The recipe's.
    seconds: The recipe's.
    speed_up: The published algorithm's time with PyTorch over ``seconds``.
  """

  ratio: float
  error: float
  evaluations: int
  seconds: float
  speed_up: float

  @property
  def is_worse(self) -> bool:
    """By more than 2 % and two standard errors."""
    return self.ratio - 1 > 0.02 + 2 * self.error

  def __str__(self) -> str:
    return f"{self.ratio:.3f}+-{self.error:.3f}{'!' if self.is_worse else ' '}"


class Row(NamedTuple):
  """One photograph.

  Attributes:
    published: The published algorithm's results, seed by seed.
    adam: Of ``ADAM``.
    results: Of the tuned recipe, with more and more evaluations.
  """

  published: list[Published]
  adam: Result
  results: list[Result]

  @property
  def objective(self) -> float:
    """The published one: of the typical seed."""
    return typical(self.published).score.objective

  @property
  def seeds(self) -> str:
    """The best and the worst seed's objective over the typical one's."""
    ratios = [result.score.objective / self.objective for result in self.published]
    return f"{min(ratios):.2f}-{max(ratios):.2f}"

  @property
  def early(self) -> float:
    """The ratio of the typical seed's objective after a tenth of its steps."""
    history = typical(self.published).history
    # One step's own draws are few: five steps around the tenth.
    tenth = len(history) // 10
    return statistics.mean(history[max(tenth - 2, 0) : tenth + 3]) / self.objective

  @property
  def first(self) -> Result | None:
    """The first result that reaches the published objective, or less."""
    return next((result for result in self.results if result.ratio <= 1), None)

  @property
  def columns(self) -> list[Result]:
    """What the table has of it."""
    return [self.adam, *self.results]


def main() -> None:
  """Measure and print."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--images", type=Path, required=True, help="a folder")
  parser.add_argument(
    "--count", type=machine.at_least_one, default=10, help="photographs (10)"
  )
  parser.add_argument("--only", default="", help="photographs whose name has this")
  parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
  parser.add_argument(
    "--evaluations",
    nargs="+",
    type=machine.at_least_one,
    default=EVALUATIONS,
    help="how many a search may take, growing (400 500 1000 1150)",
  )
  parser.add_argument(
    "--seeds",
    type=machine.at_least_one,
    default=1,
    help="of this library's noise, of which the median counts too; powers of two leave "
    "no row of the network empty (1)",
  )
  options = parser.parse_args()
  classifier = cawe.load_classifier("efficientnet-lite0")
  tuned = [
    recipes.tuned(max(1, evaluations // recipes.default().num_draws))
    for evaluations in sorted(options.evaluations)
  ]
  photographs = [
    photograph
    for photograph in sure_photographs(options.images, classifier, options.count)
    if options.only in photograph.name
  ]
  if not photographs:
    raise SystemExit(
      f"--only {options.only}: in no name of {options.count} photographs"
    )
  print(machine.describe())
  milliseconds = statistics.median(pairs.measure(4).reference)
  print(f"PyTorch: {milliseconds:.1f} ms per evaluation")
  for setting in options.settings:
    report(setting, photographs, classifier, milliseconds, tuned, options.seeds)


def report(
  setting: str,
  photographs: list[Photograph],
  classifier: Any,
  reference_milliseconds: float,
  tuned: Sequence[Recipe],
  seeds: int,
) -> None:
  """Print the table of one setting, line by line as results come."""
  print(f"\n{setting}: objective over that of 4,800 published evaluations")
  names = ["Adam", *(str(recipe.num_steps * recipe.num_draws) for recipe in tuned)]
  heads = "".join(f"{name:>15}" for name in names)
  tail = f"{'reached with':>14}{'s':>6}{'x':>6}"
  print(
    f"{'photograph':26}{'published':>9}{'seeds':>11}{'first 10 %':>11}{heads}{tail}"
  )
  rows: list[Row] = []
  for photograph in photographs:
    stored = load(setting, photograph)
    if not stored:
      continue
    row = measure(
      setting, photograph, stored, classifier, reference_milliseconds, tuned, seeds
    )
    rows.append(row)
    first = row.first
    reached = (
      f"{first.evaluations:14}{first.seconds:6.1f}{first.speed_up:6.1f}"
      if first
      else f"{'none':>14}"
    )
    cells = "".join(f" {result!s:>14}" for result in row.columns)
    name = f"{photograph.name[:25]:26}"
    head = f"{name}{row.objective:9.5f}{row.seeds:>11}{row.early:11.2f}"
    print(f"{head}{cells}{reached}", flush=True)
  if rows:
    _summarise(rows)
  else:
    print(
      "no published result is stored for these photographs; python -m "
      "experiments.bench.published --images FOLDER makes them"
    )


def _summarise(rows: list[Row]) -> None:
  columns = list(zip(*(row.columns for row in rows), strict=True))
  # Where nothing was reached there is no speed-up, which counts as the least.
  speed_ups = [row.first.speed_up if row.first else 0.0 for row in rows]

  def line(title: str, cells: list[str], early: str = "", speed_up: str = "") -> None:
    # Under the ratios, behind which errors and marks take eight characters.
    under = "".join(cell.rjust(7).ljust(15) for cell in cells)
    print(f"{title:46}{early:>11}{under}{speed_up:>26}")

  def ratios(of: Callable) -> list[str]:
    return [f"{of(result.ratio for result in column):.3f}" for column in columns]

  line(
    "median",
    ratios(statistics.median),
    early=f"{statistics.median(row.early for row in rows):.2f}",
    speed_up=f"{statistics.median(speed_ups):.1f}",
  )
  line("worst", ratios(max), speed_up=f"{min(speed_ups):.1f}")
  line(f"worse (!), of {len(rows)}", [str(sum(r.is_worse for r in c)) for c in columns])


def measure(
  setting: str,
  photograph: Photograph,
  stored: list[Published],
  classifier: Any,
  reference_milliseconds: float,
  tuned: Sequence[Recipe],
  seeds: int,
) -> Row:
  """Search with ``ADAM``, once, and every tuned recipe, and compare the median seed."""
  usual = typical(stored)
  theirs = usual.score.objective

  def compare(recipe: Recipe, seeds: int) -> Result:
    method = SETTINGS[setting].method(recipe)
    runs = search(classifier, photograph, method, range(seeds))
    # The median; of an even number the worse of two, as the published is the better.
    run = sorted(runs, key=lambda run: run.score.objective)[len(runs) // 2]
    _, error = run.score.minus(usual.score)
    return Result(
      run.score.objective / theirs,
      error / theirs,
      run.evaluations,
      run.seconds,
      usual.evaluations * reference_milliseconds / 1e3 / run.seconds,
    )

  return Row(stored, compare(ADAM, 1), [compare(recipe, seeds) for recipe in tuned])


if __name__ == "__main__":
  main()
