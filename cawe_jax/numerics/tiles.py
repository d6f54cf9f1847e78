"""Loops over images and draws in tiles, so that memory does not depend on the draws.

The network gets a *tile* of images x draws at once: draws of a noise, samples of an
attribution. A loop over tiles adds up what they are worth, and tiles whose images have
stopped are skipped. The number of draws is data, not structure: changing it compiles
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from cawe_jax.types import Array, Draw

T = TypeVar("T")

_NO_DRAW = 2**32 - 1
"""An index that no draw has."""


class Draws(NamedTuple):
  """Which draws of a noise, for a batch of B images.

  Attributes:
    step: Int scalar; with an image's key and a draw's index it decides the noise, so
      that more draws keep the first ones.
    count: Int scalar L, at least 1.
    active: Bool ``[B]``; the other images are not evaluated and get zeros.
  """

  step: Array
  count: Array
  active: Array


class Tile(NamedTuple):
  """What goes through the network at once.

  Attributes:
    images: The number of images in one call.
    draws: The number of draws of each image in one call.
    calls: Independent calls in a turn of the loop. A CPU's cores share them better than
      they share the operations of one call, one after the other.
  """

  images: int
  draws: int
  calls: int = 1


def fit_tile(rows: int, num_images: int, num_draws: int, calls: int) -> Tile:
  """The tile that holds at most ``rows`` obfuscations, in one call or in several.

  Args:
    rows: At least 1.
    num_images: The number of images in the batch.
    num_draws: The number of draws of each image.
    calls: How many there are where the tile's draws or its images divide among them.
      Otherwise there is one: a call with nothing to do costs as much as another.

  Example:
    >>> fit_tile(rows=4, num_images=8, num_draws=2, calls=2)
    Tile(images=2, draws=1, calls=2)
  """
  draws = min(rows, num_draws)
  images = min(max(1, rows // draws), num_images)
  if draws % calls == 0:
    return Tile(images, draws // calls, calls)
  if images % calls == 0:
    return Tile(images // calls, draws, calls)
  return Tile(images, draws)


def fewest_calls(rows: int, num_images: int, num_draws: int) -> Tile:
  """The tile of at most ``rows`` rows that needs the fewest calls, none side by side.

  For a number of draws that never changes. Of two such tiles it is the smaller one, so
  that few rows run over the end.

  Args:
    rows: At least 1.
    num_images: The number of images in the batch.
    num_draws: The number of draws of each image.

  Example:
    >>> fewest_calls(rows=4, num_images=2, num_draws=5)
    Tile(images=2, draws=2, calls=1)
    >>> fewest_calls(rows=64, num_images=1, num_draws=100)
    Tile(images=1, draws=50, calls=1)
  """

  def cost(tile: Tile) -> tuple[int, int]:
    calls = -(-num_images // tile.images) * -(-num_draws // tile.draws)
    return calls, tile.images * tile.draws

  return min(
    (
      Tile(min(rows // draws, num_images), draws)
      for draws in range(1, min(rows, num_draws) + 1)
    ),
    key=cost,
  )


def mean_over_draws(
  part: Callable[..., T],
  start: T,
  tile: Tile,
  data: tuple,
  keys: Array,
  draws: Draws,
) -> T:
  """Average over draws of a noise.

  Args:
    part: ``(*data, draws, weight)`` of a tile to values with a leading axis of images,
      summed over draws; each leaf of :class:`~cawe_jax.types.Draw`, and the weight, are
      ``[images, draws]``. The weight is 1 / L, and 0 for what runs over the end.
    start: As for :func:`sum_over_tiles`.
    tile: The shape of a tile.
    data: Pytrees with a leading axis of B images.
    keys: One for each image, ``[B]``.
    draws: Which draws.
  """
  keys = _keys_of_step(keys, draws.step)
  dtype = jax.tree.leaves(start)[0].dtype

  def weighted(*arguments: Any) -> T:
    *data, keys, draw, counts = arguments
    weight = counts.astype(dtype) / jnp.asarray(draws.count, dtype)
    return part(*data, _draws(keys, draw), weight)

  return sum_over_tiles(weighted, start, tile, (*data, keys), draws.count, draws.active)


class Which(NamedTuple):
  """Which draws of a noise, one by one; D are taken of each image.

  Attributes:
    steps: The step of each draw, ``[D]``.
    indices: Its index there, ``[D]``. Draws of one step are spread evenly (their
      strata), draws of different steps are independent.
  """

  steps: Array
  indices: Array


def stack_draws(
  part: Callable[..., T],
  tile: Tile,
  data: tuple,
  keys: Array,
  which: Which,
  count: Any,
  active: Any,
) -> T:
  """Single draws of each image.

  Args:
    part: ``(*data, draws)`` of a tile to values ``[images, draws, ...]``; so are the
      leaves of :class:`~cawe_jax.types.Draw`.
    tile: The shape of a tile.
    data: Pytrees with a leading axis of B images.
    keys: One for each image, ``[B]``.
    which: D draws, a multiple of the tile's.
    count: As for :func:`stack_images`.
    active: Bool ``[B]``; the other images are not evaluated and get zeros.

  Returns:
    Values ``[B, D, ...]``.
  """

  def of_one(step: Array, index: Array) -> Draw:
    draws = _draws(_keys_of_step(keys, step), index[None])
    return jax.tree.map(lambda x: x[:, 0], draws)

  draws = jax.vmap(of_one, out_axes=1)(*which)
  return stack_images(part, tile, data, draws, count, active)


def stack_images(
  part: Callable[..., T],
  tile: Tile,
  data: tuple,
  stacks: Any,
  count: Any,
  active: Array,
) -> T:
  """What a function says of stacks of images, as many at once as a tile has.

  Args:
    part: ``(*data, stacks)`` of a tile to values ``[images, draws, ...]``.
    tile: The shape of a tile.
    data: Pytrees with a leading axis of B images.
    stacks: A pytree with leading axes ``[B, D]``; D is a multiple of the
      tile's draws.
    count: How many of D are asked about, an int or an int scalar, at least 1. The
      others get zeros, or what ``part`` says of them.
    active: Bool ``[B]``; the other images are not evaluated and get zeros.

  Returns:
    Values ``[B, D, ...]``.
  """

  def of_tile(*arguments: Any) -> T:
    *data, stacks, draw, _ = arguments
    return part(*data, jax.tree.map(lambda x: x[:, draw], stacks))

  def put(images: Array, draw: Array, total: T, new: T) -> T:
    return jax.tree.map(lambda x, y: x.at[images[:, None], draw].set(y), total, new)

  size = active.shape[0], jax.tree.leaves(stacks)[0].shape[1]
  first = jax.tree.map(lambda x: x[: tile.images], (*data, stacks))
  shapes = jax.eval_shape(of_tile, *first, jnp.arange(tile.draws), None)
  start = jax.tree.map(lambda x: jnp.zeros((*size, *x.shape[2:]), x.dtype), shapes)
  return _over_tiles(of_tile, put, start, tile, (*data, stacks), count, active)


def sum_over_tiles(
  part: Callable[..., T], start: T, tile: Tile, data: tuple, count: Any, active: Array
) -> T:
  """Add up ``part`` over the draws of each image, of whatever kind they are.

  Args:
    part: ``(*data, draws, counts)`` of a tile to values with a leading axis of images.
      Draws are indices ``[draws]``; counts is bool ``[images, draws]``, False for what
      runs over the end, which repeats an active image.
    start: The values' zeros, with a leading axis B.
    tile: The shape of a tile.
    data: Pytrees with a leading axis of B images.
    count: Number L of draws of each image, an int or an int scalar, at least 1.
    active: Bool ``[B]``; the other images are not evaluated and keep their zeros.
  """

  def add(images: Array, _: Array, total: T, new: T) -> T:
    # The sums keep their type, whatever a network or a part of a method computes in.
    return jax.tree.map(lambda x, y: x.at[images].add(y.astype(x.dtype)), total, new)

  return _over_tiles(part, add, start, tile, data, count, active)


def _over_tiles(
  part: Callable[..., T],
  merge: Callable[[Array, Array, T, T], T],
  start: T,
  tile: Tile,
  data: tuple,
  count: Any,
  active: Array,
) -> T:
  """The loop; active images come first, so that no tile is without one."""
  order = jnp.argsort(~active, stable=True)
  num_active = jnp.sum(active)
  draw_tiles = -(-count // tile.draws)
  image_tiles = -(-num_active // tile.images)
  part = jax.jit(part)  # traced once for all calls

  def one_call(index: Array, total: T) -> T:
    row = (index // draw_tiles) * tile.images + jnp.arange(tile.images)
    draw = (index % draw_tiles) * tile.draws + jnp.arange(tile.draws)
    # What runs over the end repeats an active image, whose values are finite.
    images = order[jnp.minimum(row, num_active - 1)]
    counts = jnp.outer(row < num_active, draw < count)
    new = part(*jax.tree.map(lambda x: x[images], data), draw, counts)
    return merge(images, draw, total, new)

  def turn(index: Array, total: T) -> T:
    for call in range(tile.calls):
      total = one_call(index * tile.calls + call, total)
    return total

  turns = -(-image_tiles * draw_tiles // tile.calls)
  return jax.lax.fori_loop(0, turns, turn, start)


def _keys_of_step(keys: Array, step: Array) -> Array:
  return jax.vmap(jax.random.fold_in, (0, None))(keys, step)


def _draws(keys: Array, indices: Array) -> Draw:
  """Draws ``[images, draws]`` of the keys ``[images]`` of a step."""
  pairs = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))(keys, indices)

  def shifted(key: Array) -> Array:
    offset = jax.random.uniform(jax.random.fold_in(key, _NO_DRAW))
    return (offset + _van_der_corput(indices)) % 1

  return Draw(pairs, jax.vmap(shifted)(keys))


def _van_der_corput(indices: Array) -> Array:
  """0, 1/2, 1/4, 3/4, ...: the bits of whole numbers in reverse, as a fraction.

  The first 2^n are all multiples of 2^-n, so every beginning of the sequence is spread
  evenly over [0, 1).
  """
  bits = indices.astype(jnp.uint32)
  for shift, low in (
    (1, 0x55555555),
    (2, 0x33333333),
    (4, 0x0F0F0F0F),
    (8, 0x00FF00FF),
    (16, 0x0000FFFF),
  ):
    low, width = jnp.uint32(low), jnp.uint32(shift)
    bits = ((bits >> width) & low) | ((bits & low) << width)
  return bits.astype(jnp.float32) * jnp.float32(2**-32)
