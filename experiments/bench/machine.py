"""What a measurement was taken on, and the least time that one evaluation can take."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import platform
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

# Published 407 M multiply-adds: forward, and as much again for the input gradient.
GFLOP = 4 * 0.407

LOOP = 8
"""Turns inside one compiled program, so that starting it costs little of each."""

PRECISIONS = {
  "float32": "highest",
  "TF32": "tensorfloat32",
  "bfloat16": "tensorfloat32",
}
"""Kinds of products, and JAX's name of their precision; bfloat16 is a type as well."""


def describe() -> str:
  """Device, versions and date in one line."""
  named = ", ".join(f"{name} {version}" for name, version in versions().items())
  return (
    f"{_processor()}, {len(jax.devices())} {jax.default_backend()} device(s), Python "
    f"{platform.python_version()}, {named}, {datetime.date.today().isoformat()}"
  )


def versions() -> dict[str, str]:
  """Versions of what is measured; ``absent`` where a package is not installed."""
  return {name: _version(name) for name in ("jax", "torch", "pytorch-wavelets")}


def floor_milliseconds(repeats: int = 7, precision: str = "float32") -> float:
  """Milliseconds of ``GFLOP`` at the best rate of a large matrix product.

  Args:
    repeats: How often it is run; the fastest run counts.
    precision: A key of ``PRECISIONS``.
  """
  # Large enough for a GPU's rate; on two CPU cores that would take a minute.
  size = 2048 if jax.default_backend() == "cpu" else 8192
  dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
  matrix = jax.random.normal(jax.random.key(0), (size, size), dtype) / size**0.5

  @jax.jit
  def products(matrix):
    return jax.lax.fori_loop(0, LOOP, lambda _, x: x @ matrix, matrix)

  with jax.default_matmul_precision(PRECISIONS[precision]):
    best = min(timings(lambda: products(matrix), repeats)) / LOOP
  return GFLOP / (2 * size**3 / best / 1e9) * 1e3


def timings(run: Callable[[], object], repeats: int) -> list[float]:
  """Wall time of each call until its result is there, after one uncounted."""

  def finish() -> None:
    jax.block_until_ready(run())

  finish()
  return [seconds(finish) for _ in range(repeats)]


def at_least_one(text: str) -> int:
  """An option's integer.

  Raises:
    argparse.ArgumentTypeError: It is none, or below 1.
  """
  if not (text.isascii() and text.isdecimal() and int(text) >= 1):
    raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 1")
  return int(text)


def seconds(run: Callable[[], object]) -> float:
  """Wall time of one call."""
  before = time.perf_counter()
  run()
  return time.perf_counter() - before


def _version(name: str) -> str:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return "absent"


def _processor() -> str:
  if jax.default_backend() != "cpu":
    return jax.devices()[0].device_kind
  # Linux tells the name there; elsewhere the architecture must do.
  info = Path("/proc/cpuinfo")
  lines = info.read_text().splitlines() if info.exists() else []
  names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
  wide = any("avx512f" in line for line in lines)
  name = names[0] if names else platform.machine()
  return f"{name} ({len(names)} cores{', AVX-512' if wide else ''})"
