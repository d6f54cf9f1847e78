"""What the published algorithm reaches: Adam, 300 steps of 16 draws, 4,800 evaluations.

    python -m experiments.bench.published --images FOLDER

runs it for both published settings, ten photographs and five seeds of the noise, and
keeps one small JSON for each in ``experiments/bench/curves``, with date and versions;
an interrupted run goes on where it was. ``--settings`` and ``--network`` name others
(:mod:`experiments.bench.networks`), with the published steps, draws and step size. A
run of EfficientNet-Lite0 takes 1 to 3 minutes on two CPU cores, and a second or two on
a large GPU. The steps are taken with this
library's evaluation, which is several times faster than PyTorch's and equal to it
(``tests/test_torch_twin.py``); ``--torch`` takes them with
:mod:`experiments.bench.reference` instead, under a name of its own, so that the two can
be compared.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import cawe_jax as cawe
from cawe_jax import recipes
from cawe_jax.files import writing as files
from experiments.bench import machine
from experiments.bench.networks import DEFAULT, NAMES, Network, open_network
from experiments.bench.runs import (
  PUBLISHED,
  SETTINGS,
  Photograph,
  Score,
  score,
  search,
)

CURVES = Path(__file__).parent / "curves"


class Published(NamedTuple):
  """A stored result.

  Attributes:
    score: What the final mask is worth on fresh draws.
    history: Noisy objective of every step.
    evaluations: Spent.
  """

  score: Score
  history: list[float]
  evaluations: int


def main() -> None:
  """Run what is missing."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--images", type=Path, help="a folder; digits need none")
  parser.add_argument("--network", default=DEFAULT, help=f"{NAMES} ({DEFAULT})")
  parser.add_argument(
    "--count", type=machine.at_least_one, default=10, help="photographs (10)"
  )
  parser.add_argument(
    "--seeds", type=machine.at_least_one, default=5, help="runs of each (5)"
  )
  parser.add_argument(
    "--settings", nargs="+", choices=SETTINGS, default=PUBLISHED, help="the published"
  )
  parser.add_argument("--torch", action="store_true", help="with PyTorch's reference")
  options = parser.parse_args()
  if options.torch:
    check_torch(options.network, options.settings)
  network = open_network(options.network, options.images, options.count)
  run = _with_torch if options.torch else _with_library
  for photograph in network.photographs:
    for setting in options.settings:
      paths = [
        _path(network, setting, photograph, seed, options.torch)
        for seed in range(options.seeds)
      ]
      missing = [seed for seed, path in enumerate(paths) if not path.exists()]
      if missing:
        before = time.perf_counter()
        found = run(network, setting, photograph, missing)
        seconds = (time.perf_counter() - before) / len(missing)
        for seed, result in zip(missing, found, strict=True):
          _store(paths[seed], photograph, seed, result, seconds)
      stored = load(network, setting, photograph, with_torch=options.torch)
      objectives = " ".join(f"{result.score.objective:.5f}" for result in stored)
      print(f"{setting:12} {photograph.name:32} {objectives}", flush=True)


def check_torch(network: str, settings: Sequence[str]) -> None:
  """Refuse networks and settings that the reference in PyTorch does not have.

  Raises:
    SystemExit: A network that is not EfficientNet-Lite0, a method that is not CartoonX.
  """
  if network != DEFAULT:
    raise SystemExit(f"--network {network}: allowed with --torch is {DEFAULT}")
  for name in settings:
    if SETTINGS[name].make is not cawe.cartoonx:
      raise SystemExit(f"--settings {name}: allowed with --torch is CartoonX alone")


def load(
  network: Network, setting: str, photograph: Photograph, with_torch: bool = False
) -> list[Published]:
  """The stored results, seed by seed."""
  found = []
  for seed in itertools.count():
    path = _path(network, setting, photograph, seed, with_torch)
    if not path.exists():
      return found
    record = json.loads(path.read_text())
    score = Score(record["distortions"], record["weighted_rate"])
    found.append(Published(score, record["history"], record["evaluations"]))


def typical(results: list[Published]) -> Published:
  """The one with the median objective; of an even number, the better of two."""
  ordered = sorted(results, key=lambda result: result.score.objective)
  return ordered[(len(ordered) - 1) // 2]


def _path(
  network: Network, setting: str, photograph: Photograph, seed: int, with_torch: bool
) -> Path:
  digest = hashlib.sha256(photograph.image.tobytes()).hexdigest()[:12]
  name = f"{setting}_{digest}_{seed}{'_torch' if with_torch else ''}.json"
  return CURVES / network.name / name


def _with_library(
  network: Network, setting: str, photograph: Photograph, seeds: list[int]
) -> list[Published]:
  method = SETTINGS[setting].method(recipes.cvpr2023())
  found = search(network.classifier, photograph, method, seeds)
  return [Published(run.score, run.history, run.evaluations) for run in found]


def _with_torch(
  network: Network, setting: str, photograph: Photograph, seeds: list[int]
) -> list[Published]:
  from experiments.bench import reference

  recipe = recipes.cvpr2023()
  multiplier, noise, *_ = SETTINGS[setting]
  theirs = reference.load_network()
  found = []
  for seed in seeds:
    run = reference.start(
      theirs,
      photograph.image,
      multiplier,
      noise,
      num_draws=recipe.num_draws,
      step_size=recipe.step_size,
      seed=seed,
    )
    history = [round(run.step(), 6) for _ in range(recipe.num_steps)]
    mask = tuple(np.asarray(leaf)[None] for leaf in run.mask())
    method = SETTINGS[setting].method(recipe)
    (scored,) = score(network.classifier, photograph, method, mask)
    found.append(Published(scored, history, recipe.num_steps * recipe.num_draws))
  return found


def _store(
  path: Path, photograph: Photograph, seed: int, found: Published, seconds: float
) -> None:
  record = {
    "photograph": photograph.name,
    "seed": seed,
    "date": datetime.date.today().isoformat(),
    "versions": {"cawe-jax": cawe.__version__} | machine.versions(),
    "device": jax.devices()[0].device_kind,
    "seconds": round(seconds, 1),
    "evaluations": found.evaluations,
    **found.score._asdict(),
    "history": found.history,
  }
  path.parent.mkdir(parents=True, exist_ok=True)
  with files.atomic_write(path) as temporary:
    temporary.write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
  main()
