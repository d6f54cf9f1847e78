"""From a config to jobs: a sweep is a config that lists its axes.

``config.methods`` names what is compared, each with settings of its own;
``config.axes`` lists values of settings, of which every method gets every combination;
``config.settings`` are what all share. An axis of numbers that a compiled program takes
as data makes a *grid*: all its points are explained together, images x points as one
batch. Any other axis changes the program, and each of its values is a *job*.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

ARRAY_SETTINGS = (
  "lagrange_multiplier",
  "spatial_l1",
  "total_variation",
  "step_size",
  "seed",
)
"""Settings that are data: other values compile nothing."""

SETTINGS: dict[str, Any] = {
  "classifier": "efficientnet-lite0",
  "image_size": None,
  "target": "predicted",
  "ranking": None,
  "method": "cartoonx",
  "preset": "fast",
  "perturbation": None,
  "distortion": None,
  "representation": None,
  "initial_mask": None,
  "wavelet": None,
  "levels": None,
  "mode": None,
  "steps": None,
  "draws": None,
  "stop": None,
  "lagrange_multiplier": None,
  "spatial_l1": None,
  "total_variation": None,
  "step_size": None,
  "seed": 0,
}
"""Every setting of a job and its default; None is the preset's value.

``classifier`` is a name of :func:`cawe_jax.classifier_names`, ``NAME=FILE`` for weights
from a file, or ``module:function``, a function of no arguments that returns a
classifier. ``image_size`` is a side in pixels; None is the classifier's. ``target`` is
``predicted`` or ``label``. ``ranking`` names what ranks the entries of a curve: None
the method's mask. All others are options of ``cawe explain``, unused by rankings.
"""

KINDS: dict[str, type] = {
  **dict.fromkeys(("image_size", "levels", "steps", "draws", "seed"), int),
  **dict.fromkeys(("stop", "lagrange_multiplier", "spatial_l1"), float),
  **dict.fromkeys(("total_variation", "step_size"), float),
}
"""Settings that are numbers; all others are texts."""

_MAX_NAME = 80


class Job(NamedTuple):
  """One compiled program's worth of a sweep.

  Attributes:
    name: What its folder is called: the method's key, then its values on the
      structural axes.
    label: What legends call the method.
    axes: Its values on the structural axes, by name.
    settings: Every setting that is not in the grid.
    grid: Settings that are data, one dictionary for each grid point, at least one.
    grid_axes: Those of ``config.axes`` that make the grid.
  """

  name: str
  label: str
  axes: dict[str, Any]
  settings: dict[str, Any]
  grid: tuple[dict[str, Any], ...]
  grid_axes: tuple[str, ...]

  def point_settings(self, point: int) -> dict[str, Any]:
    """Every setting of one grid point."""
    return self.settings | self.grid[point]

  def point_axes(self, point: int) -> dict[str, Any]:
    """Its value on every axis of the sweep."""
    return self.axes | {name: self.grid[point][name] for name in self.grid_axes}

  @property
  def full_label(self) -> str:
    """What tells it from the other jobs: the method, and its place on their axes."""
    return _in_words(self.label, self.axes)

  def point_label(self, point: int) -> str:
    """The method and its place on all axes, in one line."""
    return _in_words(self.label, self.point_axes(point))


def expand(config: ConfigDict) -> tuple[Job, ...]:
  """All jobs of a config, in the order of its methods' names and its axes' values.

  Raises:
    ValueError: An unknown setting, an axis without values, one that a method sets
      itself, or two jobs of one name.

  Example:
    >>> config = ConfigDict()
    >>> config.settings, config.methods = {}, {"cartoonx": {"label": "CartoonX"}}
    >>> config.axes = {"seed": (0, 1, 2), "wavelet": ("haar", "db3")}
    >>> [(job.name, len(job.grid)) for job in expand(config)]
    [('cartoonx,wavelet=haar', 3), ('cartoonx,wavelet=db3', 3)]
  """
  shared = _checked("settings", _plain(config.settings))
  _check_kinds("settings", shared)
  axes = _checked("axes", _plain(config.axes))
  for name, values in axes.items():
    if not isinstance(values, list | tuple) or not values:
      raise ValueError(f"axes.{name} is {values!r}; it must be a tuple of values")
    for value in values:
      _check_kind(f"axes.{name}", name, value)
  # Each axis's values stay in their order; only the names are sorted.
  arrays = [name for name in axes if name in ARRAY_SETTINGS]
  structural = [name for name in axes if name not in ARRAY_SETTINGS]
  jobs = []
  for key in sorted(config.methods):
    own = _plain(config.methods[key])
    label = own.pop("label", key)
    _check_kinds(f"methods.{key}", _checked(f"methods.{key}", own))
    for name in own.keys() & axes.keys():
      raise ValueError(f"{name} is an axis and a setting of methods.{key}; keep one")
    settings = SETTINGS | shared | own
    data = {name: settings.pop(name) for name in ARRAY_SETTINGS}
    grid = tuple(data | point for point in _product(axes, arrays))
    for values in _product(axes, structural):
      job_name = _folder_name(key, values)
      jobs.append(Job(job_name, label, values, settings | values, grid, tuple(arrays)))
  names = [job.name for job in jobs]
  for name in names:
    if names.count(name) > 1:
      raise ValueError(f"two jobs are called {name!r}; an axis lists a value twice")
  if not jobs:
    raise ValueError("methods is empty; a sweep needs at least one method")
  return tuple(jobs)


def _product(axes: Mapping[str, Any], names: list[str]) -> list[dict[str, Any]]:
  combinations = itertools.product(*(axes[name] for name in names))
  return [dict(zip(names, values, strict=True)) for values in combinations]


def _checked(where: str, settings: dict[str, Any]) -> dict[str, Any]:
  for name in settings:
    if name not in SETTINGS:
      raise ValueError(
        f"{where}.{name} is no setting; allowed: {', '.join(sorted(SETTINGS))}"
      )
  return settings


def _check_kinds(where: str, settings: dict[str, Any]) -> None:
  for name, value in settings.items():
    _check_kind(f"{where}.{name}", name, value)


def _check_kind(where: str, name: str, value: Any) -> None:
  """None is the preset's value; an integer is a number too, a truth value is none."""
  kind = KINDS.get(name, str)
  allowed = (int, float) if kind is float else kind
  if value is not None and (not isinstance(value, allowed) or isinstance(value, bool)):
    wanted = {int: "an integer", float: "a number", str: "a text"}[kind]
    raise ValueError(f"{where} is {value!r}; it must be {wanted}")


def _plain(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
  return config.to_dict() if isinstance(config, ConfigDict) else dict(config)


def _in_words(label: str, axes: Mapping[str, Any]) -> str:
  """E.g. ``CartoonX, lagrange multiplier 20``."""
  values = (
    f"{name.replace('_', ' ')} {f'{value:g}' if isinstance(value, float) else value}"
    for name, value in axes.items()
  )
  return ", ".join([label, *values])


def _folder_name(key: str, values: Mapping[str, Any]) -> str:
  """Readable, a legal file name everywhere, and short."""
  full = ",".join([key, *(f"{name}={value}" for name, value in values.items())])
  name = re.sub(r"[^A-Za-z0-9._,=-]", "_", full)
  if len(name) <= _MAX_NAME and name == full:
    return name
  return f"{name[:_MAX_NAME]}-{hashlib.sha256(full.encode()).hexdigest()[:6]}"
