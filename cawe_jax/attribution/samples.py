"""Sums over samples of what a few rows of images are worth, in bounded memory.

Every method here is one sum: over steps along a path, over noise, over random masks, or
over a single sample, the image itself. The pairs of images and samples go through the
network a handful of rows at a time, whichever image they belong to, and a loop adds up,
so that memory depends neither on the batch nor on the number of samples. The images are
split over the devices of this process, each of which works on its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.devices import local_mesh, split_images
from cawe_jax.types import Array

# Rows of one network call. Four keep the activations in a CPU's cache; elsewhere as
# many as leave room for a large network's gradient in a small accelerator's memory.
_ROWS = {"cpu": 4}
_ROWS_ELSEWHERE = 64


class Batch(NamedTuple):
  """B images, or R rows of a network call, each a sample of one of the images.

  Attributes:
    images: ``[B, H, W, C]`` in [0, 1].
    targets: Explained output of each, ``[B]``.
    keys: Each image's own, ``[B]``.
    extra: Whatever else a method knows of each image, a pytree.
  """

  images: Array
  targets: Array
  keys: Array
  extra: Any = ()


class Sum(NamedTuple):
  """What is added up; hashable, so that a compiled program is found again.

  Attributes:
    term: ``(classifier, rows, samples [R]) -> values``, a pytree of ``[R, ...]``; the
      samples are indices in ``[0, num_samples)``.
    finish: ``(classifier, batch, sums) -> result``, from the pytree of ``[B, ...]``.
    num_samples: Of each image.
  """

  term: Callable[[Classifier, Batch, Array], Any]
  finish: Callable[[Classifier, Batch, Any], Any]
  num_samples: int = 1


def as_it_is(classifier: Classifier, batch: Batch, sums: Any) -> Any:
  """A finish that does nothing."""
  return sums


def evaluate(what: Sum, classifier: Classifier, batch: Batch) -> Any:
  """Add up all samples of each image, compiled.

  Example:
    >>> from cawe_jax import Classifier
    >>> mean = lambda params, images: images.mean((1, 2, 3))[:, None]
    >>> squares = Sum(
    ...   lambda classifier, rows, samples: classifier(rows.images)[:, 0] * samples**2,
    ...   as_it_is,
    ...   4,
    ... )
    >>> keys = jax.random.split(jax.random.key(0), 2)
    >>> batch = Batch(jnp.ones((2, 3, 3, 1)), jnp.zeros(2, int), keys)
    >>> evaluate(squares, Classifier(mean, (), 3), batch).tolist()
    [14.0, 14.0]
  """
  rows = _ROWS.get(jax.default_backend(), _ROWS_ELSEWHERE)
  return _on_devices(classifier, batch, what=what, rows=rows, mesh=local_mesh())


@functools.partial(jax.jit, static_argnames=("what", "rows", "mesh"))
def _on_devices(
  classifier: Classifier, batch: Batch, *, what: Sum, rows: int, mesh: Mesh
) -> Any:
  size = len(batch.images)
  # As many images for each device; the last one is repeated where they do not divide.
  places = jnp.minimum(jnp.arange(-(-size // mesh.size) * mesh.size), size - 1)
  run = split_images(functools.partial(_evaluate, what, rows), mesh)
  result = run(classifier, jax.tree.map(lambda x: x[places], batch))
  return jax.tree.map(lambda x: x[:size], result)


def _evaluate(what: Sum, rows: int, classifier: Classifier, batch: Batch) -> Any:
  """The sums of the images on one device."""
  size = len(batch.images)
  num_pairs = size * what.num_samples
  rows = min(rows, num_pairs)

  def term(first: Array) -> tuple[Array, Array, Any]:
    pair = first + jnp.arange(rows)
    # A last call that runs over the end repeats an image, and does not count.
    image = jnp.minimum(pair // what.num_samples, size - 1)
    row_batch = jax.tree.map(lambda x: x[image], batch)
    return pair, image, what.term(classifier, row_batch, pair % what.num_samples)

  def add(index: Array, sums: Any) -> Any:
    pair, image, values = term(index * rows)

    def one(total: Array, value: Array) -> Array:
      counts = (pair < num_pairs).reshape(-1, *(1,) * (value.ndim - 1))
      return total.at[image].add(jnp.where(counts, value, 0))

    return jax.tree.map(one, sums, values)

  _, _, shapes = jax.eval_shape(term, jnp.int32(0))
  zeros = jax.tree.map(lambda x: jnp.zeros((size, *x.shape[1:]), x.dtype), shapes)
  sums = jax.lax.fori_loop(0, -(-num_pairs // rows), add, zeros)
  return what.finish(classifier, batch, sums)
