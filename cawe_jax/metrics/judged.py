"""What a metric gets and what it returns: numbers for each explanation of a batch.

A metric is a function of what is judged, :class:`Judged`, that returns numbers by name.
A file of its own imports this one; :mod:`cawe_jax.metrics.names` gives it a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.methods.contracts import in_one_line
from cawe_jax.types import (
  Array,
  Distortion,
  Images,
  Key,
  Perturbation,
  Relevance,
  Transform,
)


class Judged(NamedTuple):
  """Explanations of B images, and all that a metric may want to know of them.

  Attributes:
    classifier: The network.
    images: ``[B, H, W, C]``, float in [0, 1].
    relevance: ``Explanation.mask``, or what an attribution returns, ``[B, ...]`` per
      leaf.
    transform: The representation of its entries.
    perturbation: What replaced masked entries in the search; None for an attribution,
      where a metric takes adaptive Gaussian noise.
    targets: The class of each image, ``[B]``.
    key: The key from which a metric draws its noise.
    image_ids: As for :func:`cawe_jax.explain`, or None.
    distortion: What the search kept from changing; None for an attribution, where a
      metric takes the change of the target's probability.
  """

  classifier: Classifier
  images: Images
  relevance: Relevance
  transform: Transform
  perturbation: Perturbation | None
  targets: Array
  key: Key
  image_ids: Any = None
  distortion: Distortion | None = None

  @property
  def subject(self) -> tuple[Classifier, Images, Relevance, Transform]:
    """What metrics of this package take by position, all in the same order."""
    return self.classifier, self.images, self.relevance, self.transform

  @property
  def alike(self) -> dict[str, Any]:
    """What metrics of this package take by keyword, all in the same way."""
    return {"key": self.key, "targets": self.targets, "image_ids": self.image_ids}


class Metric(Protocol):
  """A number, or several, for each explanation, whatever else is in the batch."""

  def __call__(self, judged: Judged, /) -> Mapping[str, Array]:
    """``[B]`` real numbers by name; NaN where a number has no meaning.

    Args:
      judged: Explanations of B images.
    """
    ...


def measure(metrics: Mapping[str, Metric], judged: Judged) -> dict[str, np.ndarray]:
  """The numbers of several metrics.

  Args:
    metrics: Metrics by the names that errors call them.
    judged: Explanations of B images.

  Returns:
    All their numbers, float64 ``[B]`` each.

  Raises:
    ValueError: A metric fails, or returns something else than numbers for each image,
      or a number that another one returned.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from cawe_jax.representations import pixel
    >>> linear = lambda w, images: images.reshape(len(images), -1) @ w
    >>> judged = Judged(
    ...   Classifier(linear, jnp.eye(4, 2), 2),
    ...   np.ones((1, 2, 2, 1), np.float32),
    ...   (np.ones((1, 1, 2, 2, 1), np.float32),),
    ...   pixel(),
    ...   None,
    ...   np.array([0]),
    ...   jax.random.key(0),
    ... )
    >>> half = lambda judged: {"kept": judged.relevance[0].mean((1, 2, 3, 4)) / 2}
    >>> measure({"half": half}, judged)["kept"].tolist()
    [0.5]
  """
  numbers: dict[str, np.ndarray] = {}
  for name, metric in metrics.items():
    try:
      found = metric(judged)
    except ValueError:
      raise
    except Exception as error:
      raise ValueError(f"metric {name!r} failed with {in_one_line(error)}") from error
    if not isinstance(found, Mapping):
      raise ValueError(
        f"metric {name!r} returned a {type(found).__name__}; it must return a "
        "dictionary of numbers"
      )
    for key, values in found.items():
      if key in numbers:
        raise ValueError(f"metric {name!r}: {key!r} is already another metric's number")
      numbers[key] = _numbers(name, key, values, len(judged.images))
  return numbers


def _numbers(name: str, key: str, values: Any, batch: int) -> np.ndarray:
  try:
    array = np.asarray(values, np.float64)
  except (TypeError, ValueError):
    array = np.empty(0)
  if array.shape != (batch,):
    raise ValueError(
      f"metric {name!r} returned {values!r:.80} for {key!r}; it must be {batch} "
      "numbers, one for each image"
    )
  return array
