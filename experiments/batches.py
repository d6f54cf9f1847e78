"""From photographs to fixed batches of images.

The partition depends on the number of photographs and the batch size alone, never on
what is done already or on how many processes share the work: a batch that is computed
again has the same shape and gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import cawe_jax as cawe
from cawe_jax.types import Array
from experiments.building import Network
from experiments.data import Failure, Photograph, decode_all


class Decoded(NamedTuple):
  """The photographs of a batch that could be decoded, n of them.

  Attributes:
    numbers: Their places in the list of photographs.
    photographs: Themselves.
    images: ``[n, H, W, C]`` in [0, 1].
    failures: What could not be decoded, by place.
  """

  numbers: tuple[int, ...]
  photographs: tuple[Photograph, ...]
  images: np.ndarray
  failures: dict[int, Failure]


class Prediction(NamedTuple):
  """What a network of K outputs makes of n images.

  Attributes:
    classes: Its own choices, ``[n]``.
    confidence: Their probabilities, ``[n]``.
    num_outputs: K.
  """

  classes: np.ndarray
  confidence: np.ndarray
  num_outputs: int


def partition(num_photographs: int, batch_size: int) -> list[range]:
  """Consecutive batches; the last may be smaller.

  Raises:
    ValueError: The batch size is below 1.

  Example:
    >>> partition(5, 2)
    [range(0, 2), range(2, 4), range(4, 5)]
  """
  if batch_size < 1:
    raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
  starts = range(0, num_photographs, batch_size)
  return [range(i, min(i + batch_size, num_photographs)) for i in starts]


def decode(
  photographs: Sequence[Photograph], batch: range, network: Network
) -> Decoded:
  """Read a batch for a network."""
  failures: dict[int, Failure] = {}
  numbers, read, images = [], [], []
  for number in batch:
    failed: list[Failure] = []
    one = [photographs[number]]
    for photograph, image in decode_all(
      one, network.size, network.resize, failures=failed
    ):
      numbers.append(number)
      read.append(photograph)
      images.append(image)
    if failed:
      failures[number] = failed[0]
  shape = (*network.size, 3)
  stack = np.stack(images) if images else np.zeros((0, *shape), np.float32)
  return Decoded(tuple(numbers), tuple(read), stack, failures)


def predict(network: Network, images: np.ndarray, batch_size: int) -> Prediction:
  """The network's own choice for each image.

  Always ``batch_size`` images at once, so that an image's numbers do not depend on
  which others could be decoded.
  """
  padding = batch_size - len(images)
  padded = np.concatenate([images, np.repeat(images[:1], padding, axis=0)])
  logits = np.asarray(_logits(network.classifier, padded))[: len(images)]
  classes = logits.argmax(axis=1)
  score = jax.vmap(network.classifier.output.score)
  confidence = np.asarray(score(jnp.asarray(logits), classes))
  return Prediction(classes, confidence, logits.shape[1])


@jax.jit
def _logits(classifier: cawe.Classifier, images: Array) -> Array:
  return classifier(images)
