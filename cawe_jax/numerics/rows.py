"""Many numbers as one array of even rows, the shape in which XLA makes them fastest."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.types import Array

_ROWS = 16


def even_rows(size: int) -> tuple[int, int]:
  """The shape of rows that hold at least ``size`` numbers, few of them unused.

  XLA's CPU backend computes several numbers at once only along a last axis of even
  length (a multiple of the processor's width is best); elsewhere it makes no
  difference.

  Example:
    >>> even_rows(1000)
    (16, 64)
  """
  return _ROWS, -(-size // _ROWS**2) * _ROWS


def to_rows(mask: tuple[Array, ...]) -> Array:
  """A mask's leaves, of any shapes, one after the other, as one array ``[rows, n]``.

  What is left of the last row is filled up with zeros. Each leaf by itself would be a
  dozen small programs, and slow ones: see :func:`even_rows`.

  Example:
    >>> to_rows((jnp.ones((5, 5, 1)), jnp.ones(300))).shape
    (16, 32)
  """
  joined = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(mask)])
  rows, length = even_rows(joined.size)
  return jnp.pad(joined, (0, rows * length - joined.size)).reshape(rows, length)


def from_rows(rows: Array, like: tuple[Array, ...]) -> tuple[Array, ...]:
  """The mask that :func:`to_rows` was given; ``like`` is any with the same leaves.

  Example:
    >>> mask = (jnp.ones((5, 5, 1)), jnp.ones(300))
    >>> [leaf.shape for leaf in from_rows(to_rows(mask), mask)]
    [(5, 5, 1), (300,)]
  """
  leaves, tree = jax.tree.flatten(like)
  ends = np.cumsum([leaf.size for leaf in leaves])
  parts = jnp.split(rows.ravel()[: ends[-1]], ends[:-1])
  pairs = zip(parts, leaves, strict=True)
  return jax.tree.unflatten(tree, [x.reshape(leaf.shape) for x, leaf in pairs])
