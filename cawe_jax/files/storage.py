"""One explanation, or one batch of them, in one ``.npz`` file.

The file is a plain NumPy archive that any tool can open without this library. It holds
``format_version``, every field of :class:`cawe_jax.types.Explanation` under its own
name, one array per mask leaf (``mask/0``, the coarsest, then ``mask/1``, ...), the
history (``history/objective``, ..., ``history/penalties/NAME``), ``class_names``, a
JSON list as a string, where there are names, and ``metadata``, a JSON object as a
string. Nothing in it is ever unpickled, so that a file from a stranger can be opened.
Equal contents give equal bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile

from cawe_jax.files.writing import atomic_write
from cawe_jax.types import ClassNames, Explanation, History

FORMAT_VERSION = 1
"""Raised whenever a file of the new kind would be misread by an older release."""

_PENALTIES = "history/penalties/"
_EXPLANATION_FIELDS = [
  n for n in Explanation._fields if n not in ("mask", "history", "class_names")
]
_IMAGES = [n for n in _EXPLANATION_FIELDS if n == "image" or n.endswith("_image")]
_HISTORY_FIELDS = [n for n in History._fields if n != "penalties"]

PathLike = str | os.PathLike[str]


def save(
  path: PathLike,
  explanation: Explanation,
  metadata: Mapping[str, Any] | None = None,
) -> None:
  """Writes an explanation and what is known about it to one file.

  Args:
    path: The file, by custom ``*.npz``; an existing one is replaced as a whole, or
      left as it was if anything goes wrong.
    explanation: One, or those of a batch (any leading axes, stored as they are). Leaves
      are anything ``numpy.asarray`` takes, of boolean, integer, float or complex type.
    metadata: What JSON can hold, e.g. settings, class names, versions. JSON's own
      conversions apply: keys become strings, tuples lists.

  Raises:
    ValueError: ``explanation`` is none, ``metadata`` is no JSON object, or a leaf has
      a type that NumPy's format cannot hold, such as bfloat16.
    FileNotFoundError: The folder does not exist.

  Example:
    >>> save("cat.npz", explanation, {"wavelet": "db3"})  # doctest: +SKIP
    >>> load("cat.npz").rate  # doctest: +SKIP
    array(0.0101, dtype=float32)
  """
  if not isinstance(explanation, Explanation):
    raise ValueError(
      f"explanation is a {type(explanation).__name__}; it must be a "
      "cawe_jax.Explanation"
    )
  arrays = _named_arrays(explanation)
  names = explanation.class_names.names
  if names is not None:
    arrays["class_names"] = np.array(json.dumps(names))
  arrays["metadata"] = np.array(_to_json({} if metadata is None else metadata))
  arrays["format_version"] = np.array(FORMAT_VERSION)
  with atomic_write(path) as temporary, temporary.open("wb") as file:
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load(path: PathLike) -> Explanation:
  """Reads an explanation that :func:`save` wrote.

  Args:
    path: The file.

  Returns:
    The explanation, with NumPy arrays as leaves; types and values, NaN included, are
    those that were saved, bit for bit.

  Raises:
    ValueError: The file is not readable as an ``.npz``, holds pickled objects, lacks
      an array, holds arrays that do not fit each other, or has another format version.
    FileNotFoundError: There is no such file.
  """
  _check_version(path)
  arrays = _read(path, lambda name: name != "metadata")
  _complete(arrays)
  num_leaves = max(1, sum(name.startswith("mask/") for name in arrays))
  needed = [
    *_EXPLANATION_FIELDS,
    *(f"mask/{i}" for i in range(num_leaves)),
    *(f"history/{name}" for name in _HISTORY_FIELDS),
  ]
  _check_present(path, arrays, needed)
  history = History(
    **{name: arrays[f"history/{name}"] for name in _HISTORY_FIELDS},
    penalties={
      name.removeprefix(_PENALTIES): array
      for name, array in arrays.items()
      if name.startswith(_PENALTIES)
    },
  )
  explanation = Explanation(
    **{name: arrays[name] for name in _EXPLANATION_FIELDS},
    mask=tuple(arrays[f"mask/{i}"] for i in range(num_leaves)),
    history=history,
    class_names=_class_names(path, arrays),
  )
  if problem := _contradiction(explanation):
    raise ValueError(f"{os.fspath(path)}: {problem}; the file was changed")
  return explanation


def load_metadata(path: PathLike) -> dict[str, Any]:
  """Reads only the metadata that :func:`save` wrote; the images stay on disk.

  Args:
    path: The file.

  Returns:
    The JSON object; empty if none was given.

  Raises:
    ValueError: As :func:`load`, or the metadata are no JSON object.
    FileNotFoundError: There is no such file.
  """
  _check_version(path)
  arrays = _read(path, lambda name: name == "metadata")
  _check_present(path, arrays, ["metadata"])
  try:
    metadata = json.loads(str(arrays["metadata"]))
  except json.JSONDecodeError:
    metadata = None
  if not isinstance(metadata, dict):
    raise ValueError(f"{os.fspath(path)}: 'metadata' is not a JSON object")
  return metadata


def _contradiction(explanation: Explanation) -> str | None:
  """Where arrays do not fit each other, or masks are none."""
  batch = np.shape(explanation.rate)
  image = np.shape(explanation.input_image)[: len(batch) + 2]
  for name in _EXPLANATION_FIELDS:
    shape = np.shape(getattr(explanation, name))
    if name in _IMAGES:
      if len(shape) != len(batch) + 3 or shape[:-1] != image:
        return f"{name!r} has shape {shape}, that of 'input_image' begins with {image}"
    elif shape != batch:
      return f"{name!r} has shape {shape}, 'rate' has {batch}"
  for i, leaf in enumerate(explanation.mask):
    if len(leaf.shape) != len(batch) + 4 or leaf.shape[: len(batch)] != batch:
      return f"'mask/{i}' has shape {leaf.shape}, 'rate' has {batch}"
    if not np.all((np.asarray(leaf) >= 0) & (np.asarray(leaf) <= 1)):
      return f"'mask/{i}' has entries outside [0, 1], or NaN"
  history = explanation.history
  steps = np.shape(history.objective)
  if steps[:-1] != batch or len(steps) != len(batch) + 1:
    return f"'history/objective' has shape {steps}, 'rate' has {batch}"
  named = history._asdict() | history.penalties
  for name in [*_HISTORY_FIELDS, *history.penalties]:
    if np.shape(named[name]) != steps:
      return f"'history/{name}' has shape {np.shape(named[name])}, others {steps}"
  target = np.asarray(explanation.target)
  if target.dtype.kind not in "iu" or np.any(target < 0):
    return "'target' is no index of a class"
  return None


def _class_names(path: PathLike, arrays: Mapping[str, Any]) -> ClassNames:
  if "class_names" not in arrays:
    return ClassNames()
  try:
    names = json.loads(str(arrays["class_names"]))
  except json.JSONDecodeError:
    names = None
  if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
    raise ValueError(f"{os.fspath(path)}: 'class_names' is not a JSON list of names")
  return ClassNames(tuple(names))


def _complete(arrays: dict[str, Any]) -> None:
  """Add what the first files lack: draws, conditions, scores and multipliers."""
  if "masked_image" in arrays:
    unknown = np.full_like(arrays["masked_image"], np.nan)
    arrays.setdefault("obfuscated_image", unknown)
  if "objective" in arrays:
    for name in ("should_go", "should_return", "gap_standard_error"):
      arrays.setdefault(name, np.full(np.shape(arrays["objective"]), np.nan, "f"))
  old = ("probability", "retained_probability", "explanation_probability")
  if "score" not in arrays and all(name in arrays for name in old):
    probability, retained, explained = (arrays[name] for name in old)
    arrays["score"] = probability
    arrays["score_with_noise"] = probability * retained
    arrays["score_without_noise"] = probability * explained
  history = arrays.get("history/lagrange_multiplier")
  if "lagrange_multiplier" in arrays or history is None:
    return
  if history.dtype.kind == "f" and history.ndim > 0:
    arrays["lagrange_multiplier"] = _last_finite(history)


def _last_finite(values: np.ndarray) -> np.ndarray:
  """Along the last axis; NaN where there is none."""
  unknown = np.full((*values.shape[:-1], 1), np.nan, values.dtype)
  padded = np.concatenate([unknown, values], axis=-1)
  last = np.argmax(np.cumsum(np.isfinite(padded), axis=-1), axis=-1)
  return np.take_along_axis(padded, last[..., None], axis=-1)[..., 0]


def _named_arrays(explanation: Explanation) -> dict[str, np.ndarray]:
  history = explanation.history
  leaves = {
    **{name: getattr(explanation, name) for name in _EXPLANATION_FIELDS},
    **{f"mask/{i}": leaf for i, leaf in enumerate(explanation.mask)},
    **{f"history/{name}": getattr(history, name) for name in _HISTORY_FIELDS},
    **{f"{_PENALTIES}{name}": leaf for name, leaf in history.penalties.items()},
  }
  arrays = {name: np.asarray(leaf) for name, leaf in leaves.items()}
  for name, array in arrays.items():
    if array.dtype.kind not in "biufc":
      raise ValueError(
        f"explanation: {name!r} has type {array.dtype}; allowed are NumPy's boolean,"
        " integer, float and complex types (cast it first)"
      )
  return arrays


def _to_json(metadata: Mapping[str, Any]) -> str:
  if not isinstance(metadata, Mapping):
    raise ValueError(f"metadata: got a {type(metadata).__name__}, allowed: a mapping")
  try:
    return json.dumps(dict(metadata))
  except (TypeError, ValueError) as error:
    raise ValueError(f"metadata: {error}; allowed is what JSON can hold") from error


def _read(path: PathLike, wanted: Callable[[str], bool]) -> dict[str, Any]:
  """The arrays with wanted names; `Any`, for they stand where types say jax.Array."""
  with open(path, "rb") as file:
    try:
      with NpzFile(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files if wanted(name)}
    # Damaged bytes raise a dozen types (zlib, zipfile, header, number parsing).
    except Exception as error:
      reason = (str(error) or type(error).__name__).splitlines()[0]
      raise ValueError(
        f"{os.fspath(path)}: not a readable .npz explanation file ({reason})"
      ) from error


def _check_version(path: PathLike) -> None:
  """Looks at the version alone: newer files may hold what `_read` cannot read."""
  arrays = _read(path, lambda name: name == "format_version")
  _check_present(path, arrays, ["format_version"])
  stored = arrays["format_version"]
  if not (
    isinstance(stored, np.ndarray) and stored.shape == () and stored.dtype.kind in "iu"
  ):
    raise ValueError(f"{os.fspath(path)}: 'format_version' is not one integer")
  if stored > FORMAT_VERSION:
    raise ValueError(
      f"{os.fspath(path)}: format_version {stored} is newer than {FORMAT_VERSION}, the"
      " newest that this release of cawe_jax reads; update cawe_jax"
    )
  if stored != FORMAT_VERSION:
    raise ValueError(
      f"{os.fspath(path)}: format_version {stored}, allowed: {FORMAT_VERSION}"
    )


def _check_present(
  path: PathLike, arrays: Mapping[str, Any], needed: list[str]
) -> None:
  missing = [name for name in needed if name not in arrays]
  if missing:
    raise ValueError(f"{os.fspath(path)}: not an explanation file, lacks {missing}")
