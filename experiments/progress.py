"""What a sweep says while it works: a bar on a terminal, lines elsewhere.

Where there is no bar, no more than ten seconds pass without a line.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from cawe_jax.cli.console import duration
from cawe_jax.explaining.emptiness import EmptyMaskWarning
from cawe_jax.explaining.one import Progress as Seen


class Progress:
  """Batches done and left, and how long that will take.

  The time left is the mean of the batches done in this run times those that are left,
  so that it is rough where jobs differ.

  Args:
    console: Where to write.
    name: What the lines begin with.
    interval: Seconds between two lines about a batch at work where there is no bar.
  """

  def __init__(self, console: Console, name: str, interval: float = 10.0):
    self._console = console
    self._name = name
    self._interval = interval
    self._step = ""
    self._seconds: list[float] = []
    self._num_left = 0
    self._bar = Bar(
      TextColumn("{task.description}"),
      BarColumn(bar_width=24),
      MofNCompleteColumn(),
      TextColumn("{task.fields[left]}"),
      console=console,
      transient=True,
      # A log gets no bar: rich would leave an empty line there for each.
      disable=not console.is_terminal,
    )
    self._steps = self._bar.add_task("", visible=False, left="")

  def start(self, num_todo: int, num_batches: int) -> None:
    """Say what there is to do."""
    self._num_left, done = num_todo, num_batches - num_todo
    before = f", {done} done before" if done else ""
    self.say(f"{num_batches} batches{before}")

  def say(self, text: str) -> None:
    """One line."""
    self._console.print(f"{self._name}: {text}", markup=False)

  def failure(self, photograph: str, reason: str) -> None:
    """A photograph that cannot be decoded."""
    self.say(f"photograph {photograph!r} is left out: {reason}")

  def steps(self, seen: Seen) -> None:
    """A callback of ``explain``."""
    going = f"step {seen.step} of {seen.num_steps}, "
    is_last = seen.step == seen.num_steps
    self._step = "all steps done, judging masks on fresh draws, " if is_last else going
    self._bar.update(self._steps, completed=seen.step, total=seen.num_steps)

  @contextmanager
  def batch(self, title: str) -> Iterator[None]:
    """The time of one batch, and a sign of life from within it."""
    start, self._step = time.perf_counter(), ""

    def say_where() -> None:
      self.say(f"{title}: {self._step}{duration(time.perf_counter() - start)} so far")

    with_lines = not self._console.is_terminal
    self._bar.update(
      self._steps, description=title, visible=True, completed=0, left=self._left()
    )
    with (
      self._bar,
      _every(self._interval, say_where) if with_lines else nullcontext(),
      _warnings_said(lambda text: self.say(f"{title}: {text}")),
    ):
      yield
    self._seconds.append(time.perf_counter() - start)
    self._num_left -= 1
    self.say(f"{title}: {duration(self._seconds[-1])}{self._left(', ')}")

  def _left(self, separator: str = "") -> str:
    if not (self._seconds and self._num_left):
      return ""
    mean = sum(self._seconds) / len(self._seconds)
    return f"{separator}about {duration(mean * self._num_left)} left"


@contextmanager
def _warnings_said(say: Callable[[str], None]) -> Iterator[None]:
  """Lines in the place of Python's warnings of masks that keep nothing.

  Masks are counted as they are explained together, the points of a photograph in a row.
  """
  with warnings.catch_warnings():
    show = warnings.showwarning

    def show_or_say(message: Any, category: Any, *where: Any, **more: Any) -> None:
      if issubclass(category, EmptyMaskWarning):
        say(str(message))
      else:
        show(message, category, *where, **more)

    warnings.simplefilter("always", EmptyMaskWarning)
    warnings.showwarning = show_or_say
    yield


@contextmanager
def _every(seconds: float, call: Callable[[], None]) -> Iterator[None]:
  """Calls a function at that interval while the block runs.

  From a thread of its own, since compiling takes long and looks up at nothing.
  """
  is_over = threading.Event()

  def repeat() -> None:
    while not is_over.wait(seconds):
      call()

  thread = threading.Thread(target=repeat, daemon=True)
  thread.start()
  try:
    yield
  finally:
    is_over.set()
    thread.join()
