"""What the published algorithm reaches: Adam, 300 steps of 16 draws, 4,800 evaluations.

    python -m experiments.bench.published --images FOLDER

runs it for both settings, ten photographs and five seeds of the noise, and keeps one
small JSON for each in ``experiments/bench/curves``, with date and versions; an
interrupted run goes on where it was. A run takes 1 to 3 minutes on two CPU cores, and
a second or two on a large GPU. The steps are taken with this
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
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import cawe_jax as cawe
from cawe_jax import files, recipes
from experiments.bench import machine
from experiments.bench.runs import (
  SETTINGS,
  Photograph,
  Score,
  score,
  search,
  sure_photographs,
)

CURVES = Path(__file__).parent / "curves"


class Published(NamedTuple):
  """A stored result.

  Attributes:
    score: Of the final mask, on the fresh draws.
    history: Noisy objective of every step.
    evaluations: Spent.
  """

  score: Score
  history: list[float]
  evaluations: int


def main() -> None:
  """Run what is missing."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--images", type=Path, required=True, help="a folder")
  parser.add_argument(
    "--count", type=machine.at_least_one, default=10, help="photographs (10)"
  )
  parser.add_argument(
    "--seeds", type=machine.at_least_one, default=5, help="runs of each (5)"
  )
  parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
  parser.add_argument("--torch", action="store_true", help="with PyTorch's reference")
  options = parser.parse_args()
  classifier = cawe.load_classifier("efficientnet-lite0")
  photographs = sure_photographs(options.images, classifier, options.count)
  run = _with_torch if options.torch else _with_library
  for photograph in photographs:
    for setting in options.settings:
      paths = [
        _path(setting, photograph, seed, options.torch) for seed in range(options.seeds)
      ]
      missing = [seed for seed, path in enumerate(paths) if not path.exists()]
      if missing:
        before = time.perf_counter()
        found = run(setting, photograph, classifier, missing)
        seconds = (time.perf_counter() - before) / len(missing)
        for seed, result in zip(missing, found, strict=True):
          _store(paths[seed], photograph, seed, result, seconds)
      stored = load(setting, photograph, with_torch=options.torch)
      objectives = " ".join(f"{result.score.objective:.5f}" for result in stored)
      print(f"{setting:12} {photograph.name:32} {objectives}", flush=True)


def load(
  setting: str, photograph: Photograph, with_torch: bool = False
) -> list[Published]:
  """The stored results, seed by seed."""
  found = []
  for seed in itertools.count():
    path = _path(setting, photograph, seed, with_torch)
    if not path.exists():
      return found
    record = json.loads(path.read_text())
    score = Score(record["distortions"], record["weighted_rate"])
    found.append(Published(score, record["history"], record["evaluations"]))


def typical(results: list[Published]) -> Published:
  """The one with the median objective; of an even number, the better of two."""
  ordered = sorted(results, key=lambda result: result.score.objective)
  return ordered[(len(ordered) - 1) // 2]


def _path(setting: str, photograph: Photograph, seed: int, with_torch: bool) -> Path:
  digest = hashlib.sha256(photograph.image.tobytes()).hexdigest()[:12]
  return CURVES / f"{setting}_{digest}_{seed}{'_torch' if with_torch else ''}.json"


def _with_library(
  setting: str, photograph: Photograph, classifier: Any, seeds: list[int]
) -> list[Published]:
  method = SETTINGS[setting].method(recipes.cvpr2023())
  found = search(classifier, photograph, method, seeds)
  return [Published(run.score, run.history, run.evaluations) for run in found]


def _with_torch(
  setting: str, photograph: Photograph, classifier: Any, seeds: list[int]
) -> list[Published]:
  from experiments.bench import reference

  recipe = recipes.cvpr2023()
  multiplier, noise, _ = SETTINGS[setting]
  network = reference.load_network()
  found = []
  for seed in seeds:
    run = reference.start(
      network,
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
    (scored,) = score(classifier, photograph, method, mask)
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
