"""What one model evaluation costs, split into its parts.

    python -m experiments.bench.evaluation

prints milliseconds per obfuscation (one draw for one image, forward and backward) of
EfficientNet-Lite0 at 224x224 with db3 wavelets, 5 levels, and the multiple of the
floor: 1.63 GFLOP over the rate of a float32 matrix product measured in the same run.
Each part runs inside a loop of one compiled program, as it does in an explanation.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import cawe_jax as cawe
from cawe_jax import distortions, perturbations, representations
from cawe_jax import objective as objective_
from cawe_jax.numerics.tiles import Draws, Tile
from cawe_jax.objective import Objective
from cawe_jax.types import Masked
from experiments.bench import machine


def main() -> None:
  """Measure and print."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--rows", type=machine.at_least_one, default=4, help="obfuscations at once (4)"
  )
  parser.add_argument(
    "--repeats", type=machine.at_least_one, default=7, help="runs of each part (7)"
  )
  options = parser.parse_args()
  rows, repeats = options.rows, options.repeats
  calls = 2 if rows % 2 == 0 else 1  # as an explanation has them

  classifier = cawe.load_classifier("efficientnet-lite0")
  representation = representations.wavelet()((224, 224, 3))
  objective = Objective(
    representation, perturbations.adaptive_gaussian(), distortions.automatic
  )
  image = jax.random.uniform(jax.random.key(0), (224, 224, 3))
  images = jnp.stack([image] * rows)
  logits = classifier(images)
  problem = objective_.make_problem(
    objective, image, logits[0], jnp.argmax(logits[0]), jax.random.key(1)
  )
  problems = jax.tree.map(lambda x: x[None], problem)
  masks = tuple(jnp.full((1, *s), 0.5) for s in representation.mask_shapes)
  stack = jax.tree.map(lambda h: jnp.stack([h] * rows), problem.coefficients)

  def forward(x, classifier):
    return x + 1e-6 * jnp.tanh(classifier(x).mean())

  def network(x, classifier):
    return x + 1e-6 * jax.grad(lambda y: classifier(y)[:, 0].sum())(x)

  def in_calls(x, classifier):
    return jnp.concatenate([network(part, classifier) for part in jnp.split(x, calls)])

  def synthesis(h, classifier):
    del classifier

    def energy(h):
      return jnp.sum(jax.vmap(representation.synthesis)(h) ** 2)

    return jax.tree.map(lambda a, g: a + 1e-6 * g, h, jax.grad(energy)(h))

  def noise(h, classifier):
    del classifier
    keys = jax.random.split(jax.random.key(jnp.int32(h[0].ravel()[0])), rows)
    sample = objective.perturbation.sample
    draw = jax.vmap(
      lambda k: sample(
        k, problem.perturbation_state, Masked(None, h_one(h), representation)
      )
    )
    return jax.tree.map(lambda a, v: a + 1e-6 * v, h, draw(keys))

  def h_one(h):
    return jax.tree.map(lambda a: a[0], h)

  def whole(masks, classifier):
    step = jnp.int32(1e6 * masks[0].ravel()[0])
    draws = Draws(step, jnp.int32(rows), jnp.ones(1, bool))
    _, gradients = objective_.expected_distortion_and_gradients(
      objective, classifier, Tile(1, rows // calls, calls), problems, masks, draws
    )
    return jax.tree.map(lambda s, g, d: s + 1e-6 * (g + d), masks, *gradients)

  floor = machine.floor_milliseconds(repeats)
  parts = {
    "network forward": (forward, images),
    "network forward and input gradient": (network, images),
    f"the same as {calls} calls side by side": (in_calls, images),
    "synthesis and its gradient": (synthesis, stack),
    "noise": (noise, stack),
    "whole evaluation": (whole, masks),
  }
  print(f"{machine.describe()}\n{rows} rows; floor {floor:.1f} ms")
  print(f"{'part':38}{'ms':>8}{'x floor':>9}{'compile s':>11}")
  for name, (part, start) in parts.items():
    milliseconds, compile_seconds = _time(part, start, classifier, repeats)
    milliseconds /= rows
    print(
      f"{name:38}{milliseconds:8.2f}{milliseconds / floor:9.1f}{compile_seconds:11.1f}",
      flush=True,
    )


def _time(part: Callable, start, classifier, repeats: int) -> tuple[float, float]:
  """Median milliseconds of one turn of the loop, and seconds to compile."""

  def loop(x, classifier):
    return jax.lax.fori_loop(0, machine.LOOP, lambda _, x: part(x, classifier), x)

  before = time.perf_counter()
  compiled = jax.jit(loop).lower(start, classifier).compile()
  compile_seconds = time.perf_counter() - before
  seconds = machine.timings(lambda: compiled(start, classifier), repeats)
  return float(np.median(seconds)) / machine.LOOP * 1e3, compile_seconds


if __name__ == "__main__":
  main()
