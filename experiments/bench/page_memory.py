"""How much memory the page's server holds while its settings change.

    python -m experiments.bench.page_memory

starts ``cawe playground`` with an empty cache of compiled programs and asks it for
explanations with one combination of method, wavelet, perturbation and distortion after
another. Each is given up once its first steps are shown, as by a visitor who tries
settings. Printed are the MiB that the server holds (resident memory, and its peak so
far) and the seconds until a prediction for a drawn mask, asked for at last by another
visitor. It needs Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from experiments.bench import machine

EVERY = 5
_PLAYGROUND = "from cawe_jax.cli.command import main; raise SystemExit(main())"


def main() -> None:
  """Measure and print."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--settings", type=int, default=50, help="how many (50)")
  options = parser.parse_args()
  print(machine.describe(), flush=True)
  with tempfile.TemporaryDirectory() as folder:
    server = subprocess.Popen(
      [sys.executable, "-c", _PLAYGROUND, "playground", "--port", "0"],
      env=os.environ | {"CAWE_CACHE": folder, "PYTHONUNBUFFERED": "1"},
      stdout=subprocess.PIPE,
      text=True,
    )
    try:
      asyncio.run(_visit(server, options.settings))
    finally:
      server.terminate()
      server.wait()


async def _visit(server: subprocess.Popen, count: int) -> None:
  address = _address(server)
  with urllib.request.urlopen(f"http://{address}/catalogue.json") as answer:
    catalogue = json.load(answer)
  print(f"{'settings':>8}{'MiB':>8}{'peak':>8}", flush=True)
  _print_memory(0, server.pid)
  async with _open(address) as page:
    for number, wish in enumerate(itertools.islice(_wishes(catalogue), count), 1):
      image = {"sample": catalogue["samples"][0]["name"]}
      await _send(page, type="explain", id=number, image=image, **wish)
      await _receive(page, "progress")
      await _send(page, type="cancel", id=number)
      await _receive(page, "cancelled")
      if number % EVERY == 0 or number == count:
        _print_memory(number, server.pid)
  start = time.perf_counter()
  async with _open(address) as page:
    await _send(page, **_drawing(catalogue))
    await _receive(page, "prediction")
  print(f"a prediction for the next visitor: {time.perf_counter() - start:.1f} s")


def _wishes(catalogue: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """Settings that have programs of their own, every kind early."""
  names = {
    kind: [row["name"] for row in catalogue[kind]]
    for kind in ("methods", "perturbations", "distortions", "wavelets")
  }
  waveletless = {m["name"] for m in catalogue["methods"] if not m["has_wavelet"]}
  for distortion, perturbation, wavelet, method in itertools.product(
    names["distortions"],
    names["perturbations"],
    names["wavelets"][:3],
    names["methods"],
  ):
    wish = {"method": method, "perturbation": perturbation, "distortion": distortion}
    if method not in waveletless:
      yield wish | {"wavelet": wavelet}
    elif wavelet == names["wavelets"][0]:
      yield wish


def _drawing(catalogue: dict[str, Any]) -> dict[str, Any]:
  height, width = catalogue["image_size"][:2]
  return {
    "type": "predict",
    "id": 1,
    "image": {"sample": catalogue["samples"][0]["name"]},
    "mask": base64.b64encode(bytes(-(-height * width // 8))).decode(),
    "filling": catalogue["perturbations"][0]["name"],
    "draws": 8,
    "seed": 0,
  }


def _address(server: subprocess.Popen) -> str:
  assert server.stdout is not None
  for line in server.stdout:
    found = re.search(r"http://([\d.]+:\d+)/", line)
    if found:
      return found[1]
  raise SystemExit("the server has ended")


def _open(address: str) -> connect:
  # Progress comes with pictures.
  return connect(f"ws://{address}/ws", origin=f"http://{address}", max_size=2**24)


async def _send(page: ClientConnection, **message: Any) -> None:
  await page.send(json.dumps(message))


async def _receive(page: ClientConnection, kind: str) -> None:
  while (answer := json.loads(await page.recv()))["type"] != kind:
    if answer["type"] == "error":
      raise SystemExit(answer["message"])


def _print_memory(settings: int, pid: int) -> None:
  status = Path(f"/proc/{pid}/status").read_text()
  held, peak = (
    int(re.search(rf"^{key}:\s+(\d+)", status, re.MULTILINE)[1]) / 1024
    for key in ("VmRSS", "VmHWM")
  )
  print(f"{settings:8}{held:8.0f}{peak:8.0f}", flush=True)


if __name__ == "__main__":
  main()
