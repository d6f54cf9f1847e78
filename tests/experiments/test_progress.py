"""Within a batch a log hears where it is, however long nothing is finished."""

import io
import threading

import numpy as np
from rich.console import Console

from cawe_jax.explaining.one import Progress as Seen
from experiments.progress import Progress


class Log(io.StringIO):
  """Tells when a text has been written so many times."""

  def __init__(self, text, count):
    super().__init__()
    self._text, self._count = text, count
    self.is_there = threading.Event()

  def write(self, written):
    length = super().write(written)
    if self.getvalue().count(self._text) >= self._count:
      self.is_there.set()
    return length


def seen(step):
  return Seen(step, 200, (), np.array([True]), None)


def test_a_log_gets_lines_within_a_batch():
  num_threads = threading.active_count()
  log = Log("so far", 3)
  progress = Progress(Console(file=log, width=200), "mine", interval=0.001)
  progress.start(1, 1)
  with progress.batch("cartoonx, batch 1 of 1"):
    assert log.is_there.wait(60)  # while nothing is called: compiling
    log.is_there.clear()
    progress.steps(seen(40))
    log._count, log._text = 2, "cartoonx, batch 1 of 1: step 40 of 200, 0 s so far"
    assert log.is_there.wait(60)
    log.is_there.clear()
    progress.steps(seen(200))
    log._text = "1 of 1: all steps done, judging masks on fresh draws, 0 s so far"
    assert log.is_there.wait(60)
  lines = log.getvalue().splitlines()
  assert lines[1] == "mine: cartoonx, batch 1 of 1: 0 s so far"
  assert lines[-1] == "mine: cartoonx, batch 1 of 1: 0 s"
  assert threading.active_count() == num_threads


def test_a_terminal_gets_a_bar_instead():
  log = io.StringIO()
  console = Console(file=log, force_terminal=True, width=200)
  progress = Progress(console, "mine", interval=0.0)
  with progress.batch("batch 1 of 1"):
    progress.steps(seen(40))
  assert "so far" not in log.getvalue()
