"""The queue alone: turns, positions, cancelling."""

import asyncio
import threading

import pytest

from cawe_jax.playground.jobs import MAX_WAITING, Caller, Queue, Stopped


def run(test, **options):
  """A test inside the event loop, with a working queue."""

  async def inside():
    queue = Queue(**options)
    async with queue.working():
      await asyncio.wait_for(test(queue), 10)

  asyncio.run(inside())


def caller(visitor, address="here"):
  return Caller(address, visitor)


class Gate:
  """Work that waits to be let through, and writes down that it ran."""

  def __init__(self, done):
    self.done = done
    self.started = threading.Event()
    self.let = threading.Event()

  def work(self, name):
    def work(check):
      self.started.set()
      while not self.let.wait(0.01):
        check()
      self.done.append(name)
      return name

    return work


async def settle():
  for _ in range(5):
    await asyncio.sleep(0)


def test_visitors_take_turns():
  async def test(queue):
    done = []
    gate = Gate(done)
    jobs = [
      ("a", "a1"),
      ("a", "a2"),
      ("a", "a3"),
      ("b", "b1"),
      ("c", "c1"),
      ("b", "b2"),
    ]
    tasks = []
    for visitor, name in jobs:
      tasks.append(asyncio.create_task(queue.run(caller(visitor), gate.work(name))))
      await settle()
    gate.let.set()
    assert await asyncio.gather(*tasks) == [name for _, name in jobs]
    # a1 ran before the others came; then everybody's first, then the seconds.
    assert done == ["a1", "a2", "b1", "c1", "a3", "b2"]

  run(test)


def test_addresses_take_turns_too():
  """However many pages one opens, another address comes next."""

  async def test(queue):
    done = []
    gate = Gate(done)
    many = [(caller(page), f"many{page}") for page in range(5)]
    callers = [*many, (caller("tab", "there"), "one"), (many[1][0], "more")]
    tasks = []
    for who, name in callers:
      tasks.append(asyncio.create_task(queue.run(who, gate.work(name))))
      await settle()
    gate.let.set()
    await asyncio.gather(*tasks)
    assert done == ["many0", "many1", "one", "many2", "many3", "many4", "more"]

  run(test)


def test_a_full_queue_refuses_the_one_with_most():
  async def test(queue):
    gate = Gate([])
    running = asyncio.create_task(queue.run(caller("a"), gate.work("running")))
    await asyncio.to_thread(gate.started.wait)
    who = [caller("a"), caller("a"), caller("b"), caller("c", "there")]
    tasks = []
    for i, one in enumerate(who):
      tasks.append(asyncio.create_task(queue.run(one, gate.work(i))))
      await settle()
    with pytest.raises(ValueError, match="too many requests wait"):
      await tasks[1]
    gate.let.set()
    assert await asyncio.gather(running, tasks[0], *tasks[2:]) == ["running", 0, 2, 3]

  run(test, capacity=3)


def test_positions_count_down_to_zero():
  async def test(queue):
    gate = Gate([])
    seen = {name: [] for name in "xyz"}
    tasks = []
    for name in "xyz":
      job = queue.run(caller(name), gate.work(name), seen[name].append)
      tasks.append(asyncio.create_task(job))
      await settle()
    assert (seen["x"], seen["y"], seen["z"]) == ([0], [1], [2])
    tasks[1].cancel()
    await settle()
    assert seen["z"] == [2, 1]
    gate.let.set()
    assert await tasks[0] == "x"
    assert await tasks[2] == "z"
    assert seen["z"] == [2, 1, 0]
    assert seen["y"] == [1]

  run(test)


def test_cancelling_stops_running_work_and_drops_waiting_work():
  async def test(queue):
    done, stopped = [], threading.Event()
    gate = Gate(done)

    def work(check):
      gate.started.set()
      try:
        while True:
          check()
      except Stopped:
        stopped.set()
        raise

    running = asyncio.create_task(queue.run(caller("a"), work))
    waiting = asyncio.create_task(queue.run(caller("a"), gate.work("never")))
    await asyncio.to_thread(gate.started.wait)
    waiting.cancel()
    running.cancel()
    assert await asyncio.to_thread(stopped.wait, 5)
    gate.let.set()
    assert await queue.run(caller("b"), gate.work("next")) == "next"
    assert done == ["next"]

  run(test)


def test_an_error_is_the_jobs_own():
  async def test(queue):
    def fail(check):
      raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
      await queue.run(caller("a"), fail)
    assert await queue.run(caller("a"), lambda check: 1) == 1

  run(test)


def test_a_visitor_may_not_fill_the_queue():
  async def test(queue):
    gate = Gate([])
    first = asyncio.create_task(queue.run(caller("a"), gate.work("first")))
    await asyncio.to_thread(gate.started.wait)
    more = [
      asyncio.create_task(queue.run(caller("a"), gate.work(i)))
      for i in range(MAX_WAITING)
    ]
    await settle()
    with pytest.raises(ValueError, match="wait already"):
      await queue.run(caller("a"), gate.work("one more"))
    other = asyncio.create_task(queue.run(caller("b"), gate.work("b")))
    gate.let.set()
    await asyncio.gather(first, other, *more)

  run(test)


def test_leaving_cancels_everything():
  async def inside():
    queue, gate = Queue(), Gate([])
    async with queue.working():
      tasks = [
        asyncio.create_task(queue.run(caller(i), gate.work(i))) for i in range(3)
      ]
      await asyncio.to_thread(gate.started.wait)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(r, asyncio.CancelledError) for r in results)
    assert gate.done == []

  asyncio.run(inside())
