"""Masks of several leaves as one row of numbers each, on the host."""

from __future__ import annotations

import numpy as np

from cawe_jax.types import Array


def flat(masks: tuple[Array, ...]) -> np.ndarray:
  """Masks ``[B, ...]`` per leaf as ``[B, k]``, the leaves one after the other.

  Example:
    >>> flat((np.zeros((1, 1, 2)), np.ones((1, 3)))).tolist()
    [[0.0, 0.0, 1.0, 1.0, 1.0]]
  """
  return np.concatenate([np.reshape(leaf, (len(leaf), -1)) for leaf in masks], axis=1)


def unflat(rows: np.ndarray, like: tuple[Array, ...]) -> tuple[Array, ...]:
  """What :func:`flat` was given, in float32; ``like`` has the same leaves.

  Example:
    >>> leaves = (np.zeros((1, 1, 2)), np.ones((1, 3)))
    >>> [leaf.shape for leaf in unflat(flat(leaves), leaves)]
    [(1, 1, 2), (1, 3)]
  """
  ends = np.cumsum([leaf[0].size for leaf in like])
  parts = np.split(rows, ends[:-1], axis=1)
  return tuple(
    part.reshape(leaf.shape).astype(np.float32)
    for part, leaf in zip(parts, like, strict=True)
  )
