"""``cawe explain``: images in, three files each out.

Every image is a job of its own: one that cannot be read or explained is one line of
error, and the others are still done.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import cawe_jax as cawe
from cawe_jax.cli import results
from cawe_jax.cli.console import (
  Messages,
  describe,
  describe_bounds,
  duration,
  estimate_seconds,
  is_guess,
)
from cawe_jax.cli.jobs import (
  Job,
  Read,
  Reader,
  first_channels,
  identity,
  plan,
  read_all,
)
from cawe_jax.cli.networks import Network, num_outputs_of, open_network
from cawe_jax.cli.parts import parse_metric
from cawe_jax.cli.places import check_place, why_not
from cawe_jax.cli.wishes import make_method
from cawe_jax.explaining.path import RETAIN_MULTIPLIERS
from cawe_jax.files.compilation import (
  collect_garbage_rarely,
  compile_clock,
  enable_compilation_cache,
)
from cawe_jax.files.decoding import Decoder
from cawe_jax.files.images import image_id
from cawe_jax.methods import Method
from cawe_jax.metrics import Judged, Metric, bounds, measure
from cawe_jax.metrics.names import BOUND_NUMBERS
from cawe_jax.numerics.ambient import own_rules
from cawe_jax.numerics.devices import check_platform
from cawe_jax.types import Explanation

_LONG_RUN_SECONDS = 20
# Up to so many are soon done, and an estimate takes half a second of it.
_FEW_EVALUATIONS = 1000
# A CPU gains 4 % from a batch of four, and all of a batch is written at its end.
_BATCH_SIZES = {"cpu": 1}


class _Run(NamedTuple):
  """What is the same for all images."""

  network: Network
  shape: tuple[int, int, int]
  method: Method
  metrics: dict[str, Metric]
  folder: Path
  options: argparse.Namespace


class _Answer(NamedTuple):
  """What was found for one image, and the seconds that took and compiling did.

  ``numbers`` are those of the metrics; None where one of them failed.
  """

  explanation: Explanation
  numbers: dict[str, float] | None
  seconds: float
  compile_seconds: float


@own_rules()
def run_explain(options: argparse.Namespace) -> int:
  """Explain the images of a command line; the exit code is 2 if any failed."""
  check_platform()
  messages = Messages(options.quiet)
  method = make_method(options)
  metrics = {text: parse_metric(text) for text in options.metric}
  if options.confidence is not None:
    metrics["bounds"] = functools.partial(bounds, confidence=options.confidence)
  folder = _writable_folder(options.out)
  enable_compilation_cache()
  collect_garbage_rarely()
  with Decoder() as decoder:
    network = open_network(options, messages)
    classifier = network.classifier
    height, width = np.broadcast_to(classifier.input_size, 2).tolist()
    channels = first_channels(options.images)
    shape = (height, width, channels or 3)
    if channels is not None:
      # All images will have this shape; what does not suit it is said once.
      num_outputs = num_outputs_of(classifier, shape)
      method.bind(shape, num_outputs, classifier.output)
    targets: list[int | None] = [None]
    if options.target:
      targets = [classifier.class_index(target) for target in options.target]
    run = _Run(network, shape, method, metrics, folder, options)
    reader = Reader(decoder, shape, network.resize)
    jobs = plan(options, network, method, targets, folder, reader, messages)
    if jobs:
      _announce(len(jobs), run, messages)
    _explain_all(jobs, run, reader, messages)
  return 2 if messages.num_errors else 0


def _explain_all(
  jobs: list[Job], run: _Run, reader: Reader, messages: Messages
) -> None:
  size = run.options.batch_size or _BATCH_SIZES.get(jax.default_backend(), 64)
  images = read_all(jobs, reader, messages)
  while batch := list(itertools.islice(images, size)):
    is_writable = _explain_jobs(batch, run, messages)
    if not is_writable and batch[-1][0] is not jobs[-1]:
      raise ValueError(
        f"--out {run.options.out!r}: the remaining images are not explained"
      )


def _announce(num_jobs: int, run: _Run, messages: Messages) -> None:
  classifier, method = run.network.classifier, run.method
  draws = method.recipe.num_draws if method.perturbation.is_random else 1
  steps = method.recipe.num_steps
  if run.options.retain is not None:
    steps += (len(RETAIN_MULTIPLIERS) - 1) * (steps // 3)
  evaluations = steps * draws * num_jobs
  text = (
    f"{num_jobs} image{'s' if num_jobs > 1 else ''}, {method.name}, "
    f"{classifier.name}: {evaluations:,} model evaluations"
  )
  if evaluations > _FEW_EVALUATIONS:
    seconds = estimate_seconds(classifier, run.shape, evaluations)
    text += f", about {duration(seconds)}" if seconds > _LONG_RUN_SECONDS else ""
  messages.say(text)


def _explain_jobs(
  batch: Sequence[tuple[Job, Read]], run: _Run, messages: Messages
) -> bool:
  """Explain one batch; where that fails, its images one by one.

  Returns:
    Whether results can be written. It takes no further images to find out that they
    cannot.
  """
  try:
    answers = _explain_batch(batch, run, messages)
  except (ValueError, jax.errors.JaxRuntimeError) as error:
    if len(batch) == 1:
      messages.error(f"image {batch[0][0].photograph.name!r}: {error}")
      return True
    return all([_explain_jobs([one], run, messages) for one in batch])
  # What was found is not found again because it cannot be written.
  found = zip(batch, answers, strict=True)
  return all([_keep(job, image, one, run, messages) for (job, image), one in found])


def _explain_batch(
  batch: Sequence[tuple[Job, Read]], run: _Run, messages: Messages
) -> list[_Answer]:
  jobs = [job for job, _ in batch]
  images = np.stack([image.pixels for _, image in batch])
  targets = None if jobs[0].target is None else [job.target for job in jobs]
  title = jobs[0].photograph.name if len(jobs) == 1 else f"{len(jobs)} images"
  start = time.perf_counter()
  with (
    compile_clock() as clock,
    messages.progress(title, run.method.recipe.num_steps) as callback,
  ):
    explanation = _solve(run, images, targets, callback)
  seconds = max(time.perf_counter() - start - clock.seconds, 0) / len(jobs)
  whole = jax.tree.map(np.asarray, explanation)
  numbers = _measure(run, whole, title, messages)
  return [
    _Answer(
      jax.tree.map(lambda x, i=i: x[i], whole),
      None if numbers is None else {k: float(v[i]) for k, v in numbers.items()},
      seconds,
      clock.seconds,
    )
    for i in range(len(jobs))
  ]


def _measure(
  run: _Run, explanations: Explanation, title: str, messages: Messages
) -> dict[str, np.ndarray] | None:
  """What the metrics say; where one fails, the explanations are kept without."""
  judged = Judged(
    run.network.classifier,
    explanations.input_image,
    explanations.mask,
    run.method.representation,
    run.method.perturbation,
    explanations.target,
    jax.random.key(run.options.seed),
    distortion=run.method.distortion,
  )
  try:
    return measure(run.metrics, judged)
  except ValueError as error:
    messages.error(f"image {title!r}: {error}; its results are written without metrics")
    return None


def _keep(
  job: Job, image: Read, answer: _Answer, run: _Run, messages: Messages
) -> bool:
  """Write and report what was found for one image; whether results can be written."""
  name, one = job.photograph.name, answer.explanation
  classifier = run.network.classifier
  target_name = classifier.class_name(int(one.target))
  result = _result(job, image, answer, target_name, run)
  try:
    # Once more: another call may have written there in the meantime.
    check_place(run.folder, job.stem, identity(image))
    results.write(run.folder, job.stem, one, result)
  except (ValueError, OSError) as error:
    messages.error(f"image {name!r}: {why_not(error, run.folder, job.stem)}")
    return not isinstance(error, OSError)
  messages.say(describe(name, target_name, one))
  if answer.numbers:
    confidence, numbers = run.options.confidence, dict(answer.numbers)
    if confidence is not None:
      said = {key: numbers.pop(key) for key in BOUND_NUMBERS}
      messages.say(f"{name}: {describe_bounds(said, confidence)}")
    if numbers:
      line = "  ".join(f"{k} {v:.4g}" for k, v in numbers.items())
      messages.say(f"{name}: {line}")
  wanted = run.options.retain
  if wanted is not None and not one.retained_probability >= wanted:
    messages.say(
      f"{name}: retains {one.retained_probability:.1%} of the probability, less than "
      f"the {wanted:.1%} asked for (multiplier {one.lagrange_multiplier:g})"
    )
  names = classifier.class_names
  # Of published weights and of classes asked for there is nothing to suspect.
  own = job.target is None and run.network.weights_sha256 is not None
  if own and names and is_guess(one, len(names)):
    messages.say(
      f"{name}: hardly surer than a guess among {len(names)} classes; are these "
      f"trained weights of {classifier.name}?"
    )
  messages.result(str(run.folder / f"{job.stem}.png"))
  return True


def _result(
  job: Job, image: Read, answer: _Answer, target_name: str, run: _Run
) -> results.Result:
  """What is written beside the explanation."""
  one, options, method = answer.explanation, run.options, run.method
  extra: dict[str, Any] = {
    "image": job.photograph.name,
    "image_sha256": image.sha256,
    "classifier": run.network.classifier.name,
    "weights_sha256": run.network.weights_sha256,
  }
  if options.retain is not None:
    reached = bool(one.retained_probability >= options.retain)
    extra |= {"retain": options.retain, "retain_reached": reached}
    method = method._replace(lagrange_multiplier=float(one.lagrange_multiplier))
  if options.budget is not None:
    extra["budget"] = options.budget
  if options.confidence is not None:
    extra["confidence"] = options.confidence
  request = {"image_id": image_id(image.pixels), **job.request}
  if run.metrics:
    if answer.numbers is None:  # so that another call does it again
      del request["metrics"]
    else:
      extra["metrics"] = {k: results.number(v) for k, v in answer.numbers.items()}
  return results.Result(
    request,
    target_name,
    method.settings(),
    answer.seconds,
    answer.compile_seconds,
    extra,
  )


def _solve(run: _Run, images: np.ndarray, targets: Any, callback: Any) -> Explanation:
  """The explanation that the options ask for."""
  classifier, method, options = run.network.classifier, run.method, run.options
  common = {
    "key": jax.random.key(options.seed),
    "targets": targets,
    "callback": callback,
  }
  if options.budget is not None:
    return cawe.explain_budget(classifier, images, method, options.budget, **common)
  with warnings.catch_warnings():
    # What keeps nothing, or retains too little, is said image by image.
    warnings.simplefilter("ignore", cawe.EmptyMaskWarning)
    if options.retain is None:
      return cawe.explain(classifier, images, method, **common)
    warnings.simplefilter("ignore", UserWarning)
    return cawe.explain_retaining(classifier, images, method, options.retain, **common)


def _writable_folder(out: str) -> Path:
  folder = Path(out)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise ValueError(
      f"--out {out!r} cannot be made a folder: {error.strerror}"
    ) from None
  if not os.access(folder, os.W_OK | os.X_OK):
    raise ValueError(f"--out {out!r} is not writable")
  return folder
