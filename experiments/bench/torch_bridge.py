"""What the bridge to PyTorch costs.

    python -m experiments.bench.torch_bridge

prints milliseconds per obfuscation, value and input gradient, of EfficientNet-Lite0
at 224x224: PyTorch alone, PyTorch through the bridge inside a compiled loop, and the
network of this library in the same loop. Needs ``requirements/oracles.txt``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch

import cawe_jax as cawe
from cawe_jax.classifiers import from_torch
from experiments.bench.reference import load_network

LOOP = 4


def main() -> None:
  """Measure and print."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rows", type=int, default=4, help="obfuscations per call (4)")
  parser.add_argument("--repeats", type=int, default=7, help="runs of each (7)")
  options = parser.parse_args()
  images = np.random.default_rng(0).random((options.rows, 224, 224, 3), np.float32)
  module = load_network()

  def torch_alone() -> None:
    for _ in range(LOOP):
      inputs = torch.tensor(images).movedim(-1, 1).requires_grad_()
      torch.autograd.grad(module(inputs)[:, 0].sum(), inputs)

  def in_loop(classifier: cawe.Classifier) -> Callable[[], None]:
    @jax.jit
    def run(classifier: cawe.Classifier, x: jax.Array) -> jax.Array:
      def body(_: int, x: jax.Array) -> jax.Array:
        # The value is used too, as by an objective, so that it is not left out.
        value, slope = jax.value_and_grad(lambda y: classifier(y)[:, 0].sum())(x)
        return x + 1e-6 * (slope + jnp.tanh(value))

      return jax.lax.fori_loop(0, LOOP, body, x)

    return lambda: run(classifier, jnp.asarray(images)).block_until_ready()

  parts = {
    "PyTorch alone": torch_alone,
    "PyTorch through the bridge": in_loop(from_torch(module, 224)),
    "this library": in_loop(cawe.load_classifier("efficientnet-lite0")),
  }
  for function in parts.values():
    function()
  wall, cpu = measure(parts, options.repeats)
  for name in parts:
    scale = 1000 / (LOOP * options.rows)
    print(f"{name:28}{scale * wall[name]:8.1f} ms{scale * cpu[name]:8.1f} ms of CPU")


def measure(
  parts: dict[str, Callable[[], None]], repeats: int
) -> tuple[dict[str, float], dict[str, float]]:
  """Least wall time and CPU time of each part, in turn."""
  wall = dict.fromkeys(parts, np.inf)
  cpu = dict.fromkeys(parts, np.inf)
  for _ in range(repeats):
    for name, function in parts.items():
      start, busy = time.perf_counter(), time.process_time()
      function()
      wall[name] = min(wall[name], time.perf_counter() - start)
      cpu[name] = min(cpu[name], time.process_time() - busy)
  return wall, cpu


if __name__ == "__main__":
  main()
