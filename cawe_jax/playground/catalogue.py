"""What the page may offer, and how a visitor's wishes become a method.

Everything that a request can name is a key of a table here, and the tables are what
``/catalogue.json`` says, so that page and server cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import pywt

from cawe_jax import representations
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.methods import Method, names
from cawe_jax.methods.names import Named, NamedMethod, find
from cawe_jax.playground.messages import (
  ClassProbability,
  Explain,
  ImageChoice,
  Target,
)
from cawe_jax.playground.settings import Settings, input_shape
from cawe_jax.playground.uploads import MAX_UPLOAD_BYTES
from cawe_jax.samples import sample_label, sample_names
from cawe_jax.types import Perturbation

Row = TypeVar("Row", Named, NamedMethod)


class Photograph(NamedTuple):
  """An image and what the network says of it, ``[K]`` probabilities."""

  image: np.ndarray
  probabilities: np.ndarray

  @property
  def predicted(self) -> int:
    """The most probable class."""
    return int(self.probabilities.argmax())


class Wish(NamedTuple):
  """An ``explain`` request with every default filled in and every value checked."""

  method: str
  lagrange_multiplier: float
  wavelet: str | None
  levels: int | None
  perturbation: str
  distortion: str
  target: int | None
  budget: int | None
  seed: int


def _offered(table: Mapping[str, Row]) -> dict[str, Row]:
  return {name: row for name, row in table.items() if row.on_page}


METHODS = _offered(names.METHODS)
PERTURBATIONS = _offered(names.PERTURBATIONS)
DISTORTIONS = _offered(names.DISTORTIONS)
WAVELETS = {
  "haar": "Haar",
  "db2": "Daubechies 2",
  "db3": "Daubechies 3",
  "db4": "Daubechies 4",
  "db8": "Daubechies 8",
  "sym4": "Symlet 4",
  "coif1": "Coiflet 1",
  "bior2.2": "Biorthogonal 2.2",
  "bior4.4": "Biorthogonal 4.4",
}
DEFAULT_WAVELET, DEFAULT_LEVELS = "db3", 5
DEFAULT_PERTURBATION, DEFAULT_DISTORTION = "adaptive-gaussian", "automatic"
MULTIPLIERS = 0.1, 10_000.0
SLIDER = tuple(float(f"{20 * 2 ** (k / 2):.3g}") for k in range(-8, 9))
"""Lagrange multipliers that the page's slider stops at: half octaves, 1.25 to 320."""
MAX_DRAWS = 64
MAX_SEED = 2**32 - 1


def make_catalogue(
  settings: Settings, photographs: dict[str, Photograph], shipped: dict[str, Any]
) -> dict[str, Any]:
  """What ``/catalogue.json`` says.

  Args:
    settings: The settings of the playground.
    photographs: Its samples, by name.
    shipped: What :func:`cawe_jax.playground.paths.offer` says.
  """
  classifier = settings.classifier
  shape = input_shape(classifier)
  num_classes = len(next(iter(photographs.values())).probabilities)
  wishes = {name: default_wish(name, settings) for name in METHODS}
  return {
    "classifier": classifier.name,
    "classes": [classifier.class_name(i) for i in range(num_classes)],
    "image_size": list(shape),
    "samples": [
      {
        "name": name,
        "title": _photograph_title(name, classifier),
        "url": f"samples/{name}.webp",
        "class": classifier.class_name(photograph.predicted),
        "target": photograph.predicted,
        "probability": float(photograph.probabilities.max()),
      }
      for name, photograph in photographs.items()
    ],
    "perturbations": [
      {"name": name, "title": part.title} for name, part in PERTURBATIONS.items()
    ],
    "distortions": [
      {"name": name, "title": part.title} for name, part in DISTORTIONS.items()
    ],
    "wavelets": [
      {"name": name, "title": title, "max_levels": most}
      for name, title in WAVELETS.items()
      if (most := max_levels(name, shape)) >= 1
    ],
    "methods": [
      {
        "name": name,
        "title": title(name),
        "unit": unit(name),
        "has_wavelet": wishes[name].wavelet is not None,
        "lagrange_multiplier": wishes[name].lagrange_multiplier,
        "max_budget": num_entries(wishes[name], settings) - 1,
      }
      for name in METHODS
    ],
    "defaults": wishes["cartoonx"]._asdict() | {"draws": 8},
    "slider": SLIDER,
    "limits": {
      "lagrange_multiplier": MULTIPLIERS,
      "draws": [1, MAX_DRAWS],
      "seed": [0, MAX_SEED],
      "upload_bytes": MAX_UPLOAD_BYTES,
    },
    "shipped": shipped,
  }


def max_levels(wavelet: str, shape: tuple[int, int]) -> int:
  """Levels that a wavelet allows on images of this shape; 0 where it is too long."""
  return int(pywt.dwtn_max_level(shape, wavelet))


def complete(request: Explain, settings: Settings) -> Wish:
  """Fill in defaults and check every value.

  A wavelet does not apply to Pixel RDE and is dropped there, because the page has one
  panel for both methods.

  Raises:
    ValueError: One line that names the field, its value and what is allowed.
  """
  shape = input_shape(settings.classifier)
  row = find("method", METHODS, request.method)
  multiplier = request.lagrange_multiplier
  if multiplier is None:
    multiplier = float(row.make().lagrange_multiplier)
  if not (math.isfinite(multiplier) and MULTIPLIERS[0] <= multiplier <= MULTIPLIERS[1]):
    raise ValueError(
      f"lagrange_multiplier is {multiplier}; allowed is {MULTIPLIERS[0]:g} to "
      f"{MULTIPLIERS[1]:g}"
    )
  wavelet, levels = request.wavelet, request.levels
  if row.any_representation:
    wavelet = wavelet or DEFAULT_WAVELET
    find("wavelet", WAVELETS, wavelet)
    most = max_levels(wavelet, shape)
    if levels is None:
      levels = min(DEFAULT_LEVELS, most)
    _check_integer("levels", levels, 1, most)
  else:
    wavelet = levels = None
  perturbation = request.perturbation or DEFAULT_PERTURBATION
  distortion = request.distortion or DEFAULT_DISTORTION
  find("perturbation", PERTURBATIONS, perturbation)
  find("distortion", DISTORTIONS, distortion)
  wish = Wish(
    request.method,
    multiplier,
    wavelet,
    levels,
    perturbation,
    distortion,
    request.target,
    request.budget,
    check_seed(request.seed or 0),
  )
  if wish.budget is not None:
    check_budget(wish.budget, wish, settings)
  return wish


def make_method(wish: Wish, settings: Settings) -> Method:
  """The library's method for a wish."""
  make = METHODS[wish.method].make
  method = make(
    wish.lagrange_multiplier,
    perturbation=make_perturbation(wish.perturbation),
    distortion=DISTORTIONS[wish.distortion].make,
    recipe=settings.recipe,
  )
  if wish.wavelet is None:
    return method
  transform = representations.wavelet(wish.wavelet, levels=wish.levels or 1)
  return method._replace(representation=transform)


def make_perturbation(name: str) -> Perturbation:
  """A perturbation by its name here."""
  return PERTURBATIONS[name].make()


def default_wish(method: str, settings: Settings) -> Wish:
  """What an ``explain`` request without any wish means."""
  return complete(Explain(0, ImageChoice(), method), settings)


def num_entries(wish: Wish, settings: Settings) -> int:
  """Entries of a mask of the wish's method."""
  shape = (*input_shape(settings.classifier), 3)
  return make_method(wish, settings).representation(shape).num_entries


def title(method: str) -> str:
  """A method's name as people write it."""
  return METHODS[method].title


def unit(method: str) -> str:
  """What a budget of this method counts."""
  return METHODS[method].entries


def check_budget(budget: int, wish: Wish, settings: Settings) -> int:
  """A number of entries that a hard mask of the wish can have."""
  return _check_integer("budget", budget, 1, num_entries(wish, settings) - 1)


def check_draws(draws: int) -> int:
  """A number of draws."""
  return _check_integer("draws", draws, 1, MAX_DRAWS)


def check_seed(seed: int) -> int:
  """A seed."""
  return _check_integer("seed", seed, 0, MAX_SEED)


def _check_integer(field: str, value: int, least: int, most: int) -> int:
  if not least <= value <= most:
    raise ValueError(f"{field} is {value}; allowed is {least} to {most}")
  return value


def target_of(classifier: Classifier, index: int) -> Target:
  """A class by its index, with its name."""
  return Target(index, classifier.class_name(index))


def most_probable(
  classifier: Classifier,
  probabilities: np.ndarray,
  standard_errors: np.ndarray | None = None,
  count: int = 5,
) -> list[ClassProbability]:
  """The most probable classes, first the most probable one."""
  order = np.argsort(-probabilities, kind="stable")[:count]
  return [
    ClassProbability(
      int(i),
      classifier.class_name(int(i)),
      float(probabilities[i]),
      None if standard_errors is None else float(standard_errors[i]),
    )
    for i in order
  ]


def _photograph_title(name: str, classifier: Classifier) -> str:
  """What is seen, by the label that came with the photograph, or its name."""
  label = sample_label(name) if name in sample_names() else None
  title = name if label is None else classifier.class_name(label)
  return title[0].upper() + title[1:]


def look(classifier: Classifier, image: np.ndarray) -> Photograph:
  """What the network says of an image."""
  return Photograph(image, np.asarray(_probabilities(classifier, image[None]))[0])


@jax.jit
def _probabilities(classifier: Classifier, images: np.ndarray) -> jax.Array:
  return jax.nn.softmax(classifier(images))
