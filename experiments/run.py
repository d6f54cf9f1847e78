"""Run a sweep: ``python -m experiments.run --config=configs/NAME.py --workdir=DIR``.

``--config=configs/NAME.py:VARIANT`` takes a variant (``smoke``, ``paper``), and
``--config.settings.levels=4`` sets a value, whether or not the file has that key. The
same command again goes on where the last one stopped, whatever stopped it; when
everything is done it writes ``WORKDIR/report`` and does nothing more.
:mod:`experiments.store` says what the files hold, :mod:`experiments.launch` how to use
a cluster or several hosts.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import config_flags
from rich.console import Console

from cawe_jax.files.compilation import enable_compilation_cache
from cawe_jax.numerics.ambient import own_rules
from experiments import launch
from experiments.keys import KEYS
from experiments.progress import Progress
from experiments.sweep import Process, Sweep, check_sweep, finish, open_sweep, run_jobs

_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "A file of configs/.",
  # A setting that the file does not mention can be given too; plan() knows them all.
  lock_config=False,
  accept_new_attributes=True,
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of results; made if missing.")
_LAUNCHER = flags.DEFINE_enum(
  "launcher",
  "none",
  ["none", *launch.CLUSTERS],
  "none: one job after the other, here; local, slurm: one submitit job for each.",
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print who would do what, and stop.")
_HOSTS = flags.DEFINE_integer("hosts", 1, "Of the dry run: number of hosts.")
_DEVICES = flags.DEFINE_integer("devices", 1, "Of the dry run: devices of each host.")

_DISTRIBUTED = flags.DEFINE_bool(
  "distributed", False, "One of several processes, which JAX finds by itself."
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator", os.environ.get("JAX_COORDINATOR_ADDRESS"), "HOST:PORT of process 0."
)
_NUM_PROCESSES = flags.DEFINE_integer(
  "num_processes", os.environ.get("JAX_NUM_PROCESSES"), "How many processes there are."
)
_PROCESS_ID = flags.DEFINE_integer(
  "process_id", os.environ.get("JAX_PROCESS_ID"), "Which of them this one is."
)

_INTERRUPTED = 130  # what a shell expects after Ctrl-C


def main(argv: list[str]) -> None:
  """Run, go on, or say in one line what is wrong."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  logging.set_verbosity(logging.WARNING)  # not which accelerators there are none of
  # A scheduler that wants its machine back asks with SIGTERM.
  signal.signal(signal.SIGTERM, _interrupt)
  console = _console()
  config = _CONFIG.value
  try:
    if _DRY_RUN.value:
      jobs, photographs, _ = check_sweep(config, _WORKDIR.value)
      sizes = launch.Pod(_HOSTS.value, _DEVICES.value)
      print(launch.describe_plan(config, jobs, len(photographs), sizes))
      return
    process = launch.join_processes(
      _COORDINATOR.value,
      _NUM_PROCESSES.value,
      _PROCESS_ID.value,
      find=_DISTRIBUTED.value,
    )
    enable_compilation_cache()
    sweep = open_sweep(config, _WORKDIR.value)
    try:
      _run(sweep, process, console)
    except KeyboardInterrupt:
      console.print(
        f"stopped; {sweep.num_left} results are left to do, and the same command goes "
        "on from here",
        markup=False,
      )
      sys.exit(_INTERRUPTED)
  except ValueError as error:
    _refuse(str(error))


@own_rules()
def _run(sweep: Sweep, process: Process, console: Console) -> None:
  if _LAUNCHER.value != "none":
    launch.submit(sweep, _LAUNCHER.value, console)
    return
  progress = Progress(console, sweep.config.name)
  run_jobs(sweep, sweep.jobs, process, progress)
  finish(sweep, console)


def parse(argv: list[str]) -> list[str]:
  """Read the command line, or say in one line what is wrong with it."""
  try:
    rest = flags.FLAGS(argv)
    list(_CONFIG.value)  # which fails where the file could not be read
  except KeyError as error:  # a part that is not there cannot get a key
    _refuse(f"the config has no part {error.args[0]}: its keys are {', '.join(KEYS)}")
  # What goes wrong in a config comes with a traceback, whose last line says what it is.
  except (flags.Error, OSError) as error:
    _refuse(str(error).strip().splitlines()[-1])
  return rest


def _refuse(reason: str) -> NoReturn:
  _console().print(f"error: {' '.join(reason.split())}", markup=False)
  sys.exit(2)


def _console() -> Console:
  return Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def _interrupt(signum: int, frame: object) -> NoReturn:
  raise KeyboardInterrupt


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "workdir"])
  app.run(main, flags_parser=parse)
