"""What a measurement was taken on, and the least time that one evaluation can take."""

from __future__ import annotations

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


def floor_milliseconds(repeats: int = 7) -> float:
  """Milliseconds of ``GFLOP`` at the best rate of a float32 matrix product."""
  matrix = jnp.ones((2048, 2048))
  product = jax.jit(jnp.matmul)
  jax.block_until_ready(product(matrix, matrix))
  best = min(
    seconds(lambda: jax.block_until_ready(product(matrix, matrix)))
    for _ in range(repeats)
  )
  return GFLOP / (2 * 2048**3 / best / 1e9) * 1e3


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
