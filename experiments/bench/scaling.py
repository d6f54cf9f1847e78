"""How cost and memory grow with draws, image size, batch and levels; compile times.

    python -m experiments.bench.scaling

Every line is a process of its own, so that its peak memory is its own too. Milliseconds
are of one evaluation (one draw of one image, forward and backward) inside a run;
``start`` is from the call of Python to the first step done, with an empty compilation
cache and with a filled one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

STEPS = 10
BASE = {"draws": 2, "size": 224, "batch": 1, "levels": 5}
CASES = (
  {},
  {"draws": 4},
  {"draws": 16},
  {"draws": 64},
  {"size": 160},
  {"size": 288},
  {"batch": 4},
  {"batch": 16},
  {"levels": 3},
)


def main() -> None:
  """Measure and print; with ``--case`` one line, for the process of a case."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.case is not None:
    print(json.dumps(_measure(**options.case)))
  else:
    report()


def report() -> None:
  """Print the table, line by line."""
  head = f"{'draws':>6}{'size':>6}{'batch':>6}{'levels':>7}"
  print(f"\n{head}{'ms':>8}{'MiB':>7}{'start s, cold':>15}{'warm':>7}")
  for change in CASES:
    case = BASE | change
    with tempfile.TemporaryDirectory() as cache:
      cold, warm = (_in_process(case, cache) for _ in range(2))
    print(
      f"{case['draws']:6}{case['size']:6}{case['batch']:6}{case['levels']:7}"
      f"{warm['milliseconds']:8.1f}{warm['mebibytes']:7.0f}{cold['start']:15.1f}"
      f"{warm['start']:7.1f}",
      flush=True,
    )


def _in_process(case: dict[str, int], cache: str) -> dict[str, float]:
  command = [sys.executable, "-m", "experiments.bench.scaling", "--case"]
  environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
  environment["CALLED"] = str(time.time())
  done = subprocess.run(
    [*command, json.dumps(case)], env=environment, capture_output=True, text=True
  )
  if done.returncode:
    raise SystemExit(done.stderr.strip().splitlines()[-1])
  return json.loads(done.stdout.splitlines()[-1])


def _measure(draws: int, size: int, batch: int, levels: int) -> dict[str, Any]:
  """One case, in this process."""
  import jax
  import numpy as np

  import cawe_jax as cawe
  from cawe_jax import recipes, representations
  from cawe_jax.engine.programs import Window
  from cawe_jax.engine.session import Session
  from cawe_jax.samples import sample_path

  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  classifier = cawe.load_classifier("efficientnet-lite0")
  image = np.asarray(cawe.load_image(sample_path("coffee"), size))
  recipe = recipes.default()._replace(num_draws=draws)
  transform = representations.wavelet(levels=levels)
  method = cawe.cartoonx(20.0, representation=transform, recipe=recipe)
  session = Session(
    classifier,
    np.stack([image] * batch),
    method,
    key=jax.random.key(0),
    targets=None,
    image_ids=np.arange(batch),
    rows=None,
  )
  carry = session.start()
  window = Window.of(0, 1, recipe.num_steps, draws)
  session.segment(carry, window)
  start = time.time() - float(os.environ["CALLED"])
  steps = max(1, STEPS * 2 // draws)
  window = window._replace(stop=np.uint32(steps))
  seconds = []
  for _ in range(3):
    before = time.perf_counter()
    session.segment(carry, window)
    seconds.append(time.perf_counter() - before)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  milliseconds = 1e3 * min(seconds) / (steps * draws * batch)
  return {"milliseconds": milliseconds, "mebibytes": peak, "start": start}


if __name__ == "__main__":
  main()
