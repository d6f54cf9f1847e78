"""The three files of one explained image."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cawe_jax.cli.places import is_figure
from cawe_jax.explaining.emptiness import is_nearly_empty
from cawe_jax.files.storage import load, load_metadata, save
from cawe_jax.files.writing import atomic_write
from cawe_jax.types import Explanation

_TITLES = {
  "cartoonx": "CartoonX",
  "pixel-rde": "Pixel RDE",
  "smooth-pixel-rde": "Smooth Pixel RDE",
  "waveletx": "WaveletX",
}
_PACKAGES = ("cawe-jax", "jax", "jaxlib", "flax", "optax", "numpy", "PyWavelets")


class Result(NamedTuple):
  """What is written about one image besides its explanation.

  Attributes:
    request: What was asked for; a finished image with an equal one is not done again.
    target_name: The name of the explained class.
    method: Every setting, the chosen multiplier included.
    seconds: Wall time of the batch over its images, compilation aside.
    compile_seconds: Seconds that the batch spent on compiling.
    extra: Further entries of the JSON, e.g. what ``--retain`` reached.
  """

  request: dict[str, Any]
  target_name: str
  method: dict[str, Any]
  seconds: float
  compile_seconds: float
  extra: dict[str, Any]


def write(folder: Path, stem: str, explanation: Explanation, result: Result) -> None:
  """Write ``STEM.npz``, ``STEM.png`` and, last, ``STEM.json``; each whole or not."""
  report = make_report(explanation, result)
  save(folder / f"{stem}.npz", explanation, report)
  draw(explanation, report, folder / f"{stem}.png")
  with atomic_write(folder / f"{stem}.json") as path:
    path.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")


def make_report(explanation: Explanation, result: Result) -> dict[str, Any]:
  """The JSON; docs/reference/files.md says what every key means."""
  numbers = {
    key: number(getattr(explanation, field))
    for key, field in {
      "score": "score",
      "score_with_noise": "score_with_noise",
      "score_without_noise": "score_without_noise",
      "probability": "probability",
      "distortion": "distortion",
      "distortion_standard_error": "distortion_standard_error",
      "retained_probability": "retained_probability",
      "explanation_probability": "explanation_probability",
      "rate_l1": "rate",
      "rate_l0": "rate_l0",
      "objective": "objective",
      "should_go": "should_go",
      "should_return": "should_return",
      "gap_standard_error": "gap_standard_error",
    }.items()
  }
  return {
    "target": int(explanation.target),
    "target_name": result.target_name,
    **numbers,
    "num_steps": int(explanation.num_steps),
    "model_evaluations": int(explanation.model_evaluations),
    "seconds": round(result.seconds, 3),
    "compile_seconds": round(result.compile_seconds, 3),
    "nearly_empty": bool(is_nearly_empty(explanation)),
    **result.extra,
    "method": _as_json(result.method),
    "seed": result.request["seed"],
    "request": _as_json(result.request),
    "versions": versions(),
  }


def draw(
  explanation: Explanation,
  report: dict[str, Any],
  path: str | Path,
  bands: Sequence[int] | None = None,
) -> None:
  """The figure, from what the ``.npz`` holds."""
  from cawe_jax.figures import explanation_figure, save_figure

  method = report["method"]
  name = _TITLES.get(method["name"], method["name"])
  title = f"{name} of “{report['target_name']}”, λ = {method['lagrange_multiplier']:g}"
  figure = explanation_figure(
    explanation, target_name=report["target_name"], title=title, bands=bands
  )
  save_figure(figure, path)


def _draw_unnamed(
  explanation: Explanation, path: str | Path, bands: Sequence[int] | None
) -> None:
  """The figure, from an explanation alone."""
  from cawe_jax.figures import explanation_figure, save_figure

  save_figure(explanation_figure(explanation, bands=bands), path)


def redraw(
  source: str | Path, path: str | Path, bands: Sequence[int] | None = None
) -> None:
  """Draw the figure of a ``.npz`` of :func:`write`, or of ``cawe.save``.

  The latter's heading is the class's name, or its number where the network had none.

  Args:
    source: The ``.npz``.
    path: Where the figure is written.
    bands: As for :func:`cawe_jax.figures.explanation_figure`.

  Raises:
    ValueError: The file is no explanation, or one of several images; the bands are not
      three channels of it; or what is in the figure's place is no figure of this
      package.
  """
  if os.path.lexists(path) and not is_figure(Path(path)):
    raise ValueError(
      f"--out {str(path)!r} exists and is no figure of this package, so it is not "
      "replaced; give another name"
    )
  explanation, metadata = load(source), load_metadata(source)
  if np.ndim(explanation.input_image) != 3:
    raise ValueError(
      f"{str(source)!r} holds a batch; allowed is one image: save each of "
      "jax.tree.map(lambda leaf: leaf[i], explanation)"
    )
  match metadata:
    case {
      "target_name": str(),
      "method": {"name": str(), "lagrange_multiplier": int() | float()},
    }:
      draw(explanation, metadata, path, bands)
    case _:
      _draw_unnamed(explanation, path, bands)


def versions() -> dict[str, str]:
  """Versions of Python and of the packages that decide the numbers."""
  found = {"python": platform.python_version()}
  for package in _PACKAGES:
    try:
      found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      found[package] = "not installed"
  return found


def number(value: Any) -> float | None:
  """As JSON has it: null where it is not finite."""
  found = float(np.asarray(value))
  return found if math.isfinite(found) else None


def _as_json(value: Any) -> Any:
  return json.loads(json.dumps(value))
