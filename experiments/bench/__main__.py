"""Everything that is measured, in one run on one machine.

    python -m experiments.bench --images FOLDER      (make bench IMAGES=FOLDER)

prints the parts of one evaluation, this library and PyTorch in turn, scaling, how soon
a command starts, and the recipes against the stored results of the published algorithm.
Without a folder the last is left out. Two photographs (the default) take about a
quarter of an hour, ten three quarters. ``--full`` first runs the published algorithm
wherever its result is not stored yet: five seeds for each photograph and setting, of
one to three minutes each.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path


def main() -> None:
  """Run the measurements one after the other, each in a process of its own."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--images", type=Path, help="a folder of photographs")
  parser.add_argument("--count", type=int, default=2, help="photographs (2)")
  parser.add_argument("--full", action="store_true", help="run what is not stored")
  options = parser.parse_args()
  chosen = ["--images", str(options.images), "--count", str(options.count)]
  parts = [["evaluation"], ["pairs"], ["scaling"], ["start"]]
  if options.images:
    parts = [["published", *chosen], *parts] if options.full else parts
    parts.append(["quality", *chosen])
  else:
    print("no --images: the recipes are not compared with the published algorithm")
  for name, *arguments in parts:
    print(f"\n== {name}", flush=True)
    command = [sys.executable, "-m", f"experiments.bench.{name}", *arguments]
    if code := subprocess.run(command).returncode:
      raise SystemExit(code)


if __name__ == "__main__":
  main()
