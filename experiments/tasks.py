"""What a job does with a batch of images: explanations, or rate-distortion curves.

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
from cawe_jax.explain import Callback
from cawe_jax.images import image_id
from cawe_jax.types import Explanation
from experiments.axes import Job
from experiments.building import Network, make_methods, noise_ids, stack_methods

Arrays = dict[str, np.ndarray]

_NUMBERS = (
  "target",
  "rate",
  "rate_l0",
  "distortion",
  "distortion_standard_error",
  "objective",
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
    {"input_image": _as_bytes(image)} | _describe(points)
    for image, points in zip(batch.images, found, strict=True)
  ]


def explain_grid(
  job: Job, network: Network, batch: Batch, callback: Callback | None
) -> list[Explanation]:
  """One explanation for each image, whose leaves have a leading axis of G points."""
  num_images, num_points = len(batch.images), len(job.grid)
  ids = np.array([image_id(image) for image in batch.images])
  found = cawe.explain(
    network.classifier,
    np.repeat(batch.images, num_points, axis=0),
    stack_methods(make_methods(job), num_images),
    key=jax.random.key(0),
    targets=np.repeat(batch.targets, num_points),
    image_ids=noise_ids(ids, [point["seed"] for point in job.grid]),
    callback=callback,
  )

  def points(image: int) -> Explanation:
    rows = slice(image * num_points, (image + 1) * num_points)
    return jax.tree.map(lambda x: np.asarray(x)[rows], found)

  return [points(image) for image in range(num_images)]


TASKS: dict[str, Task] = {"explain": explain}


def _describe(points: Explanation) -> Arrays:
  """What is kept of one image's explanations."""
  history = points.history
  return {
    **{name: np.asarray(getattr(points, name)) for name in _NUMBERS},
    "explanation": _as_bytes(points.image[..., 0]),
    **{f"mask/{i}": leaf for i, leaf in enumerate(points.mask)},
    "history/objective": history.objective,
    "history/distortion": history.distortion,
    "history/rate": history.rate,
  }


def _as_bytes(image: np.ndarray) -> np.ndarray:
  return np.rint(255 * np.asarray(image)).astype(np.uint8)
