"""How long `cawe explain` takes until its first steps are done.

    python -m experiments.bench.start

calls the command in processes of their own: first with an empty cache of compiled
programs, then again with what the first call left there. It prints the seconds from the
start of Python to the call of the first ten steps, to their start, when they are traced
and compiled or loaded, and to their end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

from experiments.bench import machine

COLUMNS = ("prepared", "started", "10 steps")


def main() -> None:
  """Measure and print."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--repeats", type=int, default=3, help="second calls (3)")
  options = parser.parse_args()
  print(machine.describe(), flush=True)
  print(f"{'seconds to':14}" + "".join(f"{column:>10}" for column in COLUMNS))
  with tempfile.TemporaryDirectory() as folder:
    for call in range(options.repeats + 1):
      name = "first call" if call == 0 else f"call {call + 1}"
      seconds = _call(folder)
      print(f"{name:14}" + "".join(f"{s:10.2f}" for s in seconds), flush=True)


def _call(folder: str) -> list[float]:
  """Seconds until each of ``COLUMNS`` in a process of its own."""
  command = [sys.executable, "-m", "experiments.bench.start", "--child"]
  before = time.time()
  done = subprocess.run(
    [*command, folder],
    env=os.environ | {"CAWE_CACHE": folder},
    capture_output=True,
    text=True,
  )
  if done.returncode:
    raise SystemExit(done.stderr.strip().splitlines()[-1])
  lines = done.stdout.splitlines()
  times = [line.split()[1] for line in lines if line.startswith("time ")]
  return [float(value) - before for value in times]


def _child(folder: str) -> None:
  """`cawe explain` that says when its first ten steps are called, loaded and done."""
  import jax

  from cawe_jax.cli.command import main as cawe
  from cawe_jax.engine.session import Session

  segment, compiled = Session.segment, [0.0]

  def listen(event: str, *unused: float, **names: str | int) -> None:
    del unused, names
    if event == "/jax/core/compile/backend_compile_duration":
      compiled.append(time.time())

  def timed(*arguments):
    called = time.time()
    result = segment(*arguments)
    Session.segment = segment
    for moment in (called, compiled[-1], time.time()):
      print("time", moment, flush=True)
    return result

  jax.monitoring.register_event_duration_secs_listener(listen)
  Session.segment = timed
  arguments = ["explain", "sample:coffee", "--out", folder, "--force", "--quiet"]
  sys.exit(cawe([*arguments, "--steps", "20"]))


if __name__ == "__main__":
  if sys.argv[1:2] == ["--child"]:
    _child(sys.argv[2])
  else:
    main()
