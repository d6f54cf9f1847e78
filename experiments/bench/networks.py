"""The networks on which the search is compared with the published algorithm.

``efficientnet-lite0`` is what everything was tuned on. The two others were not looked
at while the solver was made: ``mobilenet-v1=FILE``, the small one of the interactive
article, from a safetensors file of TensorFlow's weights, and ``digits``, which is
trained here, in a second, on scikit-learn's 8 x 8 digits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from safetensors.numpy import load_file

import cawe_jax as cawe
from cawe_jax.classifiers import adapters, layers
from cawe_jax.types import Array
from experiments.bench.runs import Photograph, sure, sure_photographs

DEFAULT = "efficientnet-lite0"
NAMES = f"{DEFAULT}, mobilenet-v1=FILE or digits"


class Network(NamedTuple):
  """A classifier, and images whose class it is sure of.

  Attributes:
    name: Under which results are stored.
    classifier: Which.
    photographs: What is explained.
  """

  name: str
  classifier: cawe.Classifier
  photographs: list[Photograph]


def open_network(text: str, folder: Path | None, count: int) -> Network:
  """A network by name, with the first images that it is sure of.

  Args:
    text: ``NAMES``.
    folder: The folder of photographs; ``digits`` needs none.
    count: How many images.

  Raises:
    SystemExit: There is no such network, no folder, or no image that it is sure of.
  """
  name, _, file = text.partition("=")
  if name == "digits":
    classifier, images = digits()
    named = (Photograph(f"digit {i}", image) for i, image in enumerate(images))
    return Network(name, classifier, sure(named, classifier, count))
  known = text == DEFAULT or (name == "mobilenet-v1" and file)
  if not known:
    raise SystemExit(f"--network {text}: allowed are {NAMES}")
  if folder is None:
    raise SystemExit(f"--network {name} needs --images FOLDER")
  classifier = mobilenet_v1(Path(file)) if file else cawe.load_classifier(name)
  return Network(name, classifier, sure_photographs(folder, classifier, count))


STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
"""The strides of MobileNetV1's depthwise layers."""


class MobileNetV1(nn.Module):
  """MobileNetV1 with its batch normalisation folded into the convolutions.

  Attributes:
    features: Channels after the first layer, after each of the thirteen blocks, and
      classes.

  References:
    Howard et al., "MobileNets", 2017, Table 1.
  """

  features: tuple[int, ...]

  @nn.compact
  def __call__(self, images: Array) -> Array:
    """Images ``[N, H, W, 3]`` in [0, 1] to logits."""
    stem, *blocks, num_classes = self.features
    relu6 = layers.Activation(layers.relu6)
    x = layers.Normalisation((0.5,), (0.5,))(images)
    x = relu6(layers.Convolution(stem, 3, 2, name="stem")(x))
    for i, (features, stride) in enumerate(zip(blocks, STRIDES, strict=True)):
      x = relu6(layers.DepthwiseConvolution(3, stride, name=f"depthwise_{i}")(x))
      x = relu6(layers.Dense(features, name=f"pointwise_{i}")(x))
    x = layers.GlobalAveragePool()(x)
    return layers.Dense(num_classes, name="classifier")(x)


def mobilenet_v1(file: Path) -> cawe.Classifier:
  """MobileNetV1 from TensorFlow's weights, in the order in which they are used.

  Kernels are ``[out, h, w, in]``, those of depthwise layers ``[1, h, w, channels]``.
  The first of the 1001 classes is the background, which is left out.
  """
  tensors = load_file(file)
  kernels, biases = (
    [tensor for name, tensor in sorted(tensors.items()) if name.endswith(kind)]
    for kind in ("weight", "bias")
  )
  names = ["stem"]
  names += [f"{kind}_{i}" for i in range(13) for kind in ("depthwise", "pointwise")]
  params = {"stem": {"kernel": kernels[0].transpose(1, 2, 3, 0), "bias": biases[0]}}
  for name, kernel, bias in zip(names[1:], kernels[1:-1], biases[1:-1], strict=True):
    kernel = kernel[0] if name.startswith("depthwise") else kernel[:, 0, 0].T
    params[name] = {"kernel": kernel, "bias": bias}
  last, offsets = kernels[-1][1:, 0, 0].T, biases[-1][1:]
  params["classifier"] = {"kernel": last, "bias": offsets}
  features = tuple(len(params[n]["bias"]) for n in params if "depthwise" not in n)
  return adapters.from_linen(
    MobileNetV1(features), {"params": params}, 224, name="mobilenet-v1"
  )


class Perceptron(nn.Module):
  """Two layers, of 64 hidden units, on a digit of 8 x 8 pixels."""

  @nn.compact
  def __call__(self, images: Array) -> Array:
    """Images ``[N, 8, 8, 1]`` in [0, 1] to logits ``[N, 10]``."""
    return nn.Dense(10)(nn.relu(nn.Dense(64)(images.reshape(len(images), -1))))


def digits() -> tuple[cawe.Classifier, np.ndarray]:
  """A perceptron trained on the first 1,500 digits, and the others, ``[297, 8, 8, 1]``.

  Adam with step size 1e-2, 300 steps on all of them at once.
  """
  from sklearn.datasets import load_digits  # of requirements/oracles.txt

  data = load_digits()
  images = (data.images / 16).astype(np.float32)[..., None]
  train, labels = images[:1500], jnp.asarray(data.target[:1500])
  module = Perceptron()
  optimiser = optax.adam(1e-2)

  def loss(variables: Any) -> Array:
    logits = module.apply(variables, train)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

  def step(_: Array, carry: Any) -> Any:
    variables, state = carry
    updates, state = optimiser.update(jax.grad(loss)(variables), state)
    return optax.apply_updates(variables, updates), state

  start = module.init(jax.random.key(0), train[:1])
  variables, _ = jax.lax.fori_loop(0, 300, step, (start, optimiser.init(start)))
  return adapters.from_linen(module, variables, 8, name="digits"), images[1500:]
