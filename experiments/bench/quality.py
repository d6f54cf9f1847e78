"""Time until a mask is as good as the published algorithm's.

    python -m experiments.bench.quality --images FOLDER

For every setting, by default both published ones, and every photograph whose published
results are stored (:mod:`experiments.bench.published`, which takes the same
``--network`` and ``--settings``; of several seeds the one with the median objective
counts, and ``seeds`` are the ratios of the best and the worst to it; of this library's
own there are as many as ``--seeds`` says, and the median counts too) it searches a mask
with a growing number of evaluations, scores every mask on the same 256 fresh draws and
prints the ratio of the objectives, with the standard error of the paired difference and
a ``!`` where the mask is worse by more than 2 % and two of those. Then:

- ``gain``: by how much of the published objective the most evaluations end lower than
  the fewest, the mean over the seeds, and in how many seeds they end higher by more
  than two standard errors;
- the fewest evaluations that reach the published objective or less, their seconds, and
  the speed-up, which is the time of the published 4,800 evaluations over those
  seconds, at PyTorch's milliseconds in the same run (:mod:`experiments.bench.pairs`);
  for another network than EfficientNet-Lite0 at this library's own, with 16 draws.

To tell the algorithm from its implementation there is one more ratio, of the published
algorithm after a tenth of its steps, and with ``--adam`` another, of Adam with the
default recipe's schedule, steps and draws (one seed).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from cawe_jax import recipes, solvers
from cawe_jax.methods import Method
from cawe_jax.recipes import Recipe
from experiments.bench import machine, pairs
from experiments.bench.networks import DEFAULT, NAMES, Network, open_network
from experiments.bench.published import Published, load, typical
from experiments.bench.runs import PUBLISHED, SETTINGS, Photograph, Run, search

EVALUATIONS = (400, 500, 1000, 1150)
ADAM = recipes.default()._replace(
  solver=solvers.adam(), step_size=recipes.cvpr2023().step_size
)


class Result(NamedTuple):
  """One photograph and one recipe, against the published algorithm.

  Attributes:
    ratio: The recipe's objective over the published one.
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
    results: What the tuned recipe found, with more and more evaluations.
    gains: For every seed two numbers: by how much the objective falls from the fewest
      evaluations to the most, and the standard error of that, both in units of the
      published objective.
    adam: What ``ADAM`` found, where it was asked for.
  """

  published: list[Published]
  results: list[Result]
  gains: list[tuple[float, float]]
  adam: Result | None = None

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
    return [*([self.adam] if self.adam else []), *self.results]

  @property
  def losses(self) -> int:
    """In how many seeds more evaluations end higher, by two standard errors."""
    return sum(gain < -2 * error for gain, error in self.gains)

  @property
  def gain(self) -> str:
    """The mean over the seeds, and the losses."""
    mean = statistics.mean(gain for gain, _ in self.gains)
    return f"{mean:.3f} {self.losses}/{len(self.gains)}"


def main() -> None:
  """Measure and print."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--images", type=Path, help="a folder; digits need none")
  parser.add_argument("--network", default=DEFAULT, help=f"{NAMES} ({DEFAULT})")
  parser.add_argument(
    "--count", type=machine.at_least_one, default=10, help="photographs (10)"
  )
  parser.add_argument("--only", default="", help="photographs whose name has this")
  parser.add_argument(
    "--settings", nargs="+", choices=SETTINGS, default=PUBLISHED, help="the published"
  )
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
  parser.add_argument("--adam", action="store_true", help="Adam too, as a comparison")
  options = parser.parse_args()
  network = open_network(options.network, options.images, options.count)
  tuned = [
    recipes.tuned(max(1, evaluations // recipes.default().num_draws))
    for evaluations in sorted(options.evaluations)
  ]
  photographs = [
    photograph for photograph in network.photographs if options.only in photograph.name
  ]
  if not photographs:
    raise SystemExit(
      f"--only {options.only}: in no name of {options.count} photographs"
    )
  print(machine.describe())
  milliseconds = published_milliseconds(network)
  for setting in options.settings:
    report(
      network, setting, photographs, milliseconds, tuned, options.seeds, options.adam
    )


def published_milliseconds(network: Network) -> float:
  """What the published algorithm needs for an evaluation, printed too."""
  if network.name == DEFAULT:
    who, milliseconds = "PyTorch", statistics.median(pairs.measure(4).reference)
  else:
    who = "the published recipe, with this library"
    run, evaluations = pairs.segment_of_steps(
      network.classifier, network.photographs[0].image[None], recipes.cvpr2023()
    )
    run()
    milliseconds = 1e3 * statistics.median(machine.timings(run, 5)) / evaluations
  print(f"{who}: {milliseconds:.1f} ms per evaluation")
  return milliseconds


def report(
  network: Network,
  setting: str,
  photographs: list[Photograph],
  published_milliseconds: float,
  tuned: Sequence[Recipe],
  seeds: int,
  adam: bool = False,
) -> None:
  """Print the table of one setting, line by line as results come."""
  print(f"\n{setting}: objective over that of 4,800 published evaluations")
  names = [str(recipe.num_steps * recipe.num_draws) for recipe in tuned]
  names = ["Adam", *names] if adam else names
  heads = "".join(f"{name:>15}" for name in names)
  tail = f"{'gain':>12}{'reached with':>14}{'s':>6}{'x':>6}"
  print(
    f"{'photograph':26}{'published':>9}{'seeds':>11}{'first 10 %':>11}{heads}{tail}"
  )
  rows: list[Row] = []
  for photograph in photographs:
    stored = load(network, setting, photograph)
    if not stored:
      continue
    method = SETTINGS[setting].method
    row = measure(
      network, method, photograph, stored, published_milliseconds, tuned, seeds, adam
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
    print(f"{head}{cells}{row.gain:>12}{reached}", flush=True)
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

  def line(
    title: str, cells: list[str], early: str = "", gain: str = "", speed_up: str = ""
  ) -> None:
    # Under the ratios, behind which errors and marks take eight characters.
    under = "".join(cell.rjust(7).ljust(15) for cell in cells)
    print(f"{title:46}{early:>11}{under}{gain:>12}{speed_up:>26}")

  def ratios(of: Callable) -> list[str]:
    return [f"{of(result.ratio for result in column):.3f}" for column in columns]

  line(
    "median",
    ratios(statistics.median),
    early=f"{statistics.median(row.early for row in rows):.2f}",
    speed_up=f"{statistics.median(speed_ups):.1f}",
  )
  line("worst", ratios(max), speed_up=f"{min(speed_ups):.1f}")
  pairs_ = [pair for row in rows for pair in row.gains]
  line(
    f"worse (!), of {len(rows)}",
    [str(sum(r.is_worse for r in c)) for c in columns],
    gain=f"{sum(row.losses for row in rows)}/{len(pairs_)}",
  )


def measure(
  network: Network,
  method: Callable[[Recipe], Method],
  photograph: Photograph,
  stored: list[Published],
  published_milliseconds: float,
  tuned: Sequence[Recipe],
  seeds: int,
  adam: bool = False,
) -> Row:
  """Search with every tuned recipe, and with ``ADAM`` once, and compare the median."""
  usual = typical(stored)
  theirs = usual.score.objective

  def runs_of(recipe: Recipe, seeds: int) -> list[Run]:
    return search(network.classifier, photograph, method(recipe), range(seeds))

  def compare(runs: list[Run]) -> Result:
    # The median; of an even number the worse of two, as the published is the better.
    run = sorted(runs, key=lambda run: run.score.objective)[len(runs) // 2]
    _, error = run.score.minus(usual.score)
    return Result(
      run.score.objective / theirs,
      error / theirs,
      run.evaluations,
      run.seconds,
      usual.evaluations * published_milliseconds / 1e3 / run.seconds,
    )

  found = [runs_of(recipe, seeds) for recipe in tuned]
  gains = [
    tuple(value / theirs for value in few.score.minus(many.score))
    for few, many in zip(found[0], found[-1], strict=True)
  ]
  return Row(
    stored,
    [compare(runs) for runs in found],
    gains,
    compare(runs_of(ADAM, 1)) if adam else None,
  )


if __name__ == "__main__":
  main()
