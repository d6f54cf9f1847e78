"""From a relevance to the order of its entries, and from the order to binary masks.

A *relevance* is a pytree like a mask: one leaf ``[orientations, h, w, 1]`` per noise
group, coarsest first, larger = more relevant; a batch adds a leading axis. Only the
order of its entries matters here, over all leaves together. Most entries of a sparse
mask are exactly 0, so equal entries are ordered at random: by position, all of them
would be taken from the coarsest scale, or from the top of the image, first.
"""

from __future__ import annotations

import math
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from cawe_jax.engine import checks
from cawe_jax.numerics.ambient import own_rules
from cawe_jax.types import Array, Key, Relevance, Representation

Ranks = Integer[Array, "*B k"]
"""The place of each of k entries, 0 for the most relevant, for one image or several."""
Entries = Float[Array, "*B k"]
"""The k entries of a mask, leaf by leaf."""
Count = Integer[Array, ""]
"""A whole number."""


def ranking(relevance: tuple[Array, ...], key: Key) -> Ranks:
  """The place of every entry of one image's relevance, 0 for the most relevant.

  Args:
    relevance: Leaves of any shape, k finite entries in all.
    key: Orders equal entries; every order of them is equally likely.

  Returns:
    int32 ``[k]``, a permutation of ``0 .. k - 1``; entries leaf by leaf.

  Example:
    >>> relevance = (jnp.array([0.5]), jnp.array([[2.0, 1.0]]))
    >>> ranking(relevance, jax.random.key(0)).tolist()
    [2, 0, 1]
  """
  flat = jnp.concatenate([jnp.ravel(leaf) for leaf in relevance])
  # A stable sort of entries in random order keeps ties in that random order.
  shuffled = jax.random.permutation(key, flat.size)
  order = shuffled[jnp.argsort(flat[shuffled], stable=True, descending=True)]
  places = jnp.arange(flat.size, dtype=jnp.int32)
  return jnp.zeros_like(places).at[order].set(places)


class MaskFn(Protocol):
  """What becomes of the most relevant entries: :func:`keep` or :func:`randomise`."""

  def __call__(self, ranks: Ranks, count: Count, /) -> Entries:
    """The mask of entries by their ranks, in [0, 1].

    Args:
      ranks: From 0, the most relevant entry, to k - 1.
      count: How many entries are the most relevant ones.
    """
    ...


def keep(ranks: Ranks, count: int | Count) -> Entries:
  """1 for the ``count`` most relevant entries, which are kept; 0 for the others.

  Example:
    >>> keep(np.array([2, 0, 1]), 1).tolist()
    [0.0, 1.0, 0.0]
  """
  return (ranks < count).astype(np.float32)


def randomise(ranks: Ranks, count: int | Count) -> Entries:
  """0 for the ``count`` most relevant entries, which are replaced; 1 for the others.

  Example:
    >>> randomise(np.array([2, 0, 1]), 1).tolist()
    [1.0, 0.0, 1.0]
  """
  return (ranks >= count).astype(np.float32)


def to_mask(flat: Array, shapes: tuple[tuple[int, ...], ...]) -> tuple[Array, ...]:
  """Flat values ``[..., k]`` as leaves of the given shapes, after the leading axes.

  Example:
    >>> [leaf.tolist() for leaf in to_mask(np.arange(3), ((1,), (2, 1)))]
    [[0], [[1], [2]]]
  """
  leaves, start = [], 0
  for shape in shapes:
    stop = start + math.prod(shape)
    leaves.append(flat[..., start:stop].reshape(*flat.shape[:-1], *shape))
    start = stop
  return tuple(leaves)


@own_rules()
def top_mask(
  relevance: tuple[Array, ...], fraction: float, key: Key
) -> tuple[Array, ...]:
  """The binary mask of the most relevant entries of one image.

  Args:
    relevance: Leaves of any shape, k entries in all.
    fraction: Share of entries, in [0, 1]; rounded to whole entries.
    key: As for :func:`ranking`.

  Returns:
    Leaves of the same shapes, 0 or 1, float32.

  Raises:
    ValueError: The fraction is outside [0, 1].

  Example:
    >>> top_mask((jnp.array([[0.5], [2.0]]),), 0.5, jax.random.key(0))[0].tolist()
    [[0.0], [1.0]]
  """
  checks.check_leaves("relevance", relevance)
  check_fraction(fraction)
  ranks = ranking(relevance, key)
  count = round(fraction * ranks.size)
  return to_mask(keep(ranks, count), tuple(leaf.shape for leaf in relevance))


def check_fraction(fraction: float) -> None:
  """Refuse a number that is no share.

  Raises:
    ValueError: One line that names the value.
  """
  if not 0 <= fraction <= 1:
    raise ValueError(f"fraction is {fraction}; it must be in [0, 1]")


def check_axes(name: str, relevance: Relevance, axes: str = "B") -> tuple[int, ...]:
  """The leading axes that all leaves of a relevance share.

  Args:
    name: The name of the argument.
    relevance: Leaves of at least these axes.
    axes: One letter each; the last is that of the images.

  Returns:
    Their lengths.

  Raises:
    ValueError: The leaves differ in them, as those of a single image do.

  Example:
    >>> check_axes("first", (np.zeros((2, 1, 4, 4, 1)), np.zeros((2, 3, 4, 4, 1))))
    (2,)
  """
  checks.check_leaves(name, relevance)
  shapes = [np.shape(leaf) for leaf in relevance]
  leading = {shape[: len(axes)] for shape in shapes}
  if len(leading) == 1 and len(shapes[0]) >= len(axes):
    return leading.pop()
  layout = ", ".join([*axes, "orientations", "h", "w", "1"])
  index = ", ".join([":"] * (len(axes) - 1) + ["None"])
  raise ValueError(
    f"{name}: got leaves of shapes {shapes}, allowed: [{layout}] with the same "
    f"{' and '.join(axes)} in all; for one image add an axis: "
    f"jax.tree.map(lambda leaf: leaf[{index}], {name})"
  )


def check_alike(first: Relevance, second: Relevance) -> None:
  """Refuse two relevances whose entries are not the same ones.

  Raises:
    ValueError: They are of different images or representations, or not batches.
  """
  check_axes("first", first)
  check_axes("second", second)
  shapes = [[np.shape(leaf) for leaf in relevance] for relevance in (first, second)]
  if shapes[0] != shapes[1]:
    raise ValueError(
      f"second: got leaves of shapes {shapes[1]}, allowed: those of first, {shapes[0]} "
      "(one representation, as many images)"
    )


def check_shapes(
  name: str, leaves: tuple[Array, ...], representation: Representation, batch: int
) -> None:
  """Refuse leaves that are not those of B masks of a representation.

  Raises:
    ValueError: Leaves of other shapes, or of another number.
  """
  expected = [(batch, *shape) for shape in representation.mask_shapes]
  got = [np.shape(leaf) for leaf in leaves]
  if got != expected:
    height, width, _ = representation.image_shape
    raise ValueError(
      f"{name} has leaves {got}; for {batch} images of {height}x{width} and "
      f"{representation.name} they must be {expected}"
    )


def check_relevance(
  relevance: Relevance, representation: Representation, batch: int
) -> Relevance:
  """B relevances that rank the entries of a representation, as NumPy arrays.

  Raises:
    ValueError: Leaves of other shapes, or entries that are not finite.
  """
  checks.check_leaves("relevance", relevance)
  check_shapes("relevance", relevance, representation, batch)
  arrays = tuple(np.asarray(leaf) for leaf in relevance)
  if not all(np.isfinite(leaf).all() for leaf in arrays):
    raise ValueError("relevance has NaN or infinite entries; it must be finite")
  return arrays
