"""What metrics say of the results of a sweep: those that ``config.metrics`` names."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from cawe_jax.cli.parts import parse_metric
from cawe_jax.metrics import Judged, Metric, measure
from experiments.axes import Job
from experiments.building import Network, make_methods, noise_ids
from experiments.rankings import parse_ranking
from experiments.tasks import Arrays, Batch, image_ids

METRICS = "metrics"
"""Results have the numbers of metrics under ``metrics/NAME``, ``[G]`` each."""

# Where a task leaves what it found of every entry.
_ENTRIES = {"explain": "mask", "rank": "relevance"}


def make_metrics(config: ConfigDict) -> dict[str, Metric]:
  """The metrics of a config.

  Raises:
    ValueError: An unknown name, or a task whose results have nothing to judge.

  Example:
    >>> list(make_metrics(ConfigDict({"task": "explain", "metrics": ("agreement",)})))
    ['agreement']
  """
  texts = config.get(METRICS, ())
  if isinstance(texts, str) or not isinstance(texts, Sequence):
    raise ValueError(f"metrics is {texts!r}; it must be a tuple of names")
  if texts and config.task not in _ENTRIES:
    raise ValueError(
      f"metrics is {tuple(texts)}; task {config.task!r} keeps no masks to judge, "
      f"allowed: {', '.join(_ENTRIES)}"
    )
  return {text: parse_metric(text) for text in texts}


def judge(
  config: ConfigDict, job: Job, network: Network, batch: Batch, results: list[Arrays]
) -> list[Arrays]:
  """Results with what the metrics of the config say of each, if it has any.

  Args:
    config: Names the metrics.
    job: Says what was explained.
    network: The network that was.
    batch: The images of the results.
    results: What the task found, one for each image.

  Returns:
    The same, with ``metrics/NAME``, float64 ``[G]``.
  """
  metrics = make_metrics(config)
  if not metrics:
    return results
  if job.settings["ranking"] is None:
    method = make_methods(job)[0]
    transform, perturbation = method.representation, method.perturbation
    distortion = method.distortion
  else:
    transform = parse_ranking(job.settings["ranking"]).transform
    perturbation = distortion = None
  kind = _ENTRIES[config.task]
  names = [name for name in results[0] if name.startswith(f"{kind}/")]
  points = []
  for point, settings in enumerate(job.grid):
    entries = tuple(np.stack([one[name][point] for one in results]) for name in names)
    judged = Judged(
      network.classifier,
      batch.images,
      entries,
      transform,
      perturbation,
      batch.targets,
      jax.random.key(0),
      noise_ids(image_ids(batch), [settings["seed"]]),
      distortion,
    )
    points.append(measure(metrics, judged))
  return [
    one
    | {
      f"{METRICS}/{name}": np.stack([numbers[name][row] for numbers in points])
      for name in points[0]
    }
    for row, one in enumerate(results)
  ]
