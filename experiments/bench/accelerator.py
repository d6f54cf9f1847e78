"""What a GPU makes of it: many images in one program.

    python -m experiments.bench.accelerator --images FOLDER

prints, for EfficientNet-Lite0 at 224x224 with db3 wavelets and 5 levels,

1. whole steps (noise, synthesis, network, gradient, solver), this library's and
   PyTorch's, of one photograph and of many; PyTorch's reference takes one, so there
   more rows are more draws of it, which costs no more;
2. seconds to explain the photographs with the default recipe;
3. the network's forward pass and input gradient in float32, in TensorFloat-32 (what JAX
   and PyTorch use for float32 convolutions on a GPU unless told otherwise) and in
   bfloat16, with XLA's grouped convolution and with shifted products for the depthwise
   layers, in milliseconds and memory per row, which is an obfuscation of an image.

The multiple of the floor is of 1.63 GFLOP an evaluation at the rate of a float32 matrix
product. Needs ``requirements/oracles.txt``, of which PyTorch for the GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

import cawe_jax as cawe
from cawe_jax import recipes
from cawe_jax.classifiers import in_bfloat16, windows
from cawe_jax.engine.programs import SEGMENT_STEPS
from experiments.bench import machine
from experiments.bench.pairs import SETTING, segment_of_steps
from experiments.bench.runs import SETTINGS

PARTS = ("steps", "explanations", "network")

FORMS = {
  "grouped": lambda cpu_fn, default_fn, cuda_fn=None: default_fn,
  "shifted": lambda cpu_fn, default_fn, cuda_fn=None: cpu_fn,
}
"""XLA's grouped convolutions, and sums of shifted products."""


def main() -> None:
  """Measure and print."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--images", type=Path, required=True, help="a folder")
  parser.add_argument(
    "--count", type=machine.at_least_one, default=64, help="photographs (64)"
  )
  parser.add_argument(
    "--rows", type=machine.at_least_one, default=256, help="rows of a call (256)"
  )
  parser.add_argument(
    "--repeats", type=machine.at_least_one, default=5, help="of every timing (5)"
  )
  parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
  options = parser.parse_args()
  # JAX would take three quarters of the memory, and PyTorch needs some too.
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  classifier = cawe.load_classifier("efficientnet-lite0")
  paths = sorted(p for p in options.images.rglob("*") if p.is_file())[: options.count]
  if not paths:
    raise SystemExit(f"--images {options.images}: no file there")
  images = np.stack([cawe.load_image(p, classifier.input_size) for p in paths])
  floors = {
    name: machine.floor_milliseconds(options.repeats, name)
    for name in machine.PRECISIONS
  }
  floor = floors["float32"]
  print(machine.describe())
  listed = ", ".join(f"{name} {value:.4f}" for name, value in floors.items())
  print(f"floor, ms per evaluation: {listed}", flush=True)
  if "steps" in options.parts:
    report_steps(classifier, images, options.rows, floor, options.repeats)
  if "explanations" in options.parts:
    report_explanations(classifier, images)
  if "network" in options.parts:
    report_network(classifier, options.rows, floor, options.repeats)


def report_steps(
  classifier: Any, images: np.ndarray, rows: int, floor: float, repeats: int
) -> None:
  """Whole steps, ours and PyTorch's."""
  published, default = recipes.cvpr2023(), recipes.default()
  half, few, many = in_bfloat16(classifier), published.num_draws, len(images)
  print("\nwhole steps")
  print(f"{'':44}{'ms/evaluation':>14}{'x floor':>9}{'first s':>9}")

  def row(name: str, milliseconds: float, first: str = "") -> None:
    line = f"{name:44}{milliseconds:14.3f}{milliseconds / floor:9.1f}{first:>9}"
    print(line, flush=True)

  for name, network, recipe, count in (
    (f"1 photograph, {few} draws", classifier, published, 1),
    (f"{many} photographs, 2 draws", classifier, default, many),
    (f"{many} photographs, 2 draws, bfloat16", half, default, many),
  ):
    run, evaluations = segment_of_steps(network, images[:count], recipe)
    first = machine.seconds(run)
    taken = statistics.median(machine.timings(run, repeats))
    row(name, 1e3 * taken / evaluations, f"{first:.1f}")
  for name, draws, kind in (
    (f"PyTorch, {few} draws", few, "TF32"),
    (f"PyTorch, {rows} draws", rows, "TF32"),
    (f"PyTorch, {rows} draws, float32", rows, "float32"),
    (f"PyTorch, {rows} draws, bfloat16", rows, "bfloat16"),
  ):
    row(name, _torch_milliseconds(images[0], draws, repeats, kind))


def _torch_milliseconds(
  image: np.ndarray, num_draws: int, repeats: int, kind: str
) -> float:
  import torch

  from experiments.bench import reference

  torch.backends.cudnn.allow_tf32 = kind != "float32"
  torch.backends.cuda.matmul.allow_tf32 = kind != "float32"
  torch.backends.cudnn.benchmark = True
  network = reference.load_network("cuda" if torch.cuda.is_available() else "cpu")
  if kind == "bfloat16":
    network = reference.InBfloat16(network)
  multiplier, noise, *_ = SETTINGS[SETTING]
  run = reference.start(network, image, multiplier, noise, num_draws=num_draws)
  taken = machine.timings(lambda: [run.step() for _ in range(SEGMENT_STEPS)], repeats)
  return 1e3 * statistics.median(taken) / SEGMENT_STEPS / num_draws


def report_explanations(classifier: Any, images: np.ndarray) -> None:
  """Explain all photographs, twice."""
  print("\nthe default recipe")
  print(f"{'':28}{'s':>6}{'photographs/s':>15}{'first s':>9}{'mean objective':>16}")
  method = SETTINGS[SETTING].method(recipes.default())
  for network in (classifier, in_bfloat16(classifier)):

    def explain(network: Any = network) -> cawe.Explanation:
      return cawe.explain(network, images, method, key=jax.random.key(0))

    first = machine.seconds(explain)
    before = time.perf_counter()
    found = explain()
    seconds = time.perf_counter() - before
    print(
      f"{network.name:28}{seconds:6.1f}{len(images) / seconds:15.2f}{first:9.1f}"
      f"{np.mean(found.objective):16.4f}",
      flush=True,
    )


def report_network(classifier: Any, rows: int, floor: float, repeats: int) -> None:
  """Forward and input gradient, by precision and by form of the depthwise layers."""
  print(f"\nnetwork, forward and input gradient, {rows} rows")
  print(f"{'':12}{'depthwise':12}{'ms/row':>8}{'x floor':>9}{'MiB/row':>9}")
  height, width = np.broadcast_to(classifier.input_size, 2).tolist()
  shape = (rows, height, width, 3)
  images = jax.random.uniform(jax.random.key(0), shape)
  networks = {name: classifier for name in machine.PRECISIONS}
  networks["bfloat16"] = in_bfloat16(classifier)
  cases = [(precision, form) for precision in machine.PRECISIONS for form in FORMS]
  lowered = []
  for precision, form in cases:
    with (
      jax.default_matmul_precision(machine.PRECISIONS[precision]),
      form_of_windows(form),
    ):
      # A function of its own, because JAX remembers what it has traced.
      program = jax.jit(functools.partial(_loop))
      lowered.append(program.lower(images, networks[precision]))
  with ThreadPoolExecutor() as pool:
    programs = list(pool.map(lambda program: program.compile(), lowered))
  for (precision, form), program in zip(cases, programs, strict=True):
    network = networks[precision]
    taken = machine.timings(lambda p=program, n=network: p(images, n), repeats)
    milliseconds = 1e3 * statistics.median(taken) / machine.LOOP / rows
    mebibytes = program.memory_analysis().temp_size_in_bytes / rows / 2**20
    print(
      f"{precision:12}{form:12}{milliseconds:8.4f}{milliseconds / floor:9.1f}"
      f"{mebibytes:9.1f}",
      flush=True,
    )


def _loop(images, network):
  def body(_, x):
    return x + 1e-6 * jax.grad(lambda y: network(y)[:, 0].sum())(x)

  return jax.lax.fori_loop(0, machine.LOOP, body, images)


@contextlib.contextmanager
def form_of_windows(form: str) -> Iterator[None]:
  """Depthwise layers and strided gradients in a form of ``FORMS`` on every platform."""
  chosen = windows.by_platform
  windows.by_platform = FORMS[form]
  try:
    yield
  finally:
    windows.by_platform = chosen


if __name__ == "__main__":
  main()
