"""What ``cawe explain`` has to do: which image, which target, where the results go.

All that can be known without decoding an image is known before the first is explained:
there may be more images than fit into memory, so each is read when its turn comes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cawe_jax.cli import places
from cawe_jax.cli.console import Messages
from cawe_jax.cli.networks import Network
from cawe_jax.cli.parts import own_parts
from cawe_jax.files.checksums import code_version, sha256
from cawe_jax.files.decoding import Decoder
from cawe_jax.files.images import (
  Resize,
  file_channels,
  image_id,
  read_image_file,
)
from cawe_jax.methods import Method
from cawe_jax.samples import sample_path

_SAMPLE = "sample:"
_PARTS = ("perturbation", "distortion", "representation", "initial_mask")


class Photograph(NamedTuple):
  """An image as the command line names it, and the file that it is."""

  name: str
  path: Path


class Read(NamedTuple):
  """What a file holds: its SHA-256, and the pixels ``[H, W, C]`` for the network."""

  sha256: str
  pixels: np.ndarray


class Job(NamedTuple):
  """One image and one target (None: the predicted class), not yet read.

  ``request`` is what was asked for, all but the image's id.
  """

  photograph: Photograph
  stem: str
  target: int | None
  request: dict[str, Any]


class Reader(NamedTuple):
  """Reads images and fits them to a network.

  Attributes:
    decoder: A process that can be ended.
    shape: ``(H, W, C)`` of the network's input.
    resize: How photographs are scaled for it.
  """

  decoder: Decoder
  shape: tuple[int, int, int]
  resize: Resize | None

  def read(self, photograph: Photograph) -> Read:
    """Read and decode an image.

    Raises:
      ValueError: As :func:`cawe_jax.load_image`, or it takes too much time or memory,
        or has other channels.
    """
    data, name = read_image_file(photograph.path), str(photograph.path)
    height, width, channels = self.shape
    pixels = self.decoder.decode(data, name, (height, width), self.resize)
    if pixels.shape[-1] != channels:
      raise ValueError(
        f"image {name!r}: channels are {pixels.shape[-1]}, where the first image has "
        f"{channels}; explain it in a call of its own"
      )
    return Read(hashlib.sha256(data).hexdigest(), pixels)


def first_channels(names: Sequence[str]) -> int | None:
  """Channels of the first image that can be read; None if none can.

  Args:
    names: IMAGE arguments; photographs have three channels.
  """
  for name in names:
    with contextlib.suppress(ValueError):  # said when its turn comes
      return file_channels(_locate(name)[0])
  return None


def plan(
  options: argparse.Namespace,
  network: Network,
  method: Method,
  targets: Sequence[int | None],
  folder: Path,
  reader: Reader,
  messages: Messages,
) -> list[Job]:
  """What is to do; an image of which that cannot be said is one line of error."""
  requests = {t: _request(t, network, method, options) for t in targets}
  jobs: list[Job] = []
  names: dict[str, str] = {}
  for name in options.images:
    try:
      path, stem = _locate(name)
      if stem in names:
        raise ValueError(
          f"image {name!r} would overwrite the results of {names[stem]!r}: both are "
          f"{stem}.*; give them to two calls with different --out"
        )
      file_channels(path)
    except ValueError as error:
      messages.error(str(error))
      continue
    names[stem] = name
    for target, request in requests.items():
      job_stem = stem if len(requests) == 1 else f"{stem}-{target}"
      job = Job(Photograph(name, path), job_stem, target, request)
      try:
        if _is_new(job, reader, options.force, folder, messages):
          jobs.append(job)
      except ValueError as error:
        messages.error(str(error))
  return jobs


def read_all(
  jobs: Iterable[Job], reader: Reader, messages: Messages
) -> Iterator[tuple[Job, Read]]:
  """The jobs with their images, each read when it is asked for, once for all targets.

  An image that cannot be read is one line of error, and its jobs are left out.
  """
  for photograph, its_jobs in itertools.groupby(jobs, lambda job: job.photograph):
    try:
      image = reader.read(photograph)
    except (ValueError, OSError) as error:
      messages.error(str(error))
      continue
    for job in its_jobs:
      yield job, image


def identity(image: Read) -> places.Identity:
  """What tells an image that has been read from others."""
  return places.Identity(lambda: image.sha256, lambda: image_id(image.pixels))


def _is_new(
  job: Job, reader: Reader, force: bool, folder: Path, messages: Messages
) -> bool:
  """Whether a job is to be done; what will happen to results in its place is said."""
  photograph = job.photograph
  unread = places.Identity(
    lambda: sha256(photograph.path),
    lambda: image_id(reader.read(photograph).pixels),
  )
  try:
    places.check_place(folder, job.stem, unread)
  except (ValueError, OSError) as error:
    why = places.why_not(error, folder, job.stem)
    raise ValueError(f"image {photograph.name!r}: {why}") from None
  if not force and places.is_finished(folder, job.stem, job.request):
    messages.say(
      f"{photograph.name}: finished before with these settings ({job.stem}.json)"
    )
    return False
  if (folder / f"{job.stem}.json").exists():
    changed = ", ".join(places.other_settings(folder, job.stem, job.request))
    why = f" (another {changed})" if changed else ""
    messages.say(
      f"{photograph.name}: the results in {job.stem}.json will be replaced{why}"
    )
  return True


def _locate(name: str) -> tuple[Path, str]:
  """File and stem of the results of an IMAGE argument."""
  if name.startswith(_SAMPLE):
    sample = name.removeprefix(_SAMPLE)
    return sample_path(sample), sample
  return Path(name), Path(name).stem


def _request(
  target: int | None, network: Network, method: Method, options: argparse.Namespace
) -> dict[str, Any]:
  request = {
    "classifier": network.classifier.name,
    "weights_sha256": network.weights_sha256,
    "target": target,
    "method": method.settings(),
    "retain": options.retain,
    "budget": options.budget,
    "seed": options.seed,
    "cawe_jax": code_version(),
  }
  if options.entry is not None:
    request["entry"] = options.entry
  if options.class_names is not None:
    request["class_names_sha256"] = sha256(options.class_names)
  metrics: dict[str, Any] = {
    text: own_parts({"metric": text}).get("metric") for text in options.metric
  }
  if options.confidence is not None:
    metrics["bounds"] = options.confidence
  if metrics:
    request["metrics"] = metrics
  texts = {option: getattr(options, option) for option in ("classifier", *_PARTS)}
  own = own_parts(texts)
  return request | {"own_parts": own} if own else request
