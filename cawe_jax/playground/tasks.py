"""What a job computes: calls of the library, and their results as messages.

Everything here runs in a worker's thread and is a function of its arguments. A job asks
its ``check`` wherever the library calls back, so that a request that was cancelled
stops within one chunk of network evaluations.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import cawe_jax as cawe
from cawe_jax import distortions, methods, obfuscations
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.figures import explanation_figure, mask_picture, save_figure
from cawe_jax.files.images import image_id
from cawe_jax.methods import Method
from cawe_jax.playground import catalogue, messages
from cawe_jax.playground.catalogue import Photograph, Wish
from cawe_jax.playground.jobs import Check
from cawe_jax.playground.messages import ExplanationMade, Progress
from cawe_jax.playground.pictures import data_url
from cawe_jax.playground.settings import Settings
from cawe_jax.types import Explanation, Mask

FILE_TYPES = {"png": "image/png", "npz": "application/octet-stream"}
"""Files of a result, by their suffixes."""
SHOWN_DRAWS = 8
PROGRESS_SECONDS = 0.2
"""Least time between two looks at a run."""

Report = Callable[[Progress], None]


class Result(NamedTuple):
  """An explanation that was computed, and all that its files say of it."""

  explanation: Explanation
  wish: Wish
  method: Method
  image: str
  seconds: float


def predict(
  settings: Settings,
  photograph: Photograph,
  request: messages.Predict,
  keep: np.ndarray,
) -> messages.Prediction:
  """What the network says if the pixels ``keep [H, W]`` are kept."""
  method = methods.pixel_rde(perturbation=catalogue.make_perturbation(request.filling))
  mask = obfuscations.pixel_mask(keep)
  assessed = _assess(settings, photograph, mask, method, request.draws, request.seed)
  return messages.Prediction(request.id, **assessed)


def find_mask(
  settings: Settings,
  photograph: Photograph,
  request: messages.FindMask,
  check: Check,
  report: Report,
) -> messages.FoundMask:
  """The hard mask of a method, searched for the distortion that the page scores.

  The search has draws of its own, so that the score is on draws that neither the
  visitor nor the method has seen.
  """
  wish = catalogue.default_wish(request.method, settings)
  wish = wish._replace(perturbation=request.filling, distortion="l2")
  method = catalogue.make_method(wish, settings)
  found = cawe.explain_budget(
    settings.classifier,
    photograph.image,
    method,
    request.budget,
    key=jax.random.fold_in(jax.random.key(request.seed), 1),
    callback=_watch(request.id, photograph.image, method, check, report),
  )
  check()
  assessed = _assess(
    settings, photograph, found.mask, method, request.draws, request.seed
  )
  return messages.FoundMask(
    request.id,
    **assessed,
    unit=catalogue.unit(request.method),
    picture=data_url(found.masked_image),
  )


def explain(
  settings: Settings,
  photograph: Photograph,
  name: str,
  wish: Wish,
  request: int,
  check: Check,
  report: Report,
) -> Result:
  """The explanation that a visitor wishes for."""
  method = catalogue.make_method(wish, settings)
  common: dict[str, Any] = {
    "key": jax.random.key(wish.seed),
    "targets": wish.target,
    "callback": _watch(request, photograph.image, method, check, report),
  }
  start = time.perf_counter()
  if wish.budget is None:
    found = cawe.explain(settings.classifier, photograph.image, method, **common)
  else:
    found = cawe.explain_budget(
      settings.classifier, photograph.image, method, wish.budget, **common
    )
  return Result(found, wish, method, name, time.perf_counter() - start)


def describe(
  settings: Settings,
  photograph: Photograph,
  result: Result,
  request: int,
  token: str | None,
  cached: bool,
) -> ExplanationMade:
  """An explanation as the page shows it."""
  e = result.explanation
  return ExplanationMade(
    request,
    result=token,
    picture=data_url(e.image),
    masked_picture=data_url(e.masked_image),
    mask_picture=data_url(mask_picture(e.mask)),
    retained_probability=float(e.retained_probability),
    rate=float(e.rate),
    distortion=float(e.distortion),
    standard_error=float(e.distortion_standard_error),
    probability=float(e.probability),
    score_with_noise=float(e.score_with_noise),
    target=catalogue.target_of(settings.classifier, int(e.target)),
    seconds=result.seconds,
    cached=cached,
    notice=notice(settings.classifier, photograph, result.wish),
  )


def notice(classifier: Classifier, photograph: Photograph, wish: Wish) -> str | None:
  """What a visitor must know of a class that the network does not say."""
  predicted = photograph.predicted
  if wish.target in (None, predicted) or wish.distortion != "automatic":
    return None
  return (
    f"The network says “{classifier.class_name(predicted)}”, so the mask maximises the "
    f"probability of “{classifier.class_name(wish.target)}” instead of keeping it."
  )


def make_file(classifier: Classifier, result: Result, suffix: str) -> bytes:
  """The figure (``png``) or the archive (``npz``) of a result, as a file.

  ``cawe.load`` reads the archive, and ``cawe figure`` draws the figure of it again.
  """
  e, wish = result.explanation, result.wish
  target_name = classifier.class_name(int(e.target))
  metadata = {
    "image": result.image,
    "image_id": image_id(e.input_image),
    "classifier": classifier.name,
    "target_name": target_name,
    "budget": wish.budget,
    "method": result.method.settings(),
    "seed": wish.seed,
    "seconds": round(result.seconds, 3),
    "cawe_jax": cawe.__version__,
  }
  with tempfile.TemporaryDirectory(prefix="cawe-playground-") as folder:
    path = Path(folder, f"explanation.{suffix}")
    if suffix == "npz":
      cawe.save(path, e, metadata)
    else:
      title = f"{catalogue.title(wish.method)} of “{target_name}”, λ = "
      title += f"{wish.lagrange_multiplier:g}"
      figure = explanation_figure(e, target_name=target_name, title=title)
      save_figure(figure, path)
    return path.read_bytes()


def _assess(
  settings: Settings,
  photograph: Photograph,
  mask: Mask,
  method: Method,
  draws: int,
  seed: int,
) -> dict[str, Any]:
  """The fields of a message that says what the network makes of a hard mask."""
  classifier = settings.classifier
  seen = obfuscations.obfuscate(
    classifier,
    photograph.image,
    mask,
    method,
    key=jax.random.key(seed),
    draws=draws,
  )
  distortion = obfuscations.distortion(seen, distortions.l2)
  after = obfuscations.probabilities(seen)
  budget = sum(int(leaf.sum()) for leaf in mask)
  target = photograph.predicted
  return {
    "budget": budget,
    "budget_share": budget / sum(leaf.size for leaf in mask),
    "distortion": float(distortion.value),
    "standard_error": float(distortion.standard_error),
    "draws": [data_url(image) for image in seen.images[:SHOWN_DRAWS]],
    "num_draws": len(seen.images),
    "before": catalogue.most_probable(classifier, photograph.probabilities),
    "after": catalogue.most_probable(classifier, *after),
    "target": messages.TargetChange(
      target,
      classifier.class_name(target),
      float(photograph.probabilities[target]),
      float(after.value[target]),
    ),
  }


def _watch(
  request: int, image: np.ndarray, method: Method, check: Check, report: Report
) -> Callable[[cawe.Progress], None]:
  """A callback of the library that reports, not too often, and can stop the run."""
  last = -PROGRESS_SECONDS

  def callback(seen: cawe.Progress) -> None:
    nonlocal last
    check()
    now = time.monotonic()
    if now - last < PROGRESS_SECONDS:
      return
    last = now
    mask = jax.tree.map(lambda leaf: leaf[0], seen.masks)
    kept = obfuscations.keep(image, mask, method.representation)
    report(
      Progress(
        request,
        step=seen.step,
        num_steps=seen.num_steps,
        picture=data_url(kept.grey),
        rate=float(np.mean(np.concatenate([leaf.ravel() for leaf in mask]))),
        # A step has few draws; ten of them say a little.
        distortion=float(np.nanmean(seen.history.distortion[0, -10:])),
      )
    )

  return callback
