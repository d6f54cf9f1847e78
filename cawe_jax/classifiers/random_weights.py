"""Weights of an architecture at random, to try things before there is a network.

Kernels are those of He et al., by which activations neither vanish nor explode.
Residual blocks still add up, so the last layer is scaled to logits of an ordinary size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

LOGITS_STD = 3.0
"""Standard deviation of the logits of an image of noise."""

_LAST = "classifier/kernel"


def random_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
  """Parameters of the given shapes, always the same ones.

  Args:
    shapes: By path, whose last part tells kernels, biases and scales.

  Example:
    >>> found = random_weights({"a/kernel": (50, 400), "b/scale": (2,)})
    >>> round(float(found["a/kernel"].std()), 2), found["b/scale"].tolist()
    (0.2, [1.0, 1.0])
  """
  rng = np.random.default_rng(0)
  return {path: _draw(rng, path, shape) for path, shape in sorted(shapes.items())}


def scaled_to_logits(
  weights: dict[str, np.ndarray],
  run: Callable[[dict[str, np.ndarray], np.ndarray], np.ndarray],
  image_shape: tuple[int, int, int],
) -> dict[str, np.ndarray]:
  """The same weights, the last layer's so that logits have ``LOGITS_STD``.

  Args:
    weights: What :func:`random_weights` made; the last layer is ``classifier/kernel``.
    run: ``(weights, images) -> logits``.
    image_shape: ``(H, W, C)``.
  """
  noise = np.random.default_rng(1).random((1, *image_shape), np.float32)
  factor = np.float32(LOGITS_STD / run(weights, noise).std())
  return weights | {_LAST: weights[_LAST] * factor}


def _draw(rng: np.random.Generator, path: str, shape: tuple[int, ...]) -> np.ndarray:
  kind = path.rpartition("/")[2]
  if kind == "bias":
    return np.zeros(shape, np.float32)
  if kind == "scale":
    return np.ones(shape, np.float32)
  std = math.sqrt(2 / math.prod(shape[:-1])) if kind == "kernel" else 0.02
  return rng.normal(0, std, shape).astype(np.float32)
