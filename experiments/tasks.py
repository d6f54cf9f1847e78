"""What a job does with a batch of images: explain, rank, or draw curves.

A task is a function of a job, a network and a batch to one dictionary of arrays for
each image, as :mod:`experiments.store` documents them. It reads and writes no file, and
the same batch gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

import cawe_jax as cawe
from cawe_jax import metrics
from cawe_jax.cli.parts import parse_distortion
from cawe_jax.explaining.one import Callback
from cawe_jax.files.images import image_id
from cawe_jax.metrics import Curve, Relevance
from cawe_jax.types import Array, Explanation, Transform
from experiments.axes import Job
from experiments.building import Network, make_methods, noise_ids, stack_methods
from experiments.rankings import parse_ranking

Arrays = dict[str, np.ndarray]

_NUMBERS = (
  "target",
  "rate",
  "rate_l0",
  "distortion",
  "distortion_standard_error",
  "objective",
  "lagrange_multiplier",
  "probability",
  "retained_probability",
  "explanation_probability",
  "num_steps",
  "model_evaluations",
)


class Batch(NamedTuple):
  """Images of one batch, all to be explained.

  Attributes:
    images: ``[n, H, W, C]``, float in [0, 1].
    targets: Class explained of each, ``[n]``.
  """

  images: np.ndarray
  targets: np.ndarray


Task = Callable[[ConfigDict, Job, Network, Batch, Callback | None], list[Arrays]]
"""``(config, job, network, batch, callback) -> arrays of each image``."""


def explain(
  config: ConfigDict,
  job: Job,
  network: Network,
  batch: Batch,
  callback: Callback | None,
) -> list[Arrays]:
  """Explanations of every image at every grid point."""
  del config
  found = explain_grid(job, network, batch, callback)
  return [
    {"input_image": _as_bytes(image)} | _describe(found, row)
    for row, image in enumerate(batch.images)
  ]


def explain_grid(
  job: Job, network: Network, batch: Batch, callback: Callback | None
) -> Explanation:
  """Explanations with leaves ``[n, G, ...]``."""
  num_images, num_points = len(batch.images), len(job.grid)
  found = cawe.explain(
    network.classifier,
    np.repeat(batch.images, num_points, axis=0),
    stack_methods(make_methods(job), num_images),
    key=jax.random.key(0),
    targets=np.repeat(batch.targets, num_points),
    image_ids=noise_ids(image_ids(batch), [point["seed"] for point in job.grid]),
    callback=callback,
  )

  def by_image(leaf: Array) -> np.ndarray:
    return np.asarray(leaf).reshape(num_images, num_points, *np.shape(leaf)[1:])

  return jax.tree.map(by_image, found)


def rank(
  config: ConfigDict,
  job: Job,
  network: Network,
  batch: Batch,
  callback: Callback | None,
) -> list[Arrays]:
  """The relevance of every entry, at every grid point."""
  del config
  _, points = _relevances(job, network, batch, callback)
  leaves = [np.stack(parts, axis=1) for parts in zip(*points, strict=True)]
  return [
    {"input_image": _as_bytes(image)}
    | {f"relevance/{i}": leaf[row] for i, leaf in enumerate(leaves)}
    for row, image in enumerate(batch.images)
  ]


def curves(
  config: ConfigDict,
  job: Job,
  network: Network,
  batch: Batch,
  callback: Callback | None,
) -> list[Arrays]:
  """Rate-distortion curves of the ranking, at every grid point."""
  options = config.curve
  transform, points = _relevances(job, network, batch, callback)
  found = []
  for relevance, point in zip(points, job.grid, strict=True):
    curve = metrics.rate_distortion_curve(
      network.classifier,
      batch.images,
      relevance,
      transform,
      key=jax.random.key(0),
      mask_fn=CURVES[options.mask],
      distortion=parse_distortion(options.distortion),
      fractions=options.fractions or metrics.FRACTIONS,
      num_draws=options.num_draws,
      targets=batch.targets,
      image_ids=noise_ids(image_ids(batch), [point["seed"]]),
    )
    found.append(curve)
  return [_describe_curves(found, row) for row in range(len(batch.images))]


TASKS: dict[str, Task] = {"explain": explain, "rank": rank, "curves": curves}

CURVES = {"keep": metrics.keep, "randomise": metrics.randomise}
"""What is done with the most relevant entries."""


def _relevances(
  job: Job, network: Network, batch: Batch, callback: Callback | None
) -> tuple[Transform, list[Relevance]]:
  """What is ranked, and for each grid point the relevances ``[n, ...]``."""
  if job.settings["ranking"] is None:
    masks = explain_grid(job, network, batch, callback).mask
    points = range(len(job.grid))
    transform = make_methods(job)[0].representation
    return transform, [tuple(leaf[:, point] for leaf in masks) for point in points]
  attribution = parse_ranking(job.settings["ranking"])
  keys = [jax.random.key(point["seed"]) for point in job.grid]
  return attribution.transform, [
    jax.tree.map(
      np.asarray, attribution(network.classifier, batch.images, batch.targets, key)
    )
    for key in keys
  ]


def _describe_curves(points: list[Curve], row: int) -> Arrays:
  """What is kept of one image's curves."""
  names = [name for name in Curve._fields if name != "fraction"]
  fraction = np.asarray(points[0].fraction)
  distortion = np.stack([curve.distortion[row] for curve in points])
  return {
    "fraction": fraction,
    **{
      name: np.stack([getattr(curve, name)[row] for curve in points]) for name in names
    },
    "area": metrics.area_under_curve(fraction, distortion),
  }


def _describe(found: Explanation, row: int) -> Arrays:
  """What is kept of one image's explanations."""
  points = jax.tree.map(lambda leaf: leaf[row], found)
  history = points.history
  return {
    **{name: getattr(points, name) for name in _NUMBERS},
    "explanation": _as_bytes(points.image[..., 0]),
    **{f"mask/{i}": leaf for i, leaf in enumerate(points.mask)},
    "history/objective": history.objective,
    "history/distortion": history.distortion,
    "history/rate": history.rate,
  }


def image_ids(batch: Batch) -> np.ndarray:
  """What decides the noise of each image, ``[n]``."""
  return np.array([image_id(image) for image in batch.images])


def _as_bytes(image: np.ndarray) -> np.ndarray:
  return np.rint(255 * np.asarray(image)).astype(np.uint8)
