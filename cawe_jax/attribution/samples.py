"""Sums over samples of what a few rows of images are worth, in bounded memory.

Every method here is one sum: over steps along a path, over noise, over random masks, or
over a single sample, the image itself. The pairs of images and samples go through the
network a handful of rows at a time (:mod:`cawe_jax.numerics.tiles`), fewer where memory
is short, so that memory depends neither on the batch nor on the number of samples. The
images are split over the devices of this process, each of which works on its own.
"""

from __future__ import annotations

import abc
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Float, Integer

from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.numerics.devices import EVERYWHERE, halve_rows, local_mesh, split_images
from cawe_jax.numerics.tiles import Tile, fewest_calls, sum_over_tiles
from cawe_jax.part import Part
from cawe_jax.types import Array, Images, Keys, Targets

# Rows of one network call. Four keep the activations in a CPU's cache; elsewhere as
# many as leave room for a large network's gradient in a small accelerator's memory.
_ROWS = {"cpu": 4}
_ROWS_ELSEWHERE = 64


Samples = Integer[Array, "B"]
"""Index of the sample that each row is."""
Maps = Float[Array, "B H W"]
"""A real number for each pixel of each image, or of each row."""


class Batch(NamedTuple):
  """B images, or R rows of a network call, each a sample of one of the images.

  Attributes:
    images: ``[B, H, W, C]`` in [0, 1].
    targets: Explained output of each, ``[B]``.
    keys: Each image's own, ``[B]``.
    extra: Whatever else a method knows of each image, a pytree.
  """

  images: Images
  targets: Targets
  keys: Keys
  extra: Any = ()


class Sum(Part, abc.ABC):
  """What is added up over the samples of each image."""

  def num_terms(self) -> int:
    """The number of samples of each image."""
    return 1

  @abc.abstractmethod
  def term(self, classifier: Classifier, rows: Batch, samples: Samples) -> Any:
    """What R samples are worth: a pytree of ``[R, ...]``.

    Args:
      classifier: The network.
      rows: The image of each sample, R of them.
      samples: Index of each sample, in ``[0, num_terms)``, ``[R]``.
    """

  def finish(self, classifier: Classifier, batch: Batch, sums: Any) -> Any:
    """The result, from the pytree of sums ``[B, ...]``."""
    return sums


def evaluate(what: Sum, classifier: Classifier, batch: Batch) -> Any:
  """Add up all samples of each image, compiled.

  Example:
    >>> from cawe_jax import Classifier
    >>> from cawe_jax.part import setting
    >>> class squares(Sum):
    ...   count: int = setting()
    ...   def num_terms(self):
    ...     return self.count
    ...   def term(self, classifier, rows, samples):
    ...     return classifier(rows.images)[:, 0] * samples**2
    >>> mean = lambda params, images: images.mean((1, 2, 3))[:, None]
    >>> keys = jax.random.split(jax.random.key(0), 2)
    >>> batch = Batch(jnp.ones((2, 3, 3, 1)), jnp.zeros(2, int), keys)
    >>> evaluate(squares(4), Classifier(mean, (), 3), batch).tolist()
    [14.0, 14.0]
  """
  mesh = local_mesh()
  # Wherever the caller keeps them, also on a single device of several.
  placed = jax.device_put((what, classifier, batch), NamedSharding(mesh, EVERYWHERE))
  share = -(-len(batch.images) // mesh.size)

  def in_calls(rows: int) -> Any:
    tile = fewest_calls(rows, share, what.num_terms())
    return _on_devices(*placed, tile=tile, mesh=mesh)

  rows = _ROWS.get(jax.default_backend(), _ROWS_ELSEWHERE)
  result, _ = halve_rows(in_calls, rows)
  return result


@functools.partial(jax.jit, static_argnames=("tile", "mesh"))
def _on_devices(
  what: Sum, classifier: Classifier, batch: Batch, *, tile: Tile, mesh: Mesh
) -> Any:
  size = len(batch.images)
  # As many images for each device; the last one is repeated where they do not divide,
  # and not evaluated.
  places = jnp.arange(-(-size // mesh.size) * mesh.size)
  padded = jax.tree.map(lambda x: x[jnp.minimum(places, size - 1)], batch)
  run = split_images(functools.partial(_evaluate, tile), mesh)
  result = run(what, classifier, (padded, places < size))
  return jax.tree.map(lambda x: x[:size], result)


def _evaluate(
  tile: Tile, what: Sum, classifier: Classifier, given: tuple[Batch, Array]
) -> Any:
  """The sums of the images on one device."""
  batch, active = given

  def part(batch: Batch, samples: Array, counts: Array) -> Any:
    num_images, num_samples = counts.shape
    image = jnp.repeat(jnp.arange(num_images), num_samples)
    rows = jax.tree.map(lambda x: x[image], batch)
    values = what.term(classifier, rows, jnp.tile(samples, num_images))

    def total(value: Array) -> Array:
      each = value.reshape(num_images, num_samples, *value.shape[1:])
      which = counts.reshape(*counts.shape, *(1,) * (value.ndim - 1))
      return jnp.sum(jnp.where(which, each, 0), 1)

    return jax.tree.map(total, values)

  counts = jax.ShapeDtypeStruct((len(active), tile.draws), bool)
  shapes = jax.eval_shape(part, batch, jnp.arange(tile.draws), counts)
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  sums = sum_over_tiles(part, zeros, tile, (batch,), what.num_terms(), active)
  return what.finish(classifier, batch, sums)
