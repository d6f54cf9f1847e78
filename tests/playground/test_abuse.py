"""A real server under many, slow and rude clients, and a normal visitor afterwards."""

import asyncio
import json
import resource
import socket
import time

import numpy as np
import pytest
import websockets
from visits import draw, explain, frame, open_page, opening, receive, serving

from cawe_jax.playground import answers, tasks, visitors
from cawe_jax.playground.jobs import MAX_WAITING


@pytest.fixture(scope="module")
def address(make_settings):
  # Long enough that a run is never over before it is cancelled.
  settings = make_settings(num_steps=200_000)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(visitors, "STALL_SECONDS", 1.0)
    with serving(settings) as address:
      run(visit(address, [draw()]))  # compiles
      yield address


def run(coroutine):
  return asyncio.run(asyncio.wait_for(coroutine, 60))


async def visit(address, requests):
  """Send requests on one connection; the last answer to each."""
  async with open_page(address) as websocket:
    for request in requests:
      await websocket.send(json.dumps(request))
    last = {}
    while len(last) < len(requests):
      message = json.loads(await websocket.recv())
      if message["type"] not in ("queued", "progress"):
        last[message["id"]] = message
    return last


def test_fifty_visitors_at_once_get_what_each_would_alone(address):
  async def test():
    visits = [visit(address, [draw(seed=s % 5), draw(2, seed=9)]) for s in range(50)]
    return await asyncio.gather(*visits)

  found = run(test())
  alone = run(visit(address, [draw(seed=s) for s in [3]]))[1]
  distortions = [answer[1]["distortion"] for answer in found]
  assert distortions[3] == alone["distortion"]
  for seed in range(5):
    assert len({distortions[i] for i in range(seed, 50, 5)}) == 1
  assert len(set(distortions)) == 5
  assert len({answer[2]["distortion"] for answer in found}) == 1


def test_visitors_take_turns_with_one_who_asks_for_everything(address):
  async def test():
    order = []

    async def greedy():
      requests = [draw(i, seed=i, draws=64) for i in range(MAX_WAITING)]
      async with open_page(address) as websocket:
        for request in requests:
          await websocket.send(json.dumps(request))
        started.set()
        for _ in requests:
          order.append(("greedy", (await receive(websocket, "prediction"))["id"]))

    async def modest():
      await started.wait()
      await visit(address, [draw(seed=99)])
      order.append(("modest", 1))

    started = asyncio.Event()
    await asyncio.gather(greedy(), modest())
    return order

  order = run(test())
  # One job of the other's may run, and one more may have its turn first.
  assert order.index(("modest", 1)) <= 2


def test_twenty_cancelled_jobs_leave_the_machine_free(address):
  async def test():
    async with open_page(address) as websocket:
      for i in range(20):
        await websocket.send(json.dumps(explain(i, seed=i)))
        await receive(websocket, "progress")
        await websocket.send(json.dumps({"type": "cancel", "id": i}))
        await receive(websocket, "cancelled")
      start = time.monotonic()
      await websocket.send(json.dumps(draw(99)))
      await receive(websocket, "prediction")
      return time.monotonic() - start

  # One chunk of evaluations of the tiny network takes milliseconds.
  assert run(test()) < 5


def test_a_closed_tab_stops_its_work(address):
  async def test():
    for i in range(3):
      async with open_page(address) as websocket:
        await websocket.send(json.dumps(explain(1, seed=50 + i)))
        await receive(websocket, "progress")
    start = time.monotonic()
    await visit(address, [draw()])
    return time.monotonic() - start

  assert run(test()) < 5


def test_more_than_may_wait_is_refused(address):
  async def test():
    async with open_page(address) as websocket:
      for i in range(MAX_WAITING + 2):
        await websocket.send(json.dumps(explain(i, seed=i)))
      error = await receive(websocket, "error")
      return error["id"], error["message"]

  number, message = run(test())
  # The first may run by then, or still wait.
  assert number in (MAX_WAITING, MAX_WAITING + 1)
  assert "wait already" in message


def test_progress_comes_not_too_often_and_counts_up(address):
  async def test():
    async with open_page(address) as websocket:
      await websocket.send(json.dumps(explain(1, seed=77)))
      steps, times = [], []
      for _ in range(4):
        steps.append((await receive(websocket, "progress"))["step"])
        times.append(time.monotonic())
      return steps, times

  steps, times = run(test())
  assert steps == sorted(set(steps))
  # Three gaps; a message may be late by what the machine was busy with.
  assert times[-1] - times[0] > 2 * tasks.PROGRESS_SECONDS


def stalled_socket(address):
  """A page that asks for much and never reads."""
  host, port = address.split(":")
  client = socket.create_connection((host, int(port)))
  client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
  client.sendall(opening(address))
  return client


def test_stalled_clients_are_left_and_hold_nobody_up(address):
  stalled = [stalled_socket(address) for _ in range(20)]
  try:
    time.sleep(0.2)
    for client in stalled:
      for i in range(4):
        client.sendall(frame(draw(i, draws=64, seed=i)))
    start = time.monotonic()
    found = run(visit(address, [draw(draws=64)]))
    assert found[1]["type"] == "prediction"
    # It waits for one turn of each at most.
    assert time.monotonic() - start < 20
  finally:
    for client in stalled:
      client.close()


def test_a_client_that_reads_nothing_is_closed():
  async def test():
    sent = []

    async def send(frame):
      sent.append(frame)
      await asyncio.Event().wait()

    outbox = visitors.Outbox(send)
    outbox.put(answers.messages.Cancelled(1))
    await asyncio.wait_for(outbox.deliver(), 5)
    return sent

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(visitors, "STALL_SECONDS", 0.05)
    assert len(run(test())) == 1


def test_an_outbox_keeps_the_newest_progress_and_every_answer():
  messages = answers.messages

  async def test():
    sent = []

    async def send(frame):
      sent.append(json.loads(frame))

    outbox = visitors.Outbox(send)
    outbox.put(messages.Queued(1, 2))
    for step in range(1000):
      outbox.put(messages.Progress(1, step, 1000, "", 0.5, 0.5))
      outbox.put(messages.Progress(2, step, 1000, "", 0.5, 0.5))
    outbox.put(messages.Cancelled(2))
    outbox.put(messages.Error(3, "no"))
    with pytest.raises(TimeoutError):
      await asyncio.wait_for(outbox.deliver(), 0.1)
    return [(m["type"], m["id"], m.get("step")) for m in sent]

  assert run(test()) == [
    ("queued", 1, None),
    ("progress", 1, 999),
    ("cancelled", 2, None),
    ("error", 3, None),
  ]


def test_a_closed_outbox_sends_nothing():
  messages = answers.messages

  async def test():
    sent = []

    async def send(frame):
      sent.append(frame)

    outbox = visitors.Outbox(send)
    outbox.put(messages.Queued(1, 0))
    outbox.close()
    outbox.put(messages.Cancelled(1))
    with pytest.raises(TimeoutError):
      await asyncio.wait_for(outbox.deliver(), 0.1)
    return sent

  assert run(test()) == []


def test_an_outbox_is_bounded():
  messages = answers.messages

  async def test():
    outbox = visitors.Outbox(lambda frame: asyncio.sleep(0))
    for i in range(visitors.MAX_UNSENT + 1):
      outbox.put(messages.Cancelled(i))
    await asyncio.wait_for(outbox.deliver(), 1)

  run(test())


def test_memory_does_not_grow_with_requests(address):
  rng = np.random.default_rng(0)

  def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

  async def many():
    for _ in range(4):
      await visit(
        address, [draw(i, seed=int(rng.integers(2**32)), draws=64) for i in range(4)]
      )

  run(many())
  before = peak()
  run(many())
  run(many())
  # The peak of this process, server and client together, in MiB.
  assert peak() - before < 30


def test_a_frame_that_is_much_too_long_closes_its_connection_alone(address):
  async def test():
    async with open_page(address) as websocket:
      await websocket.send(" " * 10**6)
      with pytest.raises(websockets.ConnectionClosed) as closed:
        await receive(websocket, "nothing")
      return closed.value.rcvd.code

  assert run(test()) == 1009


def test_after_all_this_a_normal_visitor_is_served(address):
  assert run(visit(address, [draw()]))[1]["type"] == "prediction"
