"""What the published algorithm reaches: Adam, 300 steps of 16 draws, 4,800 evaluations.

    python -m experiments.bench.published --images FOLDER

runs it for both settings and ten photographs and keeps one small JSON for each in
``experiments/bench/curves``, with date and versions; an interrupted run goes on where
it was. It takes 1 to 3 minutes each on two CPU cores. The steps are taken with this
library's evaluation, which is several times faster than PyTorch's and equal to it
(``tests/test_torch_twin.py``); ``--torch`` takes them with
:mod:`experiments.bench.reference` instead, under a name of its own, so that the two can
be compared.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import cawe_jax as cawe
from cawe_jax import files, recipes
from experiments.bench import machine
from experiments.bench.runs import (
  SETTINGS,
  Photograph,
  Score,
  open_session,
  optimise,
  score,
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
  parser.add_argument("--count", type=int, default=10, help="photographs (10)")
  parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
  parser.add_argument("--torch", action="store_true", help="with PyTorch's reference")
  options = parser.parse_args()
  classifier = cawe.load_classifier("efficientnet-lite0")
  photographs = sure_photographs(options.images, classifier, options.count)
  run = _with_torch if options.torch else _with_library
  for photograph in photographs:
    for setting in options.settings:
      path = _path(setting, photograph, options.torch)
      if not path.exists():
        before = time.perf_counter()
        found, history, evaluations = run(setting, photograph, classifier)
        seconds = round(time.perf_counter() - before, 1)
        _store(path, photograph, found, history, evaluations, seconds)
      stored = load(setting, photograph, with_torch=options.torch)
      assert stored is not None
      print(
        f"{setting:12} {photograph.name:32} {stored.score.objective:.5f}", flush=True
      )


def load(
  setting: str, photograph: Photograph, with_torch: bool = False
) -> Published | None:
  """The stored result, or None."""
  path = _path(setting, photograph, with_torch)
  if not path.exists():
    return None
  record = json.loads(path.read_text())
  return Published(
    Score(record["distortions"], record["weighted_rate"]),
    record["history"],
    record["evaluations"],
  )


def _path(setting: str, photograph: Photograph, with_torch: bool) -> Path:
  digest = hashlib.sha256(photograph.image.tobytes()).hexdigest()[:12]
  return CURVES / f"{setting}_{digest}{'_torch' if with_torch else ''}.json"


def _with_library(setting: str, photograph: Photograph, classifier: Any):
  method = SETTINGS[setting].method(recipes.cvpr2023())
  session = open_session(classifier, photograph, method)
  run = optimise(session, classifier, method)
  return run.score, run.history, run.evaluations


def _with_torch(setting: str, photograph: Photograph, classifier: Any):
  from experiments.bench import reference

  recipe = recipes.cvpr2023()
  multiplier, noise, _ = SETTINGS[setting]
  run = reference.start(
    reference.load_network(),
    photograph.image,
    multiplier,
    noise,
    num_draws=recipe.num_draws,
    step_size=recipe.step_size,
  )
  history = [round(run.step(), 6) for _ in range(recipe.num_steps)]
  method = SETTINGS[setting].method(recipe)
  session = open_session(classifier, photograph, method)
  mask = tuple(np.asarray(leaf)[None] for leaf in run.mask())
  evaluations = recipe.num_steps * recipe.num_draws
  return score(session, mask, multiplier), history, evaluations


def _store(
  path: Path,
  photograph: Photograph,
  found: Score,
  history: list[float],
  evaluations: int,
  seconds: float,
) -> None:
  record = {
    "photograph": photograph.name,
    "date": datetime.date.today().isoformat(),
    "versions": {"cawe-jax": cawe.__version__} | machine.versions(),
    "seconds": seconds,
    "evaluations": evaluations,
    **found._asdict(),
    "history": history,
  }
  path.parent.mkdir(parents=True, exist_ok=True)
  with files.atomic_write(path) as temporary:
    temporary.write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
  main()
