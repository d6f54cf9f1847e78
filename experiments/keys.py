"""The keys of a config, and what is said of any other.

Nothing reads a key that is not listed here or in :data:`experiments.axes.SETTINGS`. It
is refused, since it is most likely a slip: a sweep with ``selct`` would explain all
photographs in silence.
"""

from __future__ import annotations

from ml_collections import ConfigDict

KEYS: dict[str, tuple[str, ...]] = {
  "name": (),
  "task": (),
  "data": (),
  "limit": (),
  "select": (),
  "batch_size": (),
  "settings": (),
  "methods": (),
  "axes": (),
  "metrics": (),
  "curve": ("mask", "distortion", "num_draws", "fractions"),
  "report": ("figures", "num_panels"),
  "launch": (),
}
"""Every key of a config, and the keys of those parts whose keys are fixed."""

_OPTIONAL = ("curve", "launch", "metrics")


def check_keys(config: ConfigDict) -> None:
  """Refuse keys that nothing reads, and configs that lack one.

  Settings are checked by :func:`experiments.axes.expand`; the keys of ``launch`` are
  submitit's.

  Raises:
    ValueError: Names the key and lists those that there are.

  Example:
    >>> check_keys(ConfigDict({"selct": "wrong"}))
    Traceback (most recent call last):
    ValueError: selct is no key of a config; allowed: axes, batch_size, ...
  """
  _check_known("", config, tuple(KEYS))
  for part, keys in KEYS.items():
    if part in config and keys:
      _check_known(f"{part}.", config[part], keys)
  needed = [key for key in KEYS if key not in _OPTIONAL or key == _needed_by(config)]
  missing = [key for key in needed if key not in config]
  if missing:
    raise ValueError(f"the config lacks {', '.join(missing)}")


def _needed_by(config: ConfigDict) -> str | None:
  """The part that the task alone needs."""
  return "curve" if config.get("task") == "curves" else None


def _check_known(prefix: str, part: ConfigDict, keys: tuple[str, ...]) -> None:
  for name in part:
    if name not in keys:
      raise ValueError(
        f"{prefix}{name} is no key of a config; allowed: "
        f"{', '.join(prefix + key for key in sorted(keys))}"
      )
