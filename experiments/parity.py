"""Every network against torchvision's, timm's or its publisher's, on random weights.

    python -m experiments.parity                    # all, about four minutes
    python -m experiments.parity resnet18 vgg16

prints a table and ends with exit status 1 if a network fails. For each, a PyTorch
network with random weights, biases and batch statistics is converted, and both sides
get the same random image. The error of the logits is the largest difference over the
largest logit; that of the gradient of a random combination of the logits with respect
to the image is the norm of the difference over the norm.

Every network is compared in 32 bits at its own size and, where it allows another, at
an odd one. A ReLU or a maximum switches where rounding decides, and then PyTorch's
gradient of such a network in 32 bits is up to 2e-2 away from its own in 64 (seen of
VGG, ResNet and MobileNet). So where the gradients are more than 1e-3 apart, marked by a
star, they must agree in 64 bits. One network of each family is compared in 64 bits
anyway, where rounding hides nothing: a wrong epsilon changes logits by some 1e-6.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from cawe_jax.classifiers import conversion, registry
from experiments.oracles import ORACLES, Oracle, random_network
from experiments.pytorch import torch


class Errors(NamedTuple):
  """How far a converted network is from the original.

  Attributes:
    logits: Largest difference over the largest logit.
    gradient: Norm of the difference over the norm, of the input gradient.
  """

  logits: float
  gradient: float


TOLERANCES = {
  np.float32: Errors(1e-4, 1e-3),
  # PyTorch's gradient of the hard sigmoid multiplies by 1 / 6 rounded to 32 bits.
  np.float64: Errors(1e-9, 1e-6),
}
# One unit of 4,096 in VGG's dense layers carries a 64th of the gradient's norm.
SWITCH = 5e-2


class Row(NamedTuple):
  """One line of the table.

  Attributes:
    oracle: Which network.
    size: Side of the image in pixels.
    dtype: The element type of parameters and images.
    errors: What was measured.
  """

  oracle: Oracle
  size: int
  dtype: type
  errors: Errors

  @property
  def switched(self) -> bool:
    """Whether the gradient is for 64 bits to judge; they have no such excuse."""
    limit = TOLERANCES[self.dtype].gradient
    return self.dtype is np.float32 and limit < self.errors.gradient <= SWITCH

  @property
  def passed(self) -> bool:
    """Whether both errors are within the tolerances; not-a-number is not."""
    tolerance = TOLERANCES[self.dtype]
    gradient_agrees = self.errors.gradient <= tolerance.gradient
    return self.errors.logits <= tolerance.logits and (gradient_agrees or self.switched)


class Network(NamedTuple):
  """One network twice.

  Attributes:
    oracle: Which one.
    model: PyTorch's, which takes normalised images.
    params: Ours, nested, float64.
  """

  oracle: Oracle
  model: torch.nn.Module
  params: dict[str, Any]


def rows(oracle: Oracle) -> Iterator[Row]:
  """Compare one network in 32 bits, and in 64 where that is needed."""
  network = make_network(oracle)
  for size in oracle.sizes:
    row = Row(oracle, size, np.float32, compare(network, size, np.float32))
    yield row
    if row.switched or (oracle.exact and size == min(oracle.sizes)):
      yield Row(oracle, size, np.float64, compare(network, size, np.float64))


def make_network(oracle: Oracle) -> Network:
  """A random network of the other library and its parameters converted."""
  model = random_network(oracle)
  tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
  info = registry.classifier_info(oracle.architecture)
  flat = conversion.convert(
    tensors,
    {whose: layout(info.module) for whose, layout in info.layouts.items()},
    registry.parameter_shapes(oracle.architecture),
    name=oracle.architecture,
    dtype=np.float64,
  )
  return Network(oracle, model, unflatten_dict(flat, sep="/"))


def compare(network: Network, size: int, dtype: type) -> Errors:
  """Both sides on one random image of the given side in pixels."""
  rng = np.random.default_rng(size)
  image = rng.random((1, size, size, 3)).astype(dtype)
  weights = rng.normal(size=1000).astype(dtype)
  with jax.enable_x64(dtype is np.float64):
    logits, gradient = _in_jax(network, image, weights)
  true_logits, true_gradient = _in_torch(network, image, weights)
  assert logits.dtype == gradient.dtype == dtype
  return Errors(
    float(np.abs(logits - true_logits).max() / np.abs(true_logits).max()),
    float(np.linalg.norm(gradient - true_gradient) / np.linalg.norm(true_gradient)),
  )


def main() -> int:
  """Print the table; 1 if anything failed."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  names = sorted({oracle.architecture for oracle in ORACLES})
  parser.add_argument("names", nargs="*", metavar="NAME", help="all by default")
  wanted = parser.parse_args().names or names
  if unknown := set(wanted) - set(names):
    parser.error(f"unknown: {', '.join(sorted(unknown))}; allowed: {', '.join(names)}")
  # Each program runs once: what matters is how long it takes to compile.
  jax.config.update("jax_disable_most_optimizations", True)
  print(
    f"{'architecture':19}{'oracle':31}{'parameters':>11}{'size':>5}{'bits':>5}"
    f"{'logits':>9}{'gradient':>9}{'seconds':>8}"
  )
  passed = True
  for oracle in ORACLES:
    if oracle.architecture not in wanted:
      continue
    count = registry.num_parameters(oracle.architecture)
    before = time.perf_counter()
    for row in rows(oracle):
      seconds, before = time.perf_counter() - before, time.perf_counter()
      print(
        f"{oracle.architecture:19}{oracle.label:31}{count:11,}{row.size:5}"
        f"{8 * np.dtype(row.dtype).itemsize:5}{row.errors.logits:9.0e}"
        f"{row.errors.gradient:9.0e}{'*' if row.switched else ' '}{seconds:7.1f}"
        f"{'' if row.passed else '  FAILED'}",
        flush=True,
      )
      passed = passed and row.passed
  return 0 if passed else 1


def _in_jax(
  network: Network, image: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  module = registry.classifier_info(network.oracle.architecture).module
  params = jax.tree.map(lambda p: np.asarray(p, image.dtype), network.params)

  @jax.jit
  def run(params, image, weights):
    def combination(image):
      logits = module.apply({"params": params}, image)[0]
      return weights @ logits, logits

    gradient, logits = jax.grad(combination, has_aux=True)(image)
    return logits, gradient

  logits, gradient = run(params, image, weights)
  return np.asarray(logits), np.asarray(gradient)


def _in_torch(
  network: Network, image: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  dtype = torch.from_numpy(image).dtype
  model = network.model.to(dtype)
  mean, deviation = (torch.tensor(n, dtype=dtype) for n in network.oracle.normalisation)
  x = torch.from_numpy(image).requires_grad_()
  normalised = (x - mean) / deviation
  logits = model(normalised.permute(0, 3, 1, 2))[0]
  (gradient,) = torch.autograd.grad(torch.from_numpy(weights) @ logits, x)
  return logits.detach().numpy(), gradient.numpy()


if __name__ == "__main__":
  sys.exit(main())
