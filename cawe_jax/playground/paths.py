"""Explanations of sample photographs that come with the page, which answers at once.

A path is one photograph and one method with many Lagrange multipliers, explained as one
batch. What is kept of it is the mask, in 256 levels, and the numbers; the pictures are
made of these when they are asked for, from the photograph, which stays in its own
package. Where photograph, network or settings are not those of a path, it is not used.

``python -m cawe_jax.playground.paths`` makes them, each in three minutes or more on two
CPU cores. It may be stopped: finished paths are not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import cawe_jax as cawe
from cawe_jax import obfuscations
from cawe_jax.explaining.one import Callback
from cawe_jax.figures import mask_picture
from cawe_jax.files.compilation import enable_compilation_cache
from cawe_jax.files.images import image_id
from cawe_jax.files.writing import atomic_write
from cawe_jax.playground import catalogue
from cawe_jax.playground.catalogue import METHODS, Photograph, Wish
from cawe_jax.playground.messages import ExplanationMade
from cawe_jax.playground.pictures import data_url
from cawe_jax.playground.settings import SHIPPED_PATHS, Settings, make_settings
from cawe_jax.types import Mask

SAMPLES = (
  "coffee",
  "chelsea",
  "imagenet-00",
  "imagenet-13",
  "imagenet-16",
  "imagenet-17",
)

_LEVELS = 255
_NUMBERS = {
  "retained_probability": "retained_probability",
  "rate": "rate",
  "distortion": "distortion",
  "standard_error": "distortion_standard_error",
  "probability": "probability",
  "score_with_noise": "score_with_noise",
}


class Shipped(NamedTuple):
  """Where one explanation of a path is: the file, and its place there."""

  file: Path
  position: int
  target: int
  numbers: dict[str, Any]


def make(
  settings: Settings,
  name: str,
  method: str,
  folder: Path,
  multipliers: Sequence[float] = catalogue.SLIDER,
  callback: Callback | None = None,
) -> Path:
  """Explain a sample along a path, and write ``NAME-METHOD.npz``.

  Args:
    settings: The settings of the playground that shall use it.
    name: A key of ``settings.samples``.
    method: ``cartoonx`` or ``pixel-rde``.
    folder: Where to; it exists.
    multipliers: At which Lagrange multipliers.
    callback: As for :func:`cawe_jax.explain`.
  """
  image = settings.samples[name]
  wish = catalogue.default_wish(method, settings)
  start = time.perf_counter()
  found = cawe.explain_path(
    settings.classifier,
    image,
    catalogue.make_method(wish, settings),
    multipliers,
    key=jax.random.key(wish.seed),
    callback=callback,
  )
  metadata = {
    **_origin(settings, image),
    "sample": name,
    "wish": wish._asdict(),
    "lagrange_multipliers": list(multipliers),
    "target": int(found.target[0]),
    # Of the whole path, as if each had been alone.
    "seconds": round((time.perf_counter() - start) / len(multipliers), 2),
    "numbers": [
      {key: float(getattr(found, field)[i]) for key, field in _NUMBERS.items()}
      for i in range(len(multipliers))
    ],
  }
  leaves = {
    str(i): np.rint(np.asarray(leaf) * _LEVELS).astype(np.uint8)
    for i, leaf in enumerate(found.mask)
  }
  file = folder / f"{name}-{method}.npz"
  with atomic_write(file) as path, path.open("wb") as opened:
    np.savez_compressed(opened, metadata=np.array(json.dumps(metadata)), **leaves)
  return file


def read(
  settings: Settings, samples: dict[str, Photograph]
) -> dict[tuple[str | None, Wish], Shipped]:
  """What is known of these samples under these settings, by sample and wish.

  Args:
    settings: The settings of the playground; its ``shipped`` says where to look.
    samples: Its photographs.
  """
  known: dict[tuple[str | None, Wish], Shipped] = {}
  if settings.shipped is None:
    return known
  for file in sorted(settings.shipped.glob("*.npz")):
    metadata = _metadata(file)
    name = metadata["sample"]
    if name not in samples:
      continue
    if any(
      metadata.get(key) != value
      for key, value in _origin(settings, samples[name].image).items()
    ):
      continue
    for i, multiplier in enumerate(metadata["lagrange_multipliers"]):
      wish = Wish(**metadata["wish"])._replace(lagrange_multiplier=multiplier)
      numbers = metadata["numbers"][i] | {"seconds": metadata["seconds"]}
      known[name, wish] = Shipped(file, i, metadata["target"], numbers)
  return known


def offer(known: dict[tuple[str | None, Wish], Shipped]) -> dict[str, Any]:
  """What the page is told: for which samples and multipliers answers come at once."""
  return {
    "samples": sorted({name for name, _ in known if name}),
    "lagrange_multipliers": sorted({wish.lagrange_multiplier for _, wish in known}),
  }


def describe(
  settings: Settings, photograph: Photograph, wish: Wish, shipped: Shipped, request: int
) -> ExplanationMade:
  """A shipped explanation as the page shows it."""
  mask = read_mask(shipped)
  representation = catalogue.make_method(wish, settings).representation
  kept = obfuscations.keep(photograph.image, mask, representation)
  return ExplanationMade(
    request,
    result=None,
    picture=data_url(kept.grey),
    masked_picture=data_url(kept.colour),
    mask_picture=data_url(mask_picture(mask)),
    target=catalogue.target_of(settings.classifier, shipped.target),
    cached=True,
    **shipped.numbers,
  )


def read_mask(shipped: Shipped) -> Mask:
  """The mask of a shipped explanation, to half a level of 1/255."""
  with np.load(shipped.file, allow_pickle=False) as archive:
    count = len(archive.files) - 1
    return tuple(
      archive[str(i)][shipped.position].astype(np.float32) / _LEVELS
      for i in range(count)
    )


def _origin(settings: Settings, image: np.ndarray) -> dict[str, Any]:
  """What must be the same for a path to be used."""
  return {
    "classifier": settings.classifier.name,
    "recipe": settings.recipe.name,
    "num_steps": settings.recipe.num_steps,
    "image_id": image_id(image),
  }


def _metadata(file: Path) -> dict[str, Any]:
  with np.load(file, allow_pickle=False) as archive:
    return json.loads(str(archive["metadata"]))


def main(arguments: Sequence[str] | None = None) -> int:
  """Make the paths that are missing."""
  parser = argparse.ArgumentParser(prog="python -m cawe_jax.playground.paths")
  parser.add_argument("--out", type=Path, default=SHIPPED_PATHS)
  parser.add_argument("--samples", nargs="+", default=SAMPLES, metavar="NAME")
  options = parser.parse_args(arguments)
  enable_compilation_cache()
  settings = make_settings(samples=options.samples)
  options.out.mkdir(parents=True, exist_ok=True)
  for name in options.samples:
    for method in METHODS:
      file = options.out / f"{name}-{method}.npz"
      if file.exists():
        print(f"{file.name}: made before", flush=True)
        continue
      start = time.perf_counter()
      make(settings, name, method, options.out, callback=_say(file.name))
      size = file.stat().st_size / 1024
      print(
        f"{file.name}: {size:.0f} KiB, {time.perf_counter() - start:.0f} s", flush=True
      )
  return 0


def _say(name: str) -> Callback:
  """Progress, a tenth at a time."""
  said = -1

  def callback(seen: cawe.Progress) -> None:
    nonlocal said
    tenth = 10 * seen.step // seen.num_steps
    if tenth > said:
      said = tenth
      print(f"{name}: step {seen.step} of {seen.num_steps}", flush=True)

  return callback


if __name__ == "__main__":
  sys.exit(main())
