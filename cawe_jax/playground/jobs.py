"""A queue for work that must be done one piece at a time, fair between visitors.

Optimisers share the machine badly, so one thread does them all. Visitors take turns: a
visitor with four jobs waits as long for the second as any newcomer for the first. All
bookkeeping is on the event loop, hence without locks; only the work itself is in the
thread. Whoever stops waiting for a job (a cancelled task, a closed tab) thereby cancels
it: a waiting job leaves the queue, a running one learns of it when it next asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from typing import Any

MAX_WAITING = 4
"""Jobs of one visitor that may wait."""

Check = Callable[[], None]
"""Raises :class:`Stopped` in work whose result nobody wants any more."""


class Stopped(Exception):
  """Raised inside work that was cancelled."""


@dataclasses.dataclass(eq=False)
class _Job:
  visitor: Hashable
  work: Callable[[Check], Any]
  moved: Callable[[int], None]
  result: asyncio.Future
  stop: threading.Event = dataclasses.field(default_factory=threading.Event)
  position: int = -1

  def check(self) -> None:
    if self.stop.is_set():
      raise Stopped


class Queue:
  """Jobs that wait for one thread; use it inside ``async with queue.working():``."""

  def __init__(self) -> None:
    self._waiting: dict[Hashable, deque[_Job]] = {}
    self._running: _Job | None = None
    self._arrival = asyncio.Event()

  async def run(
    self,
    visitor: Hashable,
    work: Callable[[Check], Any],
    moved: Callable[[int], None] = lambda position: None,
  ) -> Any:
    """Do work in the thread when its turn comes.

    Args:
      visitor: Whose turn it takes.
      work: Called with a :data:`Check`, which it calls often.
      moved: Called with the number of jobs that come before, whenever that changes; at
        last with 0, when the work starts.

    Returns:
      What ``work`` returned, or raises what it raised.

    Raises:
      ValueError: The visitor has too many jobs waiting.
    """
    if len(self._waiting.get(visitor, ())) >= MAX_WAITING:
      raise ValueError(f"{MAX_WAITING} of your requests wait already; cancel one first")
    job = _Job(visitor, work, moved, asyncio.get_running_loop().create_future())
    self._waiting.setdefault(visitor, deque()).append(job)
    self._tell_positions()
    self._arrival.set()
    try:
      return await job.result
    finally:
      job.stop.set()
      waiting = self._waiting.get(visitor, deque())
      if job in waiting:
        waiting.remove(job)
        if not waiting:
          del self._waiting[visitor]
        self._tell_positions()

  @contextlib.asynccontextmanager
  async def working(self) -> AsyncIterator[None]:
    """Work while the block lasts; afterwards every job is cancelled."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="cawe-playground")
    worker = asyncio.create_task(self._work(executor))
    try:
      yield
    finally:
      worker.cancel()
      jobs = [*self._in_order(), *([self._running] if self._running else [])]
      for job in jobs:
        job.stop.set()
        job.result.cancel()
      executor.shutdown(wait=False)
      await asyncio.wait([worker])

  async def _work(self, executor: ThreadPoolExecutor) -> None:
    while True:
      await self._arrival.wait()
      job = self._running = self._take()
      if job is None:
        self._arrival.clear()
        continue
      job.moved(0)
      self._tell_positions()
      loop = asyncio.get_running_loop()
      future = loop.run_in_executor(executor, _do, job)
      result, error = await future
      self._running = None
      if not job.result.done():
        if error is None:
          job.result.set_result(result)
        else:
          job.result.set_exception(error)

  def _in_order(self) -> list[_Job]:
    """Waiting jobs in the order in which they would run."""
    rounds = zip_longest(*self._waiting.values())
    return [job for jobs in rounds for job in jobs if job is not None]

  def _take(self) -> _Job | None:
    """The next job; its visitor's next one comes after all others' first."""
    if not self._waiting:
      return None
    visitor = next(iter(self._waiting))
    jobs = self._waiting.pop(visitor)
    job = jobs.popleft()
    if jobs:
      self._waiting[visitor] = jobs
    return job

  def _tell_positions(self) -> None:
    for position, job in enumerate(self._in_order(), self._running is not None):
      # The first of an idle queue starts at once and is told so then.
      if position != job.position and position > 0:
        job.position = position
        job.moved(position)


def _do(job: _Job) -> tuple[Any, Exception | None]:
  """Result or error; never raises, since an event loop may not be waiting any more."""
  try:
    job.check()
    return job.work(job.check), None
  except Exception as error:
    return None, error
