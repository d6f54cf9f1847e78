"""Images, settings and runs that the comparison with the published algorithm uses.

Every mask, whoever found it, is scored on the same fresh draws, in groups, so that the
difference of two masks has a standard error of its own.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import cawe_jax as cawe
from cawe_jax import perturbations
from cawe_jax.engine.session import Session
from cawe_jax.explaining import one
from cawe_jax.files.compilation import compile_clock
from cawe_jax.files.images import image_id
from cawe_jax.methods import Method
from cawe_jax.recipes import Recipe
from cawe_jax.types import Mask, Perturbation

NUM_GROUPS, GROUP_DRAWS = 64, 4
MINIMUM_PROBABILITY = 0.6
_FIRST_STEP = 2**31  # no run has as many


PUBLISHED = ("gaussian-20", "uniform-1")


class Setting(NamedTuple):
  """What is optimised; the noise has one name for the library and for PyTorch."""

  lagrange_multiplier: float
  noise: str
  perturbation: Perturbation
  make: Callable[..., Method] = cawe.cartoonx

  def method(self, recipe: Recipe) -> Method:
    """The method as set, searched by a recipe."""
    return self.make(
      self.lagrange_multiplier, perturbation=self.perturbation, recipe=recipe
    )


_GAUSSIAN = perturbations.adaptive_gaussian()
SETTINGS = {
  "gaussian-20": Setting(20.0, "gaussian", _GAUSSIAN),
  "uniform-1": Setting(1.0, "uniform", perturbations.adaptive_uniform()),
  "gaussian-1": Setting(1.0, "gaussian", _GAUSSIAN),
  "gaussian-5": Setting(5.0, "gaussian", _GAUSSIAN),
  "gaussian-80": Setting(80.0, "gaussian", _GAUSSIAN),
  "gaussian-200": Setting(200.0, "gaussian", _GAUSSIAN),
  "pixel-4": Setting(4.0, "gaussian", _GAUSSIAN, cawe.pixel_rde),
}
"""The published ones of CartoonX first, then others, and Pixel RDE's of ECCV 2022."""


class Photograph(NamedTuple):
  """A name and an image ``[H, W, C]``."""

  name: str
  image: np.ndarray


class Score(NamedTuple):
  """What a mask is worth on the fresh draws.

  Attributes:
    distortions: Mean over each group of draws.
    weighted_rate: Multiplier times rate.
  """

  distortions: list[float]
  weighted_rate: float

  @property
  def objective(self) -> float:
    """Mean distortion and the weighted rate."""
    return float(np.mean(self.distortions)) + self.weighted_rate

  def minus(self, other: Score) -> tuple[float, float]:
    """Difference of the objectives and its standard error."""
    change = np.subtract(self.distortions, other.distortions)
    error = change.std(ddof=1) / len(change) ** 0.5
    return self.objective - other.objective, float(error)


class Run(NamedTuple):
  """A finished optimisation of one photograph.

  Attributes:
    mask: What it found, with a leading axis of 1.
    score: On the fresh draws.
    seconds: The time of the steps and of choosing the mask, compilation apart; of
      several seeds each has its share.
    evaluations: Draws, forward and backward.
    history: Noisy objective of every step.
  """

  mask: Mask
  score: Score
  seconds: float
  evaluations: int
  history: list[float]


def sure_photographs(folder: Path, classifier: Any, count: int) -> list[Photograph]:
  """The first of a folder whose predicted class has ``MINIMUM_PROBABILITY``.

  Raises:
    SystemExit: There is none.
  """
  paths = sorted(p for p in folder.rglob("*") if p.is_file())
  images = (
    Photograph(p.stem, np.asarray(cawe.load_image(p, size=classifier.input_size)))
    for p in paths
  )
  found = sure(images, classifier, count)
  if not found:
    raise SystemExit(f"--images {folder}: no photograph that the network is sure of")
  return found


def sure(images: Iterable[Photograph], classifier: Any, count: int) -> list[Photograph]:
  """The first images whose predicted class has ``MINIMUM_PROBABILITY``."""

  def is_sure(photograph: Photograph) -> bool:
    probabilities = jax.nn.softmax(classifier(photograph.image[None])[0])
    return bool(probabilities.max() >= MINIMUM_PROBABILITY)

  return list(itertools.islice(filter(is_sure, images), count))


def open_session(
  classifier: Any, photograph: Photograph, method: Method, seeds: Sequence[int] = (0,)
) -> Session:
  """One photograph and one method on the devices, once for each seed of the noise."""
  first = image_id(photograph.image)
  return Session(
    classifier,
    np.stack([photograph.image] * len(seeds)),
    method,
    key=jax.random.key(0),
    targets=None,
    image_ids=[(first + seed) % 2**32 for seed in seeds],
    rows=None,
  )


def search(
  classifier: Any, photograph: Photograph, method: Method, seeds: Sequence[int] = (0,)
) -> list[Run]:
  """Search a mask for each seed as :func:`cawe_jax.explain` does, and score them."""
  session = open_session(classifier, photograph, method, seeds)
  before = time.perf_counter()
  with compile_clock() as clock:
    masks, num_steps, history = one.search(session, classifier, method, None, None)
  seconds = (time.perf_counter() - before - clock.seconds) / len(seeds)
  scores = score(classifier, photograph, method, masks)
  return [
    Run(
      tuple(leaf[i : i + 1] for leaf in masks),
      scores[i],
      seconds,
      int(num_steps[i]) * session.num_draws,
      [round(float(value), 6) for value in history.objective[i]],
    )
    for i in range(len(seeds))
  ]


def score(
  classifier: Any, photograph: Photograph, method: Method, masks: Mask
) -> list[Score]:
  """Score masks ``[N, ...]`` on draws that no run has seen, the same for each."""
  count = len(masks[0])
  session = open_session(classifier, photograph, method, [0] * count)
  groups = np.stack(
    [
      session.estimate(masks, _FIRST_STEP + group, GROUP_DRAWS).distortion
      for group in range(NUM_GROUPS)
    ]
  )
  rates = np.mean(np.concatenate([x.reshape(count, -1) for x in masks], axis=1), axis=1)
  return [
    Score(
      [round(float(value), 8) for value in groups[:, i]],
      float(method.lagrange_multiplier * rates[i]),
    )
    for i in range(count)
  ]
