"""Factories that return the same object for equal arguments.

`jit` compares static arguments with ``==``. Components are tuples of closures, which
are equal only when they are identical, so each factory remembers what it made:
``wavelet("db3")`` and ``wavelet("db3", levels=5)`` are one object, and a program
compiled for the first serves the second.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import jax
import numpy as np

P = ParamSpec("P")
T = TypeVar("T")


def memoised(factory: Callable[P, T]) -> Callable[P, T]:
  """Memoise ``factory`` on its arguments with the defaults filled in, lists as tuples.

  Example:
    >>> make = memoised(lambda a, b=2: object())
    >>> make(1) is make(1, b=2)
    True
  """
  signature = inspect.signature(factory)
  cached = functools.cache(factory)

  @functools.wraps(factory)
  def wrapper(*args, **kwargs):
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    keywords = {name: _hashable(value) for name, value in bound.kwargs.items()}
    return cached(*map(_hashable, bound.args), **keywords)

  return cast(Callable[P, T], wrapper)


def _hashable(value: Any) -> Any:
  """Lists and arrays as tuples."""
  if isinstance(value, np.ndarray | jax.Array):
    value = value.tolist()
  return tuple(map(_hashable, value)) if isinstance(value, list) else value
