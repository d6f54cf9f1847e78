"""From a name in a config to a sequence of photographs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from cawe_jax.samples import sample_label, sample_names, sample_path
from experiments.data.folder import list_folder
from experiments.data.photographs import Photograph

_PREPARED = "tfds:"
_SAMPLE = "sample:"
_log = logging.getLogger(__name__)


def load(name: str, limit: int | None = None) -> Sequence[Photograph]:
  """The photographs of a source, in the same order every time.

  Args:
    name: ``foolbox``, twenty ImageNet photographs that ship in that package;
      ``sample:NAME,NAME``, photographs of :mod:`cawe_jax.samples` by name; a folder,
      listed as :func:`experiments.data.folder.list_folder` says (what is ignored is
      logged); or ``tfds:DIR``, a dataset that ``experiments.data.prepare`` wrote. A
      folder of one of these names is ``./foolbox``.
    limit: How many to take, from the first; None takes all.

  Returns:
    At least one photograph.

  Raises:
    ValueError: No such source, nothing in it, a name twice, or a limit below 1.

  Example:
    >>> [photograph.id for photograph in load("foolbox", limit=2)]
    ['imagenet-00', 'imagenet-01']
    >>> [photograph.id for photograph in load("sample:coffee,chelsea")]
    ['coffee', 'chelsea']
  """
  if limit is not None and limit < 1:
    raise ValueError(f"limit is {limit}; it must be at least 1, or None for all")
  if name == "foolbox":
    photographs = _from_foolbox()
  elif name.startswith(_SAMPLE):
    photographs = _from_samples(name)
  elif name.startswith(_PREPARED):
    # Here, because the other sources need not wait for this import.
    from experiments.data.prepared import open_prepared

    photographs = open_prepared(name.removeprefix(_PREPARED), limit)
  elif name and Path(name).is_dir():
    photographs = _from_folder(name)
  else:
    raise ValueError(
      f"data is {name!r}; allowed are 'foolbox', '{_SAMPLE}NAME,NAME', an existing "
      f"folder and '{_PREPARED}DIR', a dataset made by python -m "
      "experiments.data.prepare"
    )
  return photographs[:limit]


def _from_foolbox() -> list[Photograph]:
  return _samples(name for name in sample_names() if name.startswith("imagenet-"))


def _from_samples(data: str) -> list[Photograph]:
  names = [name.strip() for name in data.removeprefix(_SAMPLE).split(",")]
  twice = next((name for name in names if names.count(name) > 1), None)
  if twice is not None:
    raise ValueError(f"data is {data!r}; it names {twice!r} twice")
  return _samples(names)


def _samples(names: Iterable[str]) -> list[Photograph]:
  return [Photograph(name, sample_label(name), sample_path(name)) for name in names]


def _from_folder(name: str) -> list[Photograph]:
  photographs, ignored = list_folder(name)
  if ignored:
    first = ", ".join(f"{entry.id} ({entry.reason})" for entry in ignored[:3])
    rest = f" and {len(ignored) - 3} more" if len(ignored) > 3 else ""
    _log.warning("folder %r: ignored %s%s", name, first, rest)
  if not photographs:
    raise ValueError(f"folder {name!r} holds no images ({len(ignored)} files ignored)")
  return photographs
