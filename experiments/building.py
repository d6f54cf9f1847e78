"""From a job's settings to the library's parts: network, method, images."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

import cawe_jax as cawe
from cawe_jax.classifiers.registry import RANDOM, classifier_info
from cawe_jax.cli.imports import names_function, source_of
from cawe_jax.cli.networks import num_outputs_of, own_classifier
from cawe_jax.cli.wishes import make_method
from cawe_jax.files.checksums import arrays_sha256, sha256
from cawe_jax.files.images import Resize
from cawe_jax.methods import Method
from experiments.axes import Job
from experiments.rankings import parse_ranking

# A setting of a job, and what one seed is away from the next in 32 bits: a multiple of
# it is zero for seed 0 alone, and spreads the others (the golden ratio times 2**32).
_SEED_STRIDE = 0x9E3779B1
_NOT_OPTIONS = ("classifier", "image_size", "target", "ranking")


class Network(NamedTuple):
  """A classifier and the images that it gets.

  Attributes:
    classifier: The network.
    size: ``(H, W)`` of images.
    resize: The network's published way to get there, or None.
  """

  classifier: cawe.Classifier
  size: tuple[int, int]
  resize: Resize | None


def load_network(text: str, image_size: int | None = None) -> Network:
  """The network of a setting ``classifier``.

  Args:
    text: ``NAME``, ``NAME=FILE`` or ``module:function``; see ``axes.SETTINGS``.
    image_size: Side in pixels; None is the classifier's own. The published rule of
      resizing goes with the published size alone.

  Raises:
    ValueError: Unknown name, weights that do not fit, no such function.

  Example:
    >>> load_network("experiments.building:nothing")
    Traceback (most recent call last):
    ValueError: classifier 'experiments.building:nothing': ...
  """
  classifier, resize = _load(text)
  size = np.broadcast_to(image_size or classifier.input_size, 2).tolist()
  return Network(classifier, (size[0], size[1]), None if image_size else resize)


@functools.cache
def _load(text: str) -> tuple[cawe.Classifier, Resize | None]:
  """Once for each text, so that a sweep's jobs share compiled programs."""
  name, _, weights = text.partition("=")
  if ":" not in name:
    return cawe.load_classifier(name, weights or None), classifier_info(name).resize
  return own_classifier(text), None


def weights_sha256(text: str) -> str | None:
  """The checksum of the weights that a setting ``classifier`` names.

  For ``NAME=FILE`` it is the file's. For a function of the user's own it is that of the
  arrays in the classifier that the function returns. Weights that come with a package
  have none, since the classifier's name fixes them.
  """
  name, _, weights = text.partition("=")
  if ":" in name:
    return arrays_sha256(_load(text)[0].params)
  return sha256(weights) if weights and weights != RANDOM else None


def own_sources(options: Iterable[tuple[str, str | None]]) -> dict[str, Any]:
  """What tells the user's own functions from others of the same names.

  Args:
    options: A setting and its value, for all that may be ``module:function``.

  Returns:
    By setting and value, what :func:`cawe_jax.cli.imports.source_of` says; nothing of
    values that name no function.

  Raises:
    ValueError: There is no such function.

  Example:
    >>> own_sources([("distortion", "kl"), ("classifier", "vgg16=C:/weights.pth")])
    {}
  """
  found: dict[str, Any] = {}
  for option, text in options:
    if text is not None and "=" not in text and names_function(text):
      found.setdefault(option, {})[text] = source_of(option, text)
  return found


def parts_sha256(job: Job) -> str | None:
  """The checksum of the arrays that the parts of a job's method hold, if they do."""
  if job.settings["ranking"] is not None:
    return None
  return make_methods(job)[0].settings().get("arrays_sha256")


def make_methods(job: Job) -> list[Method]:
  """The method of every grid point; they differ in data alone.

  Raises:
    ValueError: A setting is out of range, or does not apply to the method.
  """
  others = dict.fromkeys(("batch_size", "retain", "budget", "confidence"))
  methods = []
  for point in range(len(job.grid)):
    settings = {
      name: value
      for name, value in job.point_settings(point).items()
      if name not in _NOT_OPTIONS
    }
    methods.append(make_method(argparse.Namespace(**settings, **others)))
  return methods


def stack_methods(methods: list[Method], num_images: int) -> Method:
  """One method for a batch of images x points, the points of an image together."""
  first = methods[0]

  def spread(values: list[Any]) -> np.ndarray:
    return np.tile(np.asarray(values, np.float32), num_images)

  weights = zip(*(method.penalty_weights for method in methods), strict=True)
  step_sizes = spread([method.recipe.step_size for method in methods])
  return first._replace(
    lagrange_multiplier=spread([method.lagrange_multiplier for method in methods]),
    penalty_weights=tuple(spread(list(values)) for values in weights),
    recipe=first.recipe._replace(step_size=step_sizes),
  )


def noise_ids(image_ids: np.ndarray, seeds: list[int]) -> np.ndarray:
  """What decides the noise of images x seeds, uint32 ``[n * G]``.

  With the run's key, an image's id decides its noise. A seed moves the id, so that
  seeds are data like any other axis; seed 0 leaves it, and the result is then that of
  ``cawe.explain`` with ``jax.random.key(0)``.

  Example:
    >>> noise_ids(np.array([7]), [0, 1]).tolist()
    [7, 2654435768]
  """
  moves = np.array([seed * _SEED_STRIDE % 2**32 for seed in seeds], np.uint64)
  ids = (np.asarray(image_ids, np.uint64)[:, None] + moves) % 2**32
  return ids.astype(np.uint32).reshape(-1)


def check_job(job: Job) -> None:
  """Refuse what would only be found after hours.

  Raises:
    ValueError: Names the job and what is wrong with it.
  """
  try:
    if job.settings["target"] not in ("predicted", "label"):
      raise ValueError(
        f"target is {job.settings['target']!r}; allowed: predicted, label"
      )
    network = load_network(job.settings["classifier"], job.settings["image_size"])
    shape = (*network.size, 3)
    if job.settings["ranking"] is None:
      classifier = network.classifier
      num_outputs = num_outputs_of(classifier, shape)
      make_methods(job)[0].bind(shape, num_outputs, classifier.output)
      return
    parse_ranking(job.settings["ranking"]).transform(shape)
    idle = [name for name in job.grid_axes if name != "seed"]
    if idle:
      raise ValueError(f"axis {idle[0]} does not apply to a ranking, only seed does")
  except ValueError as error:
    raise ValueError(f"job {job.name!r}: {error}") from None
