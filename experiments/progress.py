"""What a sweep says while it works: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from cawe_jax.cli.console import duration
from cawe_jax.explain import Progress as Seen


class Progress:
  """Batches done and left, and how long that will take.

  The time left is the mean of the batches done in this run times those that are left,
  so that it is rough where jobs differ.

  Args:
    console: Where to write.
    name: What the lines begin with.
  """

  def __init__(self, console: Console, name: str):
    self._console = console
    self._name = name
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
    self._bar.update(self._steps, completed=seen.step, total=seen.num_steps)

  @contextmanager
  def batch(self, title: str) -> Iterator[None]:
    """The time of one batch."""
    start = time.perf_counter()
    self._bar.update(
      self._steps, description=title, visible=True, completed=0, left=self._left()
    )
    with self._bar:
      yield
    self._seconds.append(time.perf_counter() - start)
    self._num_left -= 1
    self.say(f"{title}: {duration(self._seconds[-1])}{self._left(', ')}")

  def _left(self, separator: str = "") -> str:
    if not (self._seconds and self._num_left):
      return ""
    mean = sum(self._seconds) / len(self._seconds)
    return f"{separator}about {duration(mean * self._num_left)} left"
