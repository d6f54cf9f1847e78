"""What visitors brought and what was computed for them, in memory and bounded.

Names are random, so that nobody finds another visitor's upload by trying. When a new
entry finds no place, the least recently used one goes, of the owner who has most: one
visitor cannot push out what the others have.
"""

from __future__ import annotations

import secrets
from collections import Counter, OrderedDict
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class _Entry(NamedTuple, Generic[T]):
  value: T
  key: Hashable
  owner: Hashable


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
    self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
    self._tokens: dict[Hashable, str] = {}

  def add(self, value: T, key: Hashable = None, owner: Hashable = None) -> str:
    """Keep a value of an owner's; a ``key`` lets :meth:`find` find it again.

    Returns:
      The token.
    """
    token = secrets.token_hex(16)
    self._entries[token] = _Entry(value, key, owner)
    if key is not None:
      self._tokens[key] = token
    if len(self._entries) > self._capacity:
      self._forget_one()
    return token

  def _forget_one(self) -> None:
    owners = Counter(entry.owner for entry in self._entries.values())
    most = max(owners.values())
    token = next(t for t, entry in self._entries.items() if owners[entry.owner] == most)
    key = self._entries.pop(token).key
    if self._tokens.get(key) == token:
      del self._tokens[key]

  def get(self, token: str) -> T | None:
    """The value under a token, or None if there is none, or none any more."""
    if token not in self._entries:
      return None
    self._entries.move_to_end(token)
    return self._entries[token].value

  def find(self, key: Hashable) -> str | None:
    """The token of the newest value with this key, or None."""
    return self._tokens.get(key)
