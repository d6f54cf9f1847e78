"""Arrays in signatures, compared with the axes that their types name.

This is what jaxtyping's import hook has each function checked with (`conftest.py`). It
looks at arrays and at nothing else: whatever else is wrong the library refuses in words
that are tested. And it looks at every leaf of a mask, where beartype would look at one
that it draws at random, and typeguard needs a source that the hook has not.
"""

import functools
import inspect
import types
import typing

import numpy as np
from jaxtyping import AbstractArray


def check(function):
  """Raise where an array that is given or returned is not of its type."""
  annotations = function.__annotations__.items()
  hints = {name: hint for name, hint in annotations if has_arrays(hint)}
  if not hints:
    return function
  signature = inspect.signature(function)

  @functools.wraps(function)
  def checked(*arguments, **keywords):
    given = signature.bind(*arguments, **keywords).arguments
    for name in given.keys() & hints.keys():
      refuse(name, given[name], hints[name])
    result = function(*arguments, **keywords)
    if "return" in hints:
      refuse("the result", result, hints["return"])
    return result

  return checked


def refuse(name, value, hint):
  if not fits(value, hint):
    raise TypeError(f"{name} is not {hint}")


def fits(value, hint):
  kind, inner = typing.get_origin(hint), typing.get_args(hint)
  if kind is tuple:
    hints = [inner[0]] * len(value) if inner[-1] is ... else inner
    return len(value) == len(hints) and all(map(fits, value, hints))
  if kind in (typing.Union, types.UnionType):
    return any(fits(value, hint) for hint in inner)
  if not is_array(hint):
    return hint is not types.NoneType or value is None
  # A number is an array without axes; in JAX an integer becomes a float where need be.
  if isinstance(value, int | float):
    return any(isinstance(as_type(value), hint) for as_type in (np.asarray, np.float32))
  return isinstance(value, hint)


def has_arrays(hint):
  return is_array(hint) or any(map(has_arrays, typing.get_args(hint)))


def is_array(hint):
  return isinstance(hint, type) and issubclass(hint, AbstractArray)
