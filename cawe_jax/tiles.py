"""Sums over images and draws in tiles, so that memory does not depend on the draws.

The network gets a *tile* of images x draws at once. A loop over tiles adds up what they
are worth, and tiles whose images have stopped are skipped. The number of draws is data,
not structure: changing it compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from cawe_jax.types import Array

T = TypeVar("T")


class Draws(NamedTuple):
  """Which draws to average, for a batch of B images.

  Attributes:
    step: Int scalar; with a problem's key and a draw's index it decides the noise, so
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
    images: Of one call.
    draws: Of each image in one call.
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
    num_images: Of the batch.
    num_draws: Of each image.
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


def sum_over_tiles(
  part: Callable[..., T],
  start: T,
  tile: Tile,
  data: tuple,
  keys: Array,
  draws: Draws,
) -> T:
  """Add up ``part`` over tiles; active images come first, so none is wasted.

  Args:
    part: ``(*data, keys, weight)`` of a tile to values with a leading axis of images;
      keys and weight are ``[images, draws]``. The weight is 1 / L, and 0 for what runs
      over the end.
    start: The values' zeros, with a leading axis B.
    tile: The shape of a tile.
    data: Of B images.
    keys: One for each image, ``[B]``.
    draws: Which draws.
  """
  keys = jax.vmap(jax.random.fold_in, (0, None))(keys, draws.step)
  order = jnp.argsort(~draws.active, stable=True)
  num_active = jnp.sum(draws.active)
  draw_tiles = -(-draws.count // tile.draws)
  image_tiles = -(-num_active // tile.images)
  dtype = jax.tree.leaves(start)[0].dtype
  part = jax.jit(part)  # traced once for all calls

  def add(index: Array, total: T) -> T:
    row = (index // draw_tiles) * tile.images + jnp.arange(tile.images)
    draw = (index % draw_tiles) * tile.draws + jnp.arange(tile.draws)
    # What runs over the end repeats an active image, whose values are finite, with
    # weight 0.
    images = order[jnp.minimum(row, num_active - 1)]
    weight = jnp.outer(row < num_active, draw < draws.count) / draws.count
    new = part(
      *jax.tree.map(lambda x: x[images], data),
      jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))(keys[images], draw),
      weight.astype(dtype),
    )
    return jax.tree.map(lambda x, y: x.at[images].add(y), total, new)

  def turn(index: Array, total: T) -> T:
    for call in range(tile.calls):
      total = add(index * tile.calls + call, total)
    return total

  turns = -(-image_tiles * draw_tiles // tile.calls)
  return jax.lax.fori_loop(0, turns, turn, start)
