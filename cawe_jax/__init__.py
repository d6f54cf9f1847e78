"""CartoonX in JAX: the piece-wise smooth part of an image behind a decision.

A name is imported when it is first used, so that what needs no network, such as
``cawe --version``, does not wait seconds for JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cawe_jax.version import __version__ as __version__

if TYPE_CHECKING:
  from cawe_jax.classifiers import Classifier, classifier_names, load_classifier
  from cawe_jax.explaining.budget import explain_budget
  from cawe_jax.explaining.emptiness import EmptyMaskWarning
  from cawe_jax.explaining.one import Progress, explain
  from cawe_jax.explaining.path import explain_path, explain_retaining
  from cawe_jax.files.compilation import enable_compilation_cache
  from cawe_jax.files.images import load_image
  from cawe_jax.files.storage import load, load_metadata, save
  from cawe_jax.methods import Method, cartoonx, pixel_rde, smooth_pixel_rde, waveletx
  from cawe_jax.methods.presets import preset
  from cawe_jax.types import Explanation, History

__all__ = [
  "Classifier",
  "EmptyMaskWarning",
  "Explanation",
  "History",
  "Method",
  "Progress",
  "cartoonx",
  "classifier_names",
  "enable_compilation_cache",
  "explain",
  "explain_budget",
  "explain_path",
  "explain_retaining",
  "load",
  "load_classifier",
  "load_image",
  "load_metadata",
  "pixel_rde",
  "preset",
  "save",
  "smooth_pixel_rde",
  "waveletx",
]

# Type checkers read the imports above, Python this; a test compares them.
_MODULES = {
  "Classifier": "classifiers",
  "EmptyMaskWarning": "explaining.emptiness",
  "Explanation": "types",
  "History": "types",
  "Method": "methods",
  "Progress": "explaining.one",
  "cartoonx": "methods",
  "classifier_names": "classifiers",
  "enable_compilation_cache": "files.compilation",
  "explain": "explaining.one",
  "explain_budget": "explaining.budget",
  "explain_path": "explaining.path",
  "explain_retaining": "explaining.path",
  "load": "files.storage",
  "load_classifier": "classifiers",
  "load_image": "files.images",
  "load_metadata": "files.storage",
  "pixel_rde": "methods",
  "preset": "methods.presets",
  "save": "files.storage",
  "smooth_pixel_rde": "methods",
  "waveletx": "methods",
}


def __getattr__(name: str) -> Any:
  """A public name, or a module of the package, imported now."""
  if name in _MODULES:
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
  else:
    value = _module(name)
  globals()[name] = value
  return value


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})


def _module(name: str) -> Any:
  missing = f"module {__name__!r} has no attribute {name!r}"
  if name.startswith("_"):
    raise AttributeError(missing)
  try:
    return importlib.import_module(f"{__name__}.{name}")
  except ModuleNotFoundError as error:
    if error.name != f"{__name__}.{name}":
      raise
    raise AttributeError(missing) from None
