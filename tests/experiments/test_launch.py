"""Where a sweep runs changes nothing: killed, shared by processes, as an array of jobs.

Every run here is the command itself, in processes of its own.
"""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest
from rich.console import Console
from tiny import get_config

from experiments.axes import expand
from experiments.launch import Pod, describe_plan, join_processes, submit
from experiments.sweep import Process, open_sweep

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {
  "PYTHONPATH": str(HERE),
  "JAX_PLATFORMS": "cpu",
  "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false",
}


def start(workdir, *options, environment=ENVIRONMENT):
  command = [sys.executable, "-m", "experiments.run"]
  command += [f"--config={HERE / 'tiny.py'}", f"--workdir={workdir}", *options]
  return subprocess.Popen(
    command,
    cwd=HERE.parents[1],
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process, expected=0):
  output, errors = process.communicate(timeout=300)
  assert process.returncode == expected, errors
  return output, errors


def contents(workdir):
  paths = sorted((workdir / "results").rglob("[0-9]*.npz"))
  return {str(path.relative_to(workdir)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("finished")
  output, errors = finish(start(workdir))
  return workdir, output, errors


def wait_for_results(workdir, count):
  deadline = time.monotonic() + 120
  while len(contents(workdir)) < count and time.monotonic() < deadline:
    time.sleep(0.01)


@pytest.mark.slow
def test_the_command_does_everything_and_names_the_report(finished):
  workdir, output, errors = finished
  assert len(contents(workdir)) == 2 * 4
  paths = [Path(line) for line in output.split()]
  assert {path.name for path in paths} >= {"table.md", "table.csv", "gallery.html"}
  assert all(path.exists() for path in paths)
  # Not a terminal: lines, and nothing that moves.
  assert "tiny: cartoonx, batch 1 of 2" in errors
  assert "\x1b" not in errors
  assert "\r" not in errors


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bytes(finished, tmp_path):
  seed = random.randrange(2**32)
  rng = random.Random(seed)
  kills = 0
  for count in (1, rng.randrange(2, 8)):
    process = start(tmp_path)
    wait_for_results(tmp_path, count)
    time.sleep(rng.uniform(0, 0.3))
    process.kill()
    process.communicate()
    kills += process.returncode == -signal.SIGKILL
  assert kills > 0
  finish(start(tmp_path))
  assert contents(tmp_path) == contents(finished[0]), seed
  assert not list((tmp_path / "results").rglob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_when_interrupted_it_says_how_to_go_on(number, tmp_path):
  # A shell's background job ignores Ctrl-C, and so would its children.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  process = start(tmp_path)
  wait_for_results(tmp_path, 1)
  process.send_signal(number)
  _, errors = finish(process, expected=130)
  assert "results are left to do, and the same command goes on from here" in errors
  assert "Traceback" not in errors
  # Whatever is there is whole.
  open_sweep(get_config(), tmp_path).store.read_results("cartoonx")


@pytest.mark.slow
def test_another_config_is_one_line_of_error(finished):
  _, errors = finish(start(finished[0], "--config.settings.steps=13"), expected=2)
  (line,) = (line for line in errors.splitlines() if "error" in line)
  assert "config.settings.steps: 12 there, 13 now" in line
  assert "Traceback" not in errors


@pytest.mark.slow
def test_two_processes_agree_with_one(finished, tmp_path):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  common = (f"--coordinator={address}", "--num_processes=2")
  processes = [
    start(tmp_path, *common, "--process_id=0"),
    start(
      tmp_path,
      environment=ENVIRONMENT
      | {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": "1",
      },
    ),
  ]
  outputs = [finish(process) for process in processes]
  assert contents(tmp_path) == contents(finished[0])
  # Each did its half, and whoever was last wrote the report.
  # A slow one also says how long it has been at it so far.
  line = r"^tiny: cartoonx, batch .*: \d+ s(?:, about .* left)?$"
  done = [re.findall(line, text, re.M) for _, text in outputs]
  assert [len(lines) for lines in done] == [1, 1]
  assert any("table.md" in output for output, _ in outputs)


@pytest.mark.slow
def test_an_array_of_local_jobs_agrees_with_one_process(
  finished, tmp_path, monkeypatch
):
  monkeypatch.setattr(os, "environ", ENVIRONMENT)
  sweep = open_sweep(get_config(), tmp_path)
  with open(os.devnull, "w") as nowhere:
    submit(sweep, "local", Console(file=nowhere))
  assert contents(tmp_path) == contents(finished[0])
  assert (tmp_path / "report" / "table.md").exists()


def test_the_dry_run_gives_every_photograph_to_one_host():
  config = get_config()
  text = describe_plan(config, expand(config), 7, Pod(2, 4))
  assert text.splitlines() == [
    "tiny: 2 jobs, 7 photographs in 4 batches of 2",
    "host 0: 4 device(s), 4 photographs",
    "  cartoonx: 2 batches, 4 x 4 explanations, at most 2 at once on a device",
    "  pixel_rde: 2 batches, 4 x 4 explanations, at most 2 at once on a device",
    "host 1: 4 device(s), 3 photographs",
    "  cartoonx: 2 batches, 3 x 4 explanations, at most 2 at once on a device",
    "  pixel_rde: 2 batches, 3 x 4 explanations, at most 2 at once on a device",
  ]


@pytest.mark.parametrize("pod", [Pod(0, 1), Pod(1, 0)])
def test_a_pod_has_hosts_and_devices(pod):
  config = get_config()
  with pytest.raises(ValueError, match="each at least 1"):
    describe_plan(config, expand(config), 7, pod)


def test_alone_unless_told_otherwise():
  assert join_processes(None, None, None, find=False) == Process(0, 1)
  with pytest.raises(ValueError, match="give all three or none"):
    join_processes("localhost:1", 2, None, find=False)


def test_a_platform_that_is_not_here_is_one_line(monkeypatch):
  def fail():
    raise AssertionError  # as JAX does where CUDA is asked for and is not there

  monkeypatch.setattr(jax, "devices", fail)
  with pytest.raises(ValueError, match=r"^JAX cannot start with JAX_PLATFORMS="):
    join_processes(None, None, None, find=False)
