"""One model evaluation of this library and of the PyTorch reference, in turn.

    python -m experiments.bench.pairs

prints milliseconds of each and their ratio, pair by pair: on a machine that others use
too, the ratio of neighbours holds where absolute times drift. An
evaluation is one draw of one image, forward and backward, with everything that a step
costs: noise, synthesis, network, penalty and the solver's own work. The reference takes
16 draws a step as published; this library as its default recipe does, and with 16.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

import cawe_jax as cawe
from cawe_jax import recipes
from cawe_jax.engine.programs import SEGMENT_STEPS, Window
from cawe_jax.engine.session import Session
from cawe_jax.recipes import Recipe
from cawe_jax.samples import sample_path
from experiments.bench import machine
from experiments.bench.runs import SETTINGS

SETTING = "gaussian-20"


class Pairs(NamedTuple):
  """Milliseconds per evaluation, one value for each pair."""

  reference: list[float]
  default: list[float]
  published: list[float]

  @property
  def ratio(self) -> float:
    """Median of the reference's time over the default recipe's."""
    return statistics.median(
      theirs / ours for theirs, ours in zip(self.reference, self.default, strict=True)
    )


def main() -> None:
  """Measure and print."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--pairs", type=machine.at_least_one, default=8, help="how many (8)"
  )
  options = parser.parse_args()
  print(machine.describe())
  report(measure(options.pairs), machine.floor_milliseconds())


def measure(count: int) -> Pairs:
  """Both sides in turn, ``count`` times, after one uncounted turn of each."""
  from experiments.bench import reference  # PyTorch, which only measuring needs

  classifier = cawe.load_classifier("efficientnet-lite0")
  image = np.asarray(cawe.load_image(sample_path("coffee"), classifier.input_size))
  multiplier, noise, *_ = SETTINGS[SETTING]
  theirs = reference.start(reference.load_network(), image, multiplier, noise)
  sides: list[tuple[Callable[[], object], int]] = [
    (theirs.step, recipes.cvpr2023().num_draws),
    segment_of_steps(classifier, image[None], recipes.default()),
    segment_of_steps(classifier, image[None], recipes.cvpr2023()),
  ]
  for run, _ in sides:
    run()
  rows = [
    [1e3 * machine.seconds(run) / evaluations for run, evaluations in sides]
    for _ in range(count)
  ]
  return Pairs(*map(list, zip(*rows, strict=True)))


def report(pairs: Pairs, floor: float) -> None:
  """Print a table of the pairs and their medians."""
  print(f"\nmilliseconds per evaluation; floor {floor:.1f}")
  print(f"{'':8}{'PyTorch':>10}{'default':>10}{'16 draws':>10}{'ratio':>8}")
  rows = list(zip(*pairs, strict=True))
  for i, (theirs, ours, published) in enumerate(rows):
    print(f"{i + 1:<8}{theirs:10.1f}{ours:10.1f}{published:10.1f}{theirs / ours:8.2f}")
  middle = [statistics.median(values) for values in pairs]
  print(f"{'median':8}{''.join(f'{x:10.1f}' for x in middle)}{pairs.ratio:8.2f}")
  print(f"{'x floor':8}{''.join(f'{x / floor:10.1f}' for x in middle)}")


def segment_of_steps(
  classifier: cawe.Classifier, images: np.ndarray, recipe: Recipe
) -> tuple[Callable[[], object], int]:
  """A segment of steps of every image, and how many evaluations it is."""
  session = Session(
    classifier,
    images,
    SETTINGS[SETTING].method(recipe),
    key=jax.random.key(0),
    targets=None,
    image_ids=None,
    rows=None,
  )
  carry = session.start()
  steps = max(1, min(SEGMENT_STEPS, 32 // recipe.num_draws))
  window = Window.of(0, steps, recipe.num_steps, recipe.num_draws)
  evaluations = steps * recipe.num_draws * len(images)
  return lambda: session.segment(carry, window), evaluations


if __name__ == "__main__":
  main()
