"""Functions of the user's own files, as a shell names them: ``MODULE:FUNCTION``."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cawe_jax.files.checksums import sha256
from cawe_jax.methods.contracts import in_one_line

T = TypeVar("T")

_ALLOWED = (
  "allowed is MODULE:FUNCTION, e.g. mine:fog for the function fog of mine.py in this "
  "folder"
)


def names_function(text: str) -> bool:
  """Whether a text has the form ``MODULE:FUNCTION``; nothing is imported.

  Example:
    >>> names_function("mine:fog"), names_function("blur:5"), names_function("blur")
    (True, False, False)
  """
  module, _, function = text.partition(":")
  return bool(module) and function.isidentifier()


def import_function(option: str, text: str) -> Callable[..., Any]:
  """The function that ``MODULE:FUNCTION`` names.

  Modules of the current folder are found, as by ``python -m``.

  Args:
    option: What the function is for, as errors call it.
    text: ``MODULE:FUNCTION``.

  Returns:
    The function, or anything else that can be called.

  Raises:
    ValueError: One line: another form, no such module, a module that fails, or no such
      function in it.

  Example:
    >>> import_function("distortion", "cawe_jax.distortions:kl").__name__
    'kl'
  """
  if not names_function(text):
    raise ValueError(f"{option} {text!r} names no function; {_ALLOWED}")
  name, _, function = text.partition(":")
  folder = os.getcwd()
  if folder not in sys.path:
    sys.path.insert(0, folder)
  try:
    module = importlib.import_module(name)
  # A module is a program: anything may go wrong in it.
  except Exception as error:
    if name.startswith(".") or _is_missing(name, error):
      raise ValueError(
        f"{option} {text!r}: there is no module {name!r}; {_ALLOWED}"
      ) from None
    raise ValueError(
      f"{option} {text!r}: module {name!r} failed with {in_one_line(error)}"
    ) from error
  found = getattr(module, function, None)
  if found is None:
    functions = ", ".join(_own_functions(module)) or "none"
    raise ValueError(
      f"{option} {text!r}: module {name!r} has no {function!r}; its functions are: "
      f"{functions}"
    )
  if not callable(found):
    raise ValueError(
      f"{option} {text!r} is of type {type(found).__name__}; it must be a function"
    )
  return found


@functools.cache
def make_part(option: str, text: str, kind: type[T]) -> T:
  """What a function without arguments returns; the same object for the same text.

  Args:
    option: As for :func:`import_function`.
    text: ``MODULE:FUNCTION``.
    kind: A type of :mod:`cawe_jax.types` that the function must return.

  Returns:
    The part.

  Raises:
    ValueError: As :func:`import_function`; or the function fails, or returns something
      else.

  Example:
    >>> from cawe_jax.types import Perturbation
    >>> make_part("perturbation", "cawe_jax.perturbations:zeros", Perturbation).name
    'zeros()'
  """
  factory = import_function(option, text)
  wanted = f"a {kind.__module__}.{kind.__name__}"
  if not accepts(factory, 0):
    raise ValueError(
      f"{option} {text!r} needs arguments; it must be a function without any that "
      f"returns {wanted}"
    )
  try:
    made = factory()
  except Exception as error:
    raise ValueError(f"{option} {text!r} failed with {in_one_line(error)}") from error
  if not isinstance(made, kind):
    raise ValueError(
      f"{option} {text!r} returned {made!r:.80}; it must return {wanted}"
    )
  return made


def accepts(function: Callable[..., Any], num_arguments: int) -> bool:
  """Whether a function can be called with so many arguments by position.

  Example:
    >>> accepts(lambda a, b=2: a, 1), accepts(lambda a, b=2: a, 0)
    (True, False)
  """
  try:
    inspect.signature(function).bind(*[None] * num_arguments)
  # A ValueError is of a function in C, which does not tell.
  except (TypeError, ValueError):
    return False
  return True


def source_of(option: str, text: str) -> dict[str, Any]:
  """What tells a function from another of the same name: checksums of its source.

  Args:
    option: As for :func:`import_function`.
    text: ``MODULE:FUNCTION``.

  Returns:
    ``function``, the text; ``sha256``, of the module's file, None for a module without
    one; and, where the module imports others of its own folder, directly or through one
    of them, ``imports``, the SHA-256 of each by the name of its file.

  Raises:
    ValueError: As :func:`import_function`.

  Example:
    >>> sorted(source_of("distortion", "builtins:max").items())
    [('function', 'builtins:max'), ('sha256', None)]
  """
  import_function(option, text)
  file = getattr(sys.modules[text.partition(":")[0]], "__file__", None)
  found = {"function": text, "sha256": sha256(file) if file else None}
  imports = _files_beside(Path(file)) if file else []
  return found | (
    {"imports": {path.name: sha256(path) for path in imports}} if imports else {}
  )


def _files_beside(file: Path) -> list[Path]:
  """Files of the same folder that a Python file imports, one through the other."""
  found, todo = {file}, [file]
  while todo:
    path = todo.pop()
    # A compiled module has no source to read.
    new = _imported_from_folder(path) - found if path.suffix == ".py" else set()
    found |= new
    todo += new
  return sorted(found - {file})


def _imported_from_folder(path: Path) -> set[Path]:
  names = set()
  for node in ast.walk(ast.parse(path.read_bytes())):
    if isinstance(node, ast.Import | ast.ImportFrom):
      names |= {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module:
      names.add(node.module)
  files = (path.with_name(f"{name.rpartition('.')[2]}.py") for name in names)
  return {file for file in files if file.is_file()}


def _is_missing(name: str, error: Exception) -> bool:
  """Whether a module is not there, or a package that it is in; not one it imports."""
  missing = error.name if isinstance(error, ModuleNotFoundError) else None
  return missing is not None and f"{name}.".startswith(f"{missing}.")


def _own_functions(module: Any) -> list[str]:
  return [
    name
    for name, value in vars(module).items()
    if callable(value)
    and not name.startswith("_")
    and getattr(value, "__module__", None) == module.__name__
  ]
