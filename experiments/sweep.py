"""A sweep at work: its jobs, batch by batch, each result written as it is there.

What is done is what has a file (:mod:`experiments.store`). A batch of which an image
lacks its result is computed again as a whole, with the shape that it always has, so
that a run that was killed ends with the bytes of one that was not. Where several
processes share the work, each takes every N-th batch and its own devices, and
they never talk to each other.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

from cawe_jax.files.checksums import code_version
from cawe_jax.files.compilation import compile_clock
from experiments.axes import Job, expand
from experiments.batches import Decoded, Prediction, decode, partition, predict
from experiments.building import (
  Network,
  check_job,
  load_network,
  own_sources,
  parts_sha256,
  weights_sha256,
)
from experiments.data import Photograph, load
from experiments.data.labels import NUM_CLASSES
from experiments.judging import judge, make_metrics
from experiments.keys import check_keys
from experiments.progress import Progress
from experiments.report import check_report, write_report
from experiments.store import Store, check_store, open_store
from experiments.tasks import TASKS, Batch

RUN_ONLY = ("launch", "report")
"""Parts of a config that decide no number: they may change under a working folder."""

_SELECT = ("all", "wrong")
_MAY_BE_FUNCTIONS = (
  "classifier",
  "perturbation",
  "distortion",
  "representation",
  "initial_mask",
)


class Process(NamedTuple):
  """One of the processes that share a sweep."""

  index: int
  count: int

  def share(self, batches: Sequence[range]) -> list[tuple[int, range]]:
    """This process's batches, each with its number."""
    return list(enumerate(batches))[self.index :: self.count]


class Sweep(NamedTuple):
  """Everything that is fixed before the first batch."""

  config: ConfigDict
  jobs: tuple[Job, ...]
  photographs: Sequence[Photograph]
  batches: list[range]
  store: Store

  @property
  def num_left(self) -> int:
    """Results that are still to be written, of all processes."""
    return self.store.num_left([job.name for job in self.jobs])


def plan(config: ConfigDict) -> tuple[tuple[Job, ...], Sequence[Photograph]]:
  """Jobs and photographs of a config; nothing is written or computed.

  Raises:
    ValueError: What the config asks for makes no sense; names the key.
  """
  check_keys(config)
  if config.task not in TASKS:
    raise ValueError(f"task is {config.task!r}; allowed: {', '.join(TASKS)}")
  if config.select not in _SELECT:
    raise ValueError(f"select is {config.select!r}; allowed: {', '.join(_SELECT)}")
  check_report(config)
  make_metrics(config)
  jobs = expand(config)
  photographs = load(config.data, config.limit)
  unknown = [photograph.id for photograph in photographs if photograph.label is None]
  if unknown and _needs_labels(config, jobs):
    raise ValueError(
      f"data {config.data!r}: the class of {unknown[0]!r} is not known, and this "
      "sweep needs the classes of all photographs"
    )
  return jobs, photographs


def check_sweep(
  config: ConfigDict, workdir: str | None
) -> tuple[tuple[Job, ...], Sequence[Photograph], dict[str, Any]]:
  """Jobs, photographs and identity of a sweep that could start; nothing is written.

  Args:
    config: The sweep.
    workdir: Its folder, which need not exist; None if it has none yet.

  Raises:
    ValueError: As :func:`plan`, or the folder holds another sweep.
  """
  jobs, photographs = plan(config)
  for job in jobs:
    check_job(job)
  identity = _identity(config, jobs)
  if workdir is not None:
    check_store(workdir, identity, [p[:2] for p in photographs])
  return jobs, photographs, identity


def open_sweep(config: ConfigDict, workdir: str) -> Sweep:
  """Check everything that can be, and open the working folder.

  Raises:
    ValueError: As :func:`plan`, or the folder holds another sweep, or results of
      photographs that have changed since.
  """
  jobs, photographs, identity = check_sweep(config, workdir)
  batches = partition(len(photographs), config.batch_size)
  store = open_store(workdir, identity, [p[:2] for p in photographs])
  _check_photographs(store, jobs, photographs)
  return Sweep(config, jobs, photographs, batches, store)


def _check_photographs(
  store: Store, jobs: Sequence[Job], photographs: Sequence[Photograph]
) -> None:
  """Refuse to go on where a photograph with results is another file by now."""
  names = [job.name for job in jobs]
  changed = [
    photograph.id
    for image, photograph in enumerate(photographs)
    if (seen := store.photograph_sha256(names, image)) is not None
    and seen != hashlib.sha256(photograph.read()).hexdigest()
  ]
  if changed:
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    raise ValueError(
      f"workdir {str(store.folder)!r} holds results of other files of the photographs "
      f"{', '.join(map(repr, changed[:3]))}{more}; give another --workdir, or bring "
      "the files back"
    )


def run_jobs(
  sweep: Sweep, jobs: Sequence[Job], process: Process, progress: Progress
) -> None:
  """Do what is not done yet of this process's share of the given jobs."""
  share = process.share(sweep.batches)
  todo = [
    (job, number, batch)
    for job in jobs
    for number, batch in share
    if not all(sweep.store.is_done(job.name, image) for image in batch)
  ]
  progress.start(len(todo), len(jobs) * len(share))
  for job, number, batch in todo:
    settings = job.settings
    network = load_network(settings["classifier"], settings["image_size"])
    with progress.batch(f"{job.name}, batch {number + 1} of {len(sweep.batches)}"):
      _run_batch(sweep, job, network, number, batch, process, progress)


def finish(sweep: Sweep, console: Console) -> None:
  """Write the report if this is the process that finds everything done."""
  if sweep.num_left:
    console.print(f"{sweep.num_left} results are left to other processes", markup=False)
    return
  sweep.store.remove_leftovers()
  for path in write_report(sweep.config, sweep.jobs, sweep.store):
    print(path, flush=True)


def _run_batch(
  sweep: Sweep,
  job: Job,
  network: Network,
  number: int,
  batch: range,
  process: Process,
  progress: Progress,
) -> None:
  store = sweep.store
  decoded = decode(sweep.photographs, batch, network)
  for image, failure in decoded.failures.items():
    store.write_error(image, failure.id, failure.reason)
    progress.failure(failure.id, failure.reason)
  for image in decoded.numbers:
    store.clear_error(image)
  if all(store.is_done(job.name, image) for image in decoded.numbers):
    return
  prediction = predict(network, decoded.images, sweep.config.batch_size)
  labels = _labels(sweep.config, job, decoded, prediction)
  targets = labels if job.settings["target"] == "label" else prediction.classes
  selected = np.full(len(labels), True)
  if sweep.config.select == "wrong":
    selected = prediction.classes != labels
  results: list[dict[str, np.ndarray]] = []
  if selected.any():
    start = time.perf_counter()
    with compile_clock() as clock:
      task = TASKS[sweep.config.task]
      chosen = Batch(decoded.images[selected], targets[selected])
      try:
        results = task(sweep.config, job, network, chosen, progress.steps)
      except ValueError as error:
        raise ValueError(f"job {job.name!r}: {error}") from None
    timing = {
      "seconds": time.perf_counter() - start - clock.seconds,
      "compile_seconds": clock.seconds,
      "num_images": int(selected.sum()),
      "num_points": len(job.grid),
      "process": process.index,
      "devices": [device.device_kind for device in jax.local_devices()],
    }
    store.write_timing(job.name, number, timing)
    results = judge(sweep.config, job, network, chosen, results)
  _write(store, job, network, decoded, prediction, labels, selected, results)


def _write(
  store: Store,
  job: Job,
  network: Network,
  decoded: Decoded,
  prediction: Prediction,
  labels: np.ndarray,
  selected: np.ndarray,
  results: list[dict[str, np.ndarray]],
) -> None:
  """Every image's result that is not there yet."""
  rows, name = iter(results), network.classifier.class_name
  for i, image in enumerate(decoded.numbers):
    common = {
      "id": np.array(decoded.photographs[i].id),
      "sha256": np.array(hashlib.sha256(decoded.photographs[i].read()).hexdigest()),
      "label": labels[i],
      "label_name": np.array(_label_name(network, labels[i])),
      "prediction": prediction.classes[i],
      "prediction_name": np.array(name(prediction.classes[i])),
      "confidence": prediction.confidence[i],
      "selected": selected[i],
    }
    found = next(rows) if selected[i] else {}
    if not store.is_done(job.name, image):
      store.write_result(job.name, image, common | found)


def _labels(
  config: ConfigDict, job: Job, decoded: Decoded, prediction: Prediction
) -> np.ndarray:
  """Classes of the photographs as outputs of the network, -1 where they are not known.

  What is known of photographs is which of ImageNet's classes they show. A network of
  another number of outputs has other classes.

  Raises:
    ValueError: They are needed.
  """
  labels = np.array([-1 if p.label is None else p.label for p in decoded.photographs])
  if prediction.num_outputs == NUM_CLASSES:
    return labels
  if _needs_labels(config, [job]):
    who, count = job.settings["classifier"], prediction.num_outputs
    raise ValueError(
      f"classifier {who!r} has {count} outputs, and this sweep needs the photographs' "
      f"classes, which are ImageNet's {NUM_CLASSES}"
    )
  return np.full_like(labels, -1)


def _needs_labels(config: ConfigDict, jobs: Sequence[Job]) -> bool:
  return config.select == "wrong" or any(
    job.settings["target"] == "label" for job in jobs
  )


def _label_name(network: Network, label: int) -> str:
  """The name of a photograph's class; empty where it is not known."""
  return network.classifier.class_name(label) if label >= 0 else ""


def _identity(config: ConfigDict, jobs: Sequence[Job]) -> dict[str, Any]:
  """All that decides the results, so that nothing else is mixed with them."""
  own = json.loads(config.to_json_best_effort())
  classifiers = sorted({job.settings["classifier"] for job in jobs})
  options = [(name, job.settings[name]) for job in jobs for name in _MAY_BE_FUNCTIONS]
  if config.task == "curves":
    options.append(("curve.distortion", config.curve.distortion))
  options += [("metrics", text) for text in config.get("metrics", ())]
  sources = own_sources(options)
  identity = {
    "config": {key: value for key, value in own.items() if key not in RUN_ONLY},
    "weights_sha256": {name: weights_sha256(name) for name in classifiers},
    "versions": {
      "cawe_jax": code_version(),
      "jax": jax.__version__,
      "numpy": np.__version__,
    },
  }
  arrays = {job.name: found for job in jobs if (found := parts_sha256(job))}
  kept = {"own_parts": sources, "arrays_sha256": arrays}
  return identity | {name: value for name, value in kept.items() if value}
