"""``cawe explain``: images in, three files each out.

Every image is a job of its own: one that cannot be read or explained is one line of
error, and the others are still done.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import cawe_jax as cawe
from cawe_jax import checks
from cawe_jax.classifiers import Classifier, hub
from cawe_jax.classifiers.registry import classifier_info
from cawe_jax.cli import results
from cawe_jax.cli.console import (
  Messages,
  describe,
  duration,
  estimate_seconds,
  is_guess,
)
from cawe_jax.cli.options import make_method
from cawe_jax.cli.parts import own_parts
from cawe_jax.compilation import (
  collect_garbage_rarely,
  compile_clock,
  use_compilation_cache,
)
from cawe_jax.files import sha256
from cawe_jax.images import Resize, image_id
from cawe_jax.methods import Method
from cawe_jax.paths import RETAIN_MULTIPLIERS
from cawe_jax.samples import sample_path
from cawe_jax.types import Explanation

_SAMPLE = "sample:"
_LONG_RUN_SECONDS = 20
# Up to so many are soon done, and an estimate takes half a second of it.
_FEW_EVALUATIONS = 1000
_PARTS = ("perturbation", "distortion", "representation")
# A CPU gains little from a batch, and nothing of a batch is written before its end.
_BATCH_SIZES = {"cpu": 4}


class _Job(NamedTuple):
  """One image and one target (None: the predicted class)."""

  name: str
  stem: str
  image: np.ndarray
  target: int | None
  request: dict[str, Any]


class _Network(NamedTuple):
  """A classifier, how photographs are scaled for it, and which weights it has.

  ``weights_sha256`` is of the file that they were read from; None for those of a
  package, whose checksum the classifier's name fixes.
  """

  classifier: Classifier
  resize: Resize | None
  weights_sha256: str | None


def run_explain(options: argparse.Namespace) -> int:
  """Explain the images of a command line; the exit code is 2 if any failed."""
  messages = Messages(options.quiet)
  method = make_method(options)
  folder = _writable_folder(options.out)
  use_compilation_cache()
  collect_garbage_rarely()
  network = _load_network(options, messages)
  classifier = network.classifier
  # All images will have this size; what does not suit it is said once.
  height, width = np.broadcast_to(classifier.input_size, 2).tolist()
  checks.check_structure(method.bind((height, width, 3), classifier.output))
  targets: list[int | None] = [None]
  if options.target:
    targets = [classifier.class_index(target) for target in options.target]
  jobs, failures = _read_jobs(options, network, method, targets, folder, messages)
  if jobs:
    _announce(jobs, classifier, method, options, messages)
  size = options.batch_size or _BATCH_SIZES.get(jax.default_backend(), 64)
  for start in range(0, len(jobs), size):
    batch = jobs[start : start + size]
    failures += _explain_jobs(batch, classifier, method, options, folder, messages)
  return 2 if failures else 0


def _load_network(options: argparse.Namespace, messages: Messages) -> _Network:
  info = classifier_info(options.classifier)
  classifier = cawe.load_classifier(info.name, options.weights)
  path = options.weights
  if path is None and info.repository:
    path = hub.downloaded(info.repository)
  if path is None:
    return _Network(classifier, info.resize, None)
  digest = sha256(path)
  messages.say(f"weights {path}, SHA-256 {digest}")
  return _Network(classifier, info.resize, digest)


def _read_jobs(
  options: argparse.Namespace,
  network: _Network,
  method: Method,
  targets: list[Any],
  folder: Path,
  messages: Messages,
) -> tuple[list[_Job], int]:
  """What is to do, and how many images cannot be."""
  jobs: list[_Job] = []
  names: dict[str, str] = {}
  failures = 0
  for name in options.images:
    try:
      path, stem = _locate(name)
      if stem in names:
        raise ValueError(
          f"image {name!r} would overwrite the results of {names[stem]!r}: both are "
          f"{stem}.*; give them to two calls with different --out"
        )
      size = network.classifier.input_size
      image = cawe.load_image(path, size, network.resize)
    except (ValueError, OSError) as error:
      messages.error(str(error))
      failures += 1
      continue
    names[stem] = name
    for target in targets:
      job_stem = stem if len(targets) == 1 else f"{stem}-{target}"
      figure = folder / f"{job_stem}.png"
      if _is_foreign(figure, options.images):
        messages.error(
          f"image {name!r}: its figure would overwrite {str(figure)!r}, which is no "
          "figure of this command; give another --out"
        )
        failures += 1
        continue
      request = _request(image, target, network, method, options)
      if not options.force and results.is_finished(folder, job_stem, request):
        messages.say(f"{name}: finished before with these settings ({job_stem}.json)")
      else:
        if (folder / f"{job_stem}.json").is_file():
          messages.say(f"{name}: the results in {job_stem}.json will be replaced")
        jobs.append(_Job(name, job_stem, image, target, request))
  return jobs, failures


def _is_foreign(figure: Path, images: list[str]) -> bool:
  """Whether what is in a figure's place is an input, or has no mask beside it."""
  if not figure.exists():
    return False
  beside = (figure.with_suffix(suffix) for suffix in (".npz", ".json"))
  inputs = (Path(name) for name in images)
  return not any(path.exists() for path in beside) or any(
    path.exists() and figure.samefile(path) for path in inputs
  )


def _locate(name: str) -> tuple[Path, str]:
  """File and stem of the results of an IMAGE argument."""
  if name.startswith(_SAMPLE):
    sample = name.removeprefix(_SAMPLE)
    return sample_path(sample), sample
  return Path(name), Path(name).stem


def _request(
  image: np.ndarray,
  target: int | None,
  network: _Network,
  method: Method,
  options: argparse.Namespace,
) -> dict[str, Any]:
  request = {
    "image_id": image_id(image),
    "classifier": network.classifier.name,
    "weights_sha256": network.weights_sha256,
    "target": target,
    "method": method.settings(),
    "retain": options.retain,
    "budget": options.budget,
    "seed": options.seed,
    "cawe_jax": cawe.__version__,
  }
  texts = {option: getattr(options, option) for option in _PARTS}
  own = own_parts(texts)
  return request | {"own_parts": own} if own else request


def _announce(
  jobs: list[_Job],
  classifier: Classifier,
  method: Method,
  options: argparse.Namespace,
  messages: Messages,
) -> None:
  draws = method.recipe.num_draws if method.perturbation.is_random else 1
  steps = method.recipe.num_steps
  if options.retain is not None:
    steps += (len(RETAIN_MULTIPLIERS) - 1) * (steps // 3)
  evaluations = steps * draws * len(jobs)
  text = (
    f"{len(jobs)} image{'s' if len(jobs) > 1 else ''}, {method.name}, "
    f"{classifier.name}: {evaluations:,} model evaluations"
  )
  if evaluations > _FEW_EVALUATIONS:
    seconds = estimate_seconds(classifier, jobs[0].image.shape, evaluations)
    text += f", about {duration(seconds)}" if seconds > _LONG_RUN_SECONDS else ""
  messages.say(text)


def _explain_jobs(
  jobs: list[_Job],
  classifier: Classifier,
  method: Method,
  options: argparse.Namespace,
  folder: Path,
  messages: Messages,
) -> int:
  """Explain one batch; where it fails, its images one by one. Number of failures."""
  try:
    _explain_batch(jobs, classifier, method, options, folder, messages)
    return 0
  except (ValueError, OSError, jax.errors.JaxRuntimeError) as error:
    if len(jobs) == 1:
      messages.error(f"image {jobs[0].name!r}: {error}")
      return 1
  return sum(
    _explain_jobs([job], classifier, method, options, folder, messages) for job in jobs
  )


def _explain_batch(
  jobs: list[_Job],
  classifier: Classifier,
  method: Method,
  options: argparse.Namespace,
  folder: Path,
  messages: Messages,
) -> None:
  images = np.stack([job.image for job in jobs])
  targets = None if jobs[0].target is None else [job.target for job in jobs]
  title = jobs[0].name if len(jobs) == 1 else f"{len(jobs)} images"
  start = time.perf_counter()
  with (
    compile_clock() as clock,
    messages.progress(title, method.recipe.num_steps) as callback,
  ):
    explanation = _solve(classifier, images, method, targets, callback, options)
  seconds = max(time.perf_counter() - start - clock.seconds, 0) / len(jobs)
  for i, job in enumerate(jobs):
    one: Explanation = jax.tree.map(lambda x, i=i: np.asarray(x)[i], explanation)
    used = method
    extra: dict[str, Any] = {
      "image": job.name,
      "classifier": classifier.name,
      "weights_sha256": job.request["weights_sha256"],
    }
    if options.retain is not None:
      reached = bool(one.retained_probability >= options.retain)
      extra |= {"retain": options.retain, "retain_reached": reached}
      used = method._replace(lagrange_multiplier=float(one.lagrange_multiplier))
    if options.budget is not None:
      extra["budget"] = options.budget
    name = classifier.class_name(int(one.target))
    result = results.Result(
      job.request, name, used.settings(), seconds, clock.seconds, extra
    )
    results.write(folder, job.stem, one, result)
    messages.say(describe(job.name, name, one))
    names = classifier.class_names
    # Of published weights and of classes asked for there is nothing to suspect.
    own = job.target is None and job.request["weights_sha256"] is not None
    if own and names and is_guess(one, len(names)):
      messages.say(
        f"{job.name}: hardly surer than a guess among {len(names)} classes; are these "
        f"trained weights of {classifier.name}?"
      )
    print(folder / f"{job.stem}.png", flush=True)


def _solve(
  classifier: Classifier,
  images: np.ndarray,
  method: Method,
  targets: Any,
  callback: Any,
  options: argparse.Namespace,
) -> Explanation:
  """The explanation that the options ask for."""
  common = {
    "key": jax.random.key(options.seed),
    "targets": targets,
    "callback": callback,
  }
  if options.retain is not None:
    return cawe.explain_retaining(classifier, images, method, options.retain, **common)
  if options.budget is not None:
    return cawe.explain_budget(classifier, images, method, options.budget, **common)
  return cawe.explain(classifier, images, method, **common)


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
