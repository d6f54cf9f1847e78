"""A queue for work that must be done one piece at a time, fair between visitors.

Optimisers share the machine badly, so one thread does them all. Visitors take turns: a
visitor with four jobs waits as long for the second as any newcomer for the first. So do
the addresses that visitors come from, since one address can open many pages. All
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
from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from typing import Any, NamedTuple

MAX_WAITING = 4
"""Jobs of one visitor that may wait."""

MAX_JOBS = 128
"""Jobs that may wait in all; of more, the one whose turn would come last is refused."""

Check = Callable[[], None]
"""Raises :class:`Stopped` in work whose result nobody wants any more."""


class Stopped(Exception):
  """Raised inside work that was cancelled."""


class Caller(NamedTuple):
  """Whose turn a job takes: a visitor, and the address that it comes from."""

  address: Hashable
  visitor: Hashable


@dataclasses.dataclass(eq=False)
class _Job:
  caller: Caller
  work: Callable[[Check], Any]
  moved: Callable[[int], None]
  result: asyncio.Future
  stop: threading.Event = dataclasses.field(default_factory=threading.Event)
  position: int = -1

  def check(self) -> None:
    if self.stop.is_set():
      raise Stopped


class Queue:
  """Jobs that wait for one thread; use it inside ``async with queue.working():``.

  Args:
    capacity: Jobs that may wait in all.
  """

  def __init__(self, capacity: int = MAX_JOBS) -> None:
    self._capacity = capacity
    self._waiting: dict[Hashable, dict[Hashable, deque[_Job]]] = {}
    self._running: _Job | None = None
    self._arrival = asyncio.Event()

  async def run(
    self,
    caller: Caller,
    work: Callable[[Check], Any],
    moved: Callable[[int], None] = lambda position: None,
  ) -> Any:
    """Do work in the thread when its turn comes.

    Args:
      caller: Whose turn it takes.
      work: Called with a :data:`Check`, which it calls often.
      moved: Called with the number of jobs that come before, whenever that changes; at
        last with 0, when the work starts.

    Returns:
      What ``work`` returned, or raises what it raised.

    Raises:
      ValueError: The visitor has too many jobs waiting, or all visitors together have.
    """
    visitors = self._waiting.setdefault(caller.address, {})
    jobs = visitors.setdefault(caller.visitor, deque())
    if len(jobs) >= MAX_WAITING:
      raise ValueError(f"{MAX_WAITING} of your requests wait already; cancel one first")
    job = _Job(caller, work, moved, asyncio.get_running_loop().create_future())
    jobs.append(job)
    order = self._in_order()
    if len(order) > self._capacity:
      self._refuse(order[-1])
    self._tell_positions()
    self._arrival.set()
    try:
      return await job.result
    finally:
      job.stop.set()
      if self._drop(job):
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
    return _in_turns(_in_turns(jobs.values()) for jobs in self._waiting.values())

  def _take(self) -> _Job | None:
    """The next job; its visitor's and address's next come after all others' first."""
    order = self._in_order()
    if not order:
      return None
    address, visitor = order[0].caller
    self._drop(order[0])
    if address in self._waiting:  # To the end, where the others of them wait on.
      visitors = self._waiting[address] = self._waiting.pop(address)
      if visitor in visitors:
        visitors[visitor] = visitors.pop(visitor)
    return order[0]

  def _refuse(self, job: _Job) -> None:
    self._drop(job)
    if not job.result.done():
      busy = ValueError("too many requests wait here; try again in a moment")
      job.result.set_exception(busy)

  def _drop(self, job: _Job) -> bool:
    """Whether the job waited; now it does not."""
    address, visitor = job.caller
    jobs = self._waiting.get(address, {}).get(visitor, deque())
    if job not in jobs:
      return False
    jobs.remove(job)
    if not jobs:
      del self._waiting[address][visitor]
    if not self._waiting[address]:
      del self._waiting[address]
    return True

  def _tell_positions(self) -> None:
    for position, job in enumerate(self._in_order(), self._running is not None):
      # The first of an idle queue starts at once and is told so then.
      if position != job.position and position > 0:
        job.position = position
        job.moved(position)


def _in_turns(rows: Iterable[Iterable[_Job]]) -> list[_Job]:
  """The first of each row, then the second of each, and so on."""
  rounds = zip_longest(*rows)
  return [job for jobs in rounds for job in jobs if job is not None]


def _do(job: _Job) -> tuple[Any, Exception | None]:
  """Result or error; never raises, since an event loop may not be waiting any more."""
  try:
    job.check()
    return job.work(job.check), None
  except Exception as error:
    return None, error
