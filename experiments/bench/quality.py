"""Objective reached and evaluations spent, against the published algorithm.

    python -m experiments.bench.quality --images FOLDER --curves CURVES [--full]

For the two published settings and the first photographs of a folder that the network
is sure of, each recipe's mask is scored on the same 256 fresh draws as that of the
published algorithm: Adam with step size 0.1 from a mask of ones, 300 steps of 16
draws, run with this library's own evaluation, which equals PyTorch's
(``tests/test_torch_twin.py``). ``--full`` runs it where CURVES has no file of it yet,
one small JSON for each photograph and setting, so an interrupted run goes on where it
was; without, what is missing is left out. An evaluation is one draw of one image,
forward and backward.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import importlib
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import cawe_jax as cawe
from cawe_jax import files, perturbations, recipes
from cawe_jax.methods import Method
from cawe_jax.recipes import Recipe
from cawe_jax.session import Session

SETTINGS = {
  "gaussian-20": (20.0, perturbations.adaptive_gaussian()),
  "uniform-1": (1.0, perturbations.adaptive_uniform()),
}
NUM_DRAWS, FIRST_STEP = 256, 2**31
MINIMUM_PROBABILITY = 0.6


class Result(NamedTuple):
  """What one run came to.

  Attributes:
    distortions: On each of the fresh draws.
    weighted_rate: Multiplier times rate.
    evaluations: Spent on the way.
    seconds: Of the optimisation, compilation included.
    history: Noisy objective of every step.
  """

  distortions: list[float]
  weighted_rate: float
  evaluations: int
  seconds: float
  history: list[float]

  @property
  def objective(self) -> float:
    """Mean distortion and the weighted rate."""
    return float(np.mean(self.distortions)) + self.weighted_rate


def main() -> None:
  """Measure and print."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--images", type=Path, required=True, help="a folder")
  parser.add_argument("--curves", type=Path, required=True, help="folder of results")
  parser.add_argument("--count", type=int, default=10, help="photographs (10)")
  parser.add_argument("--full", action="store_true", help="run what is missing")
  parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=SETTINGS)
  options = parser.parse_args()
  classifier = cawe.load_classifier("efficientnet-lite0")
  photographs = _sure_photographs(options.images, classifier, options.count)
  ours = {recipe.name: recipe for recipe in (recipes.fast(), recipes.default())}
  for name in options.settings:
    multiplier, perturbation = SETTINGS[name]

    def method(recipe: Recipe, m=multiplier, p=perturbation) -> Method:
      return cawe.cartoonx(m, perturbation=p, recipe=recipe)

    print(f"\n{name}: objective after 4800 published evaluations, and ratios to it")
    columns = "".join(f"{f'{n} ratio':>15}{'difference':>20}{'s':>6}" for n in ours)
    print(f"{'photograph':28}{'published':>10}{columns}")
    ratios: dict[str, list[float]] = {recipe: [] for recipe in ours}
    for path, image in photographs:
      digest = hashlib.sha256(image.tobytes()).hexdigest()[:16]
      curve = options.curves / f"{name}_{digest}.json"
      if not curve.exists() and not options.full:
        continue
      published = _published(curve, path, image, classifier, method)
      line = f"{path.stem[:27]:28}{published.objective:10.5f}"
      for recipe in ours.values():
        found = _run(classifier, image, method(recipe))
        ratios[recipe.name].append(found.objective / published.objective)
        change = np.subtract(found.distortions, published.distortions)
        error = change.std(ddof=1) / NUM_DRAWS**0.5
        difference = found.objective - published.objective
        line += f"{ratios[recipe.name][-1]:15.3f}"
        line += f"{f'{difference:+.5f} +- {error:.5f}':>20}{found.seconds:6.0f}"
      print(line, flush=True)
    for recipe_name, values in ratios.items():
      if values:
        evaluations = ours[recipe_name].num_steps * ours[recipe_name].num_draws
        print(
          f"{recipe_name}, {evaluations} evaluations: median ratio "
          f"{np.median(values):.3f}, worst {max(values):.3f}, {len(values)} photographs"
        )


def _sure_photographs(folder: Path, classifier, count: int) -> list:
  """Paths and images whose predicted class has at least ``MINIMUM_PROBABILITY``."""
  found = []
  for path in sorted(p for p in folder.rglob("*") if p.is_file()):
    image = np.asarray(cawe.load_image(path, size=classifier.input_size))
    if jax.nn.softmax(classifier(image[None])[0]).max() >= MINIMUM_PROBABILITY:
      found.append((path, image))
    if len(found) == count:
      break
  return found


def _published(curve: Path, path: Path, image, classifier, method) -> Result:
  """The stored result, or a new one that is stored."""
  if not curve.exists():
    result = _run(classifier, image, method(recipes.cvpr2023()))
    record: dict[str, Any] = {
      "photograph": path.name,
      "date": datetime.date.today().isoformat(),
      "versions": {"cawe_jax": cawe.__version__, "jax": jax.__version__},
      **result._asdict(),
    }
    curve.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_write(curve) as temporary:
      temporary.write_text(json.dumps(record) + "\n")
  record = json.loads(curve.read_text())
  return Result(**{name: record[name] for name in Result._fields})


def _run(classifier, image: np.ndarray, method: Method) -> Result:
  """Optimise, and score the mask on fresh draws, the same for every method."""
  explain_ = importlib.import_module("cawe_jax.explain")  # the name is a function's too
  session = Session(
    classifier,
    image[None],
    method,
    key=jax.random.key(0),
    targets=None,
    image_ids=None,
    rows=None,
  )
  _, empty = explain_.empty_masks(session)
  before = time.perf_counter()
  masks, num_steps, history = explain_.optimise(
    session, classifier, method, empty, None, None
  )
  seconds = time.perf_counter() - before
  estimates = [
    session.evaluate(masks, FIRST_STEP + draw, 1)[0] for draw in range(NUM_DRAWS)
  ]
  rate = np.mean(np.concatenate([np.ravel(leaf) for leaf in masks]))
  return Result(
    [round(float(estimate.distortion[0]), 8) for estimate in estimates],
    float(method.lagrange_multiplier * rate),
    int(num_steps[0]) * session.num_draws,
    round(seconds, 1),
    [round(float(value), 6) for value in history.objective[0]],
  )


if __name__ == "__main__":
  main()
