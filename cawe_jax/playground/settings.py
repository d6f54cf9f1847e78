"""What a playground is made of: a network, photographs, and how masks are searched."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import cawe_jax as cawe
from cawe_jax import recipes
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.classifiers.registry import classifier_info
from cawe_jax.files.images import Resize
from cawe_jax.methods.names import RECIPES, find
from cawe_jax.recipes import Recipe
from cawe_jax.samples import sample_names, sample_path

SHIPPED_PATHS = Path(__file__).with_name("shipped")
"""Explanations of samples that come with the package, made by `playground.paths`."""


class Settings(NamedTuple):
  """What a playground is made of.

  Attributes:
    classifier: A softmax network on square or other images of its ``input_size``.
    samples: Photographs to choose from by name, each ``[H, W, 3]`` in [0, 1] of the
      network's size.
    recipe: How masks are searched.
    resize: The network's published rule for uploads.
    shipped: Folder of explanations made before, or None.
    hosts: Names under which the server may be addressed, besides numbers.
    allowed_hosts: Further ones, such as that of a proxy in front of it, each with the
      port if a browser shows one. Pages of these addresses may use the server under any
      of its names.
    root_path: Beginning of the path under which a proxy passes requests on as they
      are, such as ``/playground``.
  """

  classifier: Classifier
  samples: dict[str, np.ndarray]
  recipe: Recipe = recipes.fast()
  resize: Resize | None = None
  shipped: Path | None = SHIPPED_PATHS
  hosts: tuple[str, ...] = ("localhost",)
  allowed_hosts: tuple[str, ...] = ()
  root_path: str = ""


def make_settings(
  classifier: str = "efficientnet-lite0",
  preset: str = "fast",
  samples: Sequence[str] | None = None,
) -> Settings:
  """A playground with a published network and the photographs of packages.

  Args:
    classifier: A name of ``cawe classifiers``.
    preset: ``fast`` or ``default``, or a published recipe.
    samples: Names of :func:`cawe_jax.samples.sample_names`; by default all whose
      packages are installed.

  Raises:
    ValueError: An unknown name, or no sample is installed.
  """
  info = classifier_info(classifier)
  network = cawe.load_classifier(info.name)
  names = _installed() if samples is None else samples
  images = {
    name: cawe.load_image(sample_path(name), network.input_size, info.resize)
    for name in names
  }
  return Settings(network, images, find("preset", RECIPES, preset)(), info.resize)


def input_shape(classifier: Classifier) -> tuple[int, int]:
  """Height and width of the network's input."""
  height, width = np.broadcast_to(classifier.input_size, 2).tolist()
  return height, width


def _installed() -> list[str]:
  """Samples whose packages are here."""
  names = []
  for name in sample_names():
    with contextlib.suppress(ValueError):
      sample_path(name)
      names.append(name)
  if not names:
    sample_path(sample_names()[0])  # says which package to install
  return names
