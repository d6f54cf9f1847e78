"""What visitors brought and what was computed for them, in memory and bounded.

Names are random, so that nobody finds another visitor's upload by trying. The least
recently used entry goes when a new one finds no place.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Store(Generic[T]):
  """At most ``capacity`` values, each under a token of 128 random bits.

  Args:
    capacity: Number of values, at least 1.

  Example:
    >>> store = Store(capacity=1)
    >>> token = store.add("a photograph")
    >>> len(token), store.get(token)
    (32, 'a photograph')
    >>> _ = store.add("another")
    >>> store.get(token) is None
    True
  """

  def __init__(self, capacity: int):
    self._capacity = capacity
    self._values: OrderedDict[str, tuple[Hashable, T]] = OrderedDict()
    self._tokens: dict[Hashable, str] = {}

  def add(self, value: T, key: Hashable = None) -> str:
    """Keep a value; a ``key`` lets :meth:`find` find it again. Returns the token."""
    token = secrets.token_hex(16)
    self._values[token] = key, value
    if key is not None:
      self._tokens[key] = token
    while len(self._values) > self._capacity:
      old, (old_key, _) = self._values.popitem(last=False)
      if self._tokens.get(old_key) == old:
        del self._tokens[old_key]
    return token

  def get(self, token: str) -> T | None:
    """The value under a token, or None if there is none, or none any more."""
    if token not in self._values:
      return None
    self._values.move_to_end(token)
    return self._values[token][1]

  def find(self, key: Hashable) -> str | None:
    """The token of the newest value with this key, or None."""
    return self._tokens.get(key)
