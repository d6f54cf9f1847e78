"""The network of a command line: one of the registry, or the user's own function."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

import cawe_jax as cawe
from cawe_jax.classifiers import Classifier, hub
from cawe_jax.classifiers.registry import RANDOM, classifier_info
from cawe_jax.cli.console import Messages
from cawe_jax.cli.imports import make_part, names_function
from cawe_jax.engine.programs import count_outputs
from cawe_jax.files.checksums import arrays_sha256, sha256
from cawe_jax.files.images import Resize
from cawe_jax.methods.contracts import in_one_line


class Network(NamedTuple):
  """A classifier, how photographs are scaled for it, and which weights it has.

  ``weights_sha256`` is of the file that they were read from, or of the arrays that the
  user's own function returned; None for those of a package, whose checksum the
  classifier's name fixes.
  """

  classifier: Classifier
  resize: Resize | None
  weights_sha256: str | None


def open_network(options: argparse.Namespace, messages: Messages) -> Network:
  """The network that ``--classifier`` names, with its weights.

  Args:
    options: ``classifier``, ``weights``, ``entry`` and ``class_names``.
    messages: Where it is said what was read.

  Raises:
    ValueError: One line: no such network or function, weights that do not fit, options
      that say nothing of it.
  """
  names = None
  if options.class_names is not None:
    names = _class_names(options.class_names)
  if names_function(options.classifier):
    return _own_network(options, names)
  info = classifier_info(options.classifier)
  classifier = cawe.load_classifier(
    info.name,
    options.weights,
    entry=options.entry,
    class_names=names,
    say=messages.say,
  )
  path = None if options.weights == RANDOM else options.weights
  if options.weights is None and info.repository:
    path = hub.downloaded(info.repository)
  if path is None:
    return Network(classifier, info.resize, None)
  digest = sha256(path)
  messages.say(f"weights {path}, SHA-256 {digest}")
  return Network(classifier, info.resize, digest)


def own_classifier(text: str) -> Classifier:
  """The classifier that the user's own function returns.

  Args:
    text: ``MODULE:FUNCTION``, a function without arguments.

  Raises:
    ValueError: As :func:`cawe_jax.cli.imports.make_part`.
  """
  return make_part("classifier", text, Classifier)


def num_outputs_of(classifier: Classifier, shape: tuple[int, int, int]) -> int:
  """How many numbers the network returns of an image; runs nothing.

  Args:
    classifier: The network.
    shape: ``(H, W, C)``.

  Raises:
    ValueError: The network does not take such images.
  """
  try:
    return count_outputs(classifier, (1, *shape), np.float32)
  except ValueError:
    raise
  except Exception as error:  # the user's own program
    raise ValueError(
      f"classifier {classifier.name!r} failed on an image of shape {shape}, with "
      f"{in_one_line(error)}; photographs have three channels, .npy files their array's"
    ) from error


def _own_network(options: argparse.Namespace, names: list[str] | None) -> Network:
  for option in ("weights", "entry"):
    if getattr(options, option) is not None:
      raise ValueError(
        f"--{option} {getattr(options, option)!r} belongs to a network of cawe "
        f"classifiers; {options.classifier!r} returns its weights itself"
      )
  classifier = own_classifier(options.classifier)
  if names is not None:
    classifier = dataclasses.replace(classifier, class_names=tuple(names))
  return Network(classifier, None, arrays_sha256(classifier.params))


def _class_names(path: str) -> list[str]:
  """The lines of a text file."""
  try:
    # Windows' editors put a mark of byte order in front of UTF-8.
    lines = Path(path).read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
  except (OSError, ValueError) as error:
    reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
    raise ValueError(f"--class-names {path!r} cannot be read ({reason})") from None
  names = [line.strip() for line in lines]
  if not all(names):
    raise ValueError(
      f"--class-names {path!r} must have one name in each line; line "
      f"{names.index('') + 1} is empty"
    )
  return names
