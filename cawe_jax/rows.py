"""The shape in which many numbers are computed fast."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_ROWS = 16


def even_rows(size: int) -> tuple[int, int]:
  """Rows for at least ``size`` numbers, as few as there can be of this form.

  XLA's CPU backend computes the entries of a row several at once, but only where the
  row's length is even: 161,877 numbers took ten times as long as 161,920. Sixteen rows
  divide among the cores.

  Example:
    >>> even_rows(161_877)
    (16, 10128)
  """
  return _ROWS, -(-size // _ROWS**2) * _ROWS


def flatten(tree: Any) -> Any:
  """Leaves ``[B, ...]`` as one array ``[B, rows, n]``, filled up with zeros.

  Each leaf by itself would be a dozen small programs, and slow ones: see
  :func:`even_rows`.
  """
  leaves = jax.tree.leaves(tree)
  flat = jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
  rows, length = even_rows(flat.shape[1])
  padding = rows * length - flat.shape[1]
  return jnp.pad(flat, ((0, 0), (0, padding))).reshape(len(flat), rows, length)


def unflatten(flat: Any, like: Any) -> Any:
  """What :func:`flatten` was given; ``like`` has the same leaves."""
  leaves, tree = jax.tree.flatten(like)
  ends = np.cumsum([leaf[0].size for leaf in leaves])
  flat = flat.reshape(len(flat), -1)
  parts = jnp.split(flat[:, : ends[-1]], ends[:-1], axis=1)
  pairs = zip(parts, leaves, strict=True)
  return jax.tree.unflatten(tree, [x.reshape(leaf.shape) for x, leaf in pairs])
