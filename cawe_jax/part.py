"""What methods are made of: small values whose settings are structure.

A compiled program is made for *structure*: which functions are called, with which
settings. It takes *data*, arrays, as arguments. A :class:`Part` holds both. Its fields
made with :func:`setting` are structure and are compared by value; every other field is
data, an array or a pytree of arrays or parts. So parts of equal settings share a
compiled program, other weights in a part compile nothing, and a program never holds
them as constants.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable
from typing import Any, dataclass_transform

import jax
import numpy as np


def setting(*, default: Any = dataclasses.MISSING) -> Any:
  """A field that is structure: hashable, such as a number, a string or a tuple.

  Args:
    default: The value where none is given; without it the field must be given.
  """
  return dataclasses.field(default=default, metadata={"static": True})


def data(*, default: Any) -> Any:
  """A field of arrays that has a value where none is given.

  A field of arrays without one needs nothing: ``weights: Any``.

  Args:
    default: An array, or a pytree of arrays, made once where the module is imported:
      parts are equal only where they hold the very same arrays.

  Example:
    >>> STORED = np.linspace(0, 1, 4)
    >>> class learned(Part):
    ...   weights: Any = data(default=STORED)
    >>> learned() == learned(), len(jax.tree.leaves(learned()))
    (True, 1)
  """
  return dataclasses.field(default_factory=lambda: default)


def _register(cls: type[Part]) -> None:
  """Make a class of parts a pytree: data are its children, settings its structure.

  Not by ``register_dataclass``: for JAX 0.10 dataclasses of two classes have the same
  structure if their settings are equal. A program of one part was then, now and then,
  run for another (of 3,000 classes without settings, a sixth).
  """
  inner, settings = (
    tuple(f.name for f in fields(cls)) for fields in (_data, _settings)
  )

  def children(part: Part) -> tuple[Any, ...]:
    return tuple(getattr(part, name) for name in inner)

  def structure(part: Part) -> tuple[Any, ...]:
    return tuple(getattr(part, name) for name in settings)

  def with_keys(part: Part) -> tuple[Any, tuple[Any, ...]]:
    keys = map(jax.tree_util.GetAttrKey, inner)
    return tuple(zip(keys, children(part), strict=True)), structure(part)

  def make(values: tuple[Any, ...], children: Iterable[Any]) -> Part:
    given = (*zip(settings, values, strict=True), *zip(inner, children, strict=True))
    return cls(**dict(given))

  def flatten(part: Part) -> tuple[Any, tuple[Any, ...]]:
    return children(part), structure(part)

  jax.tree_util.register_pytree_with_keys(cls, with_keys, make, flatten)


def _settings(part: Any) -> list[dataclasses.Field]:
  return [f for f in dataclasses.fields(part) if f.metadata.get("static")]


def _data(part: Any) -> list[dataclasses.Field]:
  return [f for f in dataclasses.fields(part) if not f.metadata.get("static")]


@dataclass_transform(frozen_default=True, field_specifiers=(setting, data))
class Part:
  """Base of everything that a method is made of.

  A subclass is a frozen dataclass and a JAX pytree without a decorator. It is called
  like a function, so its name is written like one, as those of Python's own ``range``
  and ``slice`` are (PEP 8 allows it for classes that are used as callables).

  Settings annotated as ``float`` or ``tuple[float, ...]`` become floats, and whole
  numbers of those annotated as ``int`` become integers. Lists and arrays in settings
  become tuples. So ``blur(5)`` and ``blur(5.0)`` are equal.

  Example:
    >>> class fog(Part):
    ...   strength: float = setting(default=0.5)
    ...   def check(self):
    ...     if not 0 <= self.strength <= 1:
    ...       raise ValueError(f"strength is {self.strength}; it must be in [0, 1]")
    >>> fog(1), fog(1) == fog(1.0), jax.tree.leaves(fog())
    (fog(strength=1.0), True, [])
  """

  def __init_subclass__(cls, **keywords: Any) -> None:
    super().__init_subclass__(**keywords)
    _register(dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls))

  def __post_init__(self) -> None:
    for field in _settings(self):
      value = _canonical(getattr(self, field.name), str(field.type))
      object.__setattr__(self, field.name, value)
    self.check()

  def check(self) -> None:
    """Refuse settings that are out of range; JAX calls it too, so look at no data.

    Raises:
      ValueError: One line that names the setting, its value and what is allowed.
    """

  @property
  def name(self) -> str:
    """How it was made: the class, and what tells it from others of the class.

    A setting that is called as its class, as in ``wavelet('haar')``, has no name there,
    and one that is None is left out.
    """
    own = type(self).__name__
    given = [
      ("" if f.name == own else f"{f.name}=") + repr(value)
      for f in _settings(self)
      if (value := getattr(self, f.name)) is not None
    ]
    inner = [(f.name, getattr(self, f.name)) for f in _data(self)]
    given += [f"{name}={part.name}" for name, part in inner if isinstance(part, Part)]
    return f"{own}({', '.join(given)})"

  def __repr__(self) -> str:
    return self.name

  def __eq__(self, other: object) -> bool:
    """The same settings, and the very same arrays."""
    if type(self) is not type(other):
      return NotImplemented
    leaves, structure = jax.tree.flatten(self)
    other_leaves, other_structure = jax.tree.flatten(other)
    same = structure == other_structure  # type: ignore[operator]
    return same and all(x is y for x, y in zip(leaves, other_leaves, strict=True))

  def __hash__(self) -> int:
    return hash(jax.tree.structure(self))


class plain_function(Part):
  """A function without data, as a part; it is equal to one of the same function.

  Example:
    >>> plain_function(max)(1, 2), plain_function(max).name
    (2, 'max')
  """

  function: Callable[..., Any] = setting()

  @property
  def name(self) -> str:
    """The function's."""
    return name_of(self.function)

  def __call__(self, *arguments: Any) -> Any:
    """Call the function."""
    return self.function(*arguments)


def as_part(function: Any) -> Any:
  """A function as a part; what is a part or another pytree stays as it is.

  Example:
    >>> as_part(max)
    max
    >>> as_part(as_part(max)) is as_part(max)
    False
    >>> as_part(as_part(max)) == as_part(max)
    True
  """
  is_leaf = jax.tree_util.all_leaves([function])
  return plain_function(function) if is_leaf and callable(function) else function


def name_of(part: object) -> str:
  """The name of a part or a function; of a nameless partial one, what it calls.

  Example:
    >>> name_of(max), name_of(functools.partial(max, default=0))
    ('max', 'max(default=0)')
  """
  for attribute in ("__name__", "name"):
    if isinstance(own := getattr(part, attribute, None), str):
      return own
  if isinstance(part, functools.partial):
    given = [*map(repr, part.args)]
    given += [f"{key}={value!r}" for key, value in part.keywords.items()]
    return " ".join(f"{name_of(part.func)}({', '.join(given)})".split())
  return repr(part)


def _canonical(value: Any, annotation: str) -> Any:
  """Arrays and lists as tuples; whole numbers as floats or integers, as declared."""
  if isinstance(value, np.ndarray | np.generic | jax.Array):
    value = value.tolist()
  if isinstance(value, list | tuple) and type(value) in (list, tuple):
    return tuple(_canonical(x, annotation) for x in value)
  if "float" in annotation:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_whole else value
  # From text all numbers come as floats.
  is_whole = isinstance(value, float) and value.is_integer()
  return int(value) if is_whole and re.search(r"\bint\b", annotation) else value
