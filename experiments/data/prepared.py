"""The ImageNet validation set as a prepared dataset of tensorflow-datasets.

Read with ``as_data_source``: random access to ArrayRecord files, without TensorFlow and
without decoding. The names of all photographs stand in the dataset's metadata, because
reading them from the records means reading all images; datasets that TFDS itself
prepared have no such list and are read. Labels follow from the official names.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import tensorflow_datasets as tfds
from google.protobuf import json_format

from experiments.data.labels import validation_label
from experiments.data.photographs import Photograph

SPLIT = "validation"
FILE_NAMES = "file_names"
"""Key of the metadata: the names of all photographs, in the order of the records."""


@dataclasses.dataclass(frozen=True)
class Record:
  """Where a photograph is in a dataset.

  Attributes:
    folder: The dataset.
    position: Which of its records.
    records: All of them, open; TFDS's cannot be compared.
  """

  folder: str
  position: int
  records: Sequence[dict[str, Any]] = dataclasses.field(compare=False, repr=False)

  def read_bytes(self) -> bytes:
    """The encoded image.

    Raises:
      OSError: A file of the dataset is missing or damaged: each record has a hash.
    """
    return _read(self.records, self.position)["image"]


def open_prepared(
  folder: str | os.PathLike[str], limit: int | None = None
) -> list[Photograph]:
  """List the photographs of a prepared dataset.

  Args:
    folder: What ``python -m experiments.data.prepare`` wrote, or another dataset of
      TFDS with ArrayRecord files and the features ``image`` and ``file_name``, such as
      ``imagenet2012``.
    limit: How many to list, from the first; None lists all.

  Returns:
    The photographs of the validation split.

  Raises:
    ValueError: There is no such dataset, or it is damaged, or a name in it is not an
      official one.
  """
  folder = os.fspath(folder)
  records, listed = _open(folder)
  try:
    names = listed or [
      _read(records, position)["file_name"].decode()
      for position in range(len(records))[:limit]
    ]
  except OSError as error:
    raise ValueError(f"dataset {folder!r}: {error}") from None
  if listed and len(listed) != len(records):
    raise ValueError(
      f"dataset {folder!r} is damaged: {len(listed)} names, {len(records)} records"
    )
  photographs = []
  for position, name in enumerate(names[:limit]):
    stem = PurePath(name).stem
    label = validation_label(stem)
    if label is None:
      raise ValueError(
        f"dataset {folder!r}: {name!r} is no name of a validation photograph"
      )
    photographs.append(Photograph(stem, label, Record(folder, position, records)))
  return photographs


def _open(folder: str) -> tuple[Sequence[dict[str, Any]], list[str]]:
  """The records, with images left encoded, and the names if they are listed."""
  try:
    builder = tfds.builder_from_directory(folder)
    if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
      raise ValueError(f"its files are {builder.info.file_format.value}")
    if missing := {"image", "file_name"} - set(builder.info.features):
      raise ValueError(f"it lacks the feature {' and '.join(sorted(missing))}")
    decoders = {"image": tfds.decode.SkipDecoding()}
    records = builder.as_data_source(split=SPLIT, decoders=decoders)
    listed = dict(builder.info.metadata or {}).get(FILE_NAMES, [])
  except (OSError, ValueError, json_format.Error) as error:
    detail = " ".join(str(error).split())[:200]
    raise ValueError(
      f"dataset {folder!r} has no split {SPLIT!r} in ArrayRecord files ({detail})"
    ) from None
  return records, listed


def _read(records: Sequence[dict[str, Any]], position: int) -> dict[str, Any]:
  try:
    return records[position]
  except RuntimeError as error:  # What array_record raises of files, too.
    raise OSError(f"record {position}: {' '.join(str(error).split())}") from None
