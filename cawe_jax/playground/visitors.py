"""One connection: frames in, answers out, and nothing that a slow client can hold up.

Requests of a visitor run beside each other. Their answers go through an
:class:`Outbox`, where a newer progress replaces an older one that was not sent yet, so
that a client that reads slowly gets fewer pictures, not older ones. A client that does
not read at all is left after :data:`STALL_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from cawe_jax.playground import messages
from cawe_jax.playground.answers import Answers
from cawe_jax.playground.jobs import Caller, Stopped
from cawe_jax.playground.messages import Cancelled, Error

MAX_OPEN = 16
"""Requests of one connection that are not answered yet."""
MAX_UNSENT = 64
"""Answers that wait for one connection; who lets more come together is left."""
STALL_SECONDS = 20.0

_POLICY_VIOLATION, _TOO_BIG = 1008, 1009
# What sending raises when nobody is there (any more) to read.
_GONE = (TimeoutError, WebSocketDisconnect, OSError, RuntimeError)


class Outbox:
  """Messages to one client in order, the newest progress only.

  Args:
    send: Sends a frame, and waits as long as the client does not read.
  """

  def __init__(self, send: Callable[[str], Awaitable[None]]):
    self._send = send
    self._messages: dict[Any, Any] = {}
    self._count = 0
    self._filled = asyncio.Event()
    self._closed = False

  def put(self, message: Any) -> None:
    """Queue a message; one that ends a request replaces what was said before."""
    if self._closed:
      return
    for kind in (type(message),) if not message.is_last else tuple(_PASSING):
      self._messages.pop((kind, message.id), None)
    self._count += 1
    key = self._count if message.is_last else (type(message), message.id)
    self._messages[key] = message
    self._filled.set()

  def close(self) -> None:
    """Send nothing any more, neither what waits nor what comes."""
    self._closed = True
    self._messages.clear()

  async def deliver(self) -> None:
    """Send until the client has left, or does not read what it asked for."""
    with contextlib.suppress(*_GONE):
      while len(self._messages) <= MAX_UNSENT:
        await self._filled.wait()
        if not self._messages:
          self._filled.clear()
          continue
        message = self._messages.pop(next(iter(self._messages)))
        async with asyncio.timeout(STALL_SECONDS):
          await self._send(messages.encode(message))


_PASSING = (messages.Queued, messages.Progress)


class Visitor:
  """One open page.

  Args:
    answers: What answers the requests.
    websocket: Its connection, accepted.
  """

  def __init__(self, answers: Answers, websocket: WebSocket):
    self._answers = answers
    self._websocket = websocket
    self._outbox = Outbox(websocket.send_text)
    self._open: dict[int, asyncio.Task] = {}
    self._caller = Caller(websocket.client and websocket.client.host, self)

  async def converse(self) -> None:
    """Answer until either side leaves; then everything is cancelled."""
    reading = asyncio.create_task(self._read())
    sending = asyncio.create_task(self._outbox.deliver())
    try:
      await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
    finally:
      tasks = [reading, sending, *self._open.values()]
      for task in tasks:
        task.cancel()
      await asyncio.wait(tasks)

  async def _read(self) -> None:
    while True:
      message = await self._websocket.receive()
      if message["type"] == "websocket.disconnect":
        return
      frame = message.get("text")
      if frame is None:
        return await self._leave("binary frames are not allowed", _POLICY_VIOLATION)
      # At least as many bytes as characters.
      if len(frame) > messages.MAX_FRAME_BYTES:
        return await self._leave(
          f"message is longer than {messages.MAX_FRAME_BYTES} bytes", _TOO_BIG
        )
      try:
        self._take(messages.decode(frame))
      except ValueError as error:
        return await self._leave(str(error), _POLICY_VIOLATION)

  def _take(self, request: Any) -> None:
    if isinstance(request, messages.Cancel):
      task = self._open.pop(request.id, None)
      if task is not None:
        task.cancel()
      self._outbox.put(Cancelled(request.id))
    elif request.id in self._open:
      raise ValueError(f"id {request.id} belongs to a request that is still open")
    elif len(self._open) >= MAX_OPEN:
      self._outbox.put(Error(request.id, f"{MAX_OPEN} of your requests are open"))
    else:
      self._open[request.id] = asyncio.create_task(self._answer(request))

  async def _answer(self, request: Any) -> None:
    this = asyncio.current_task()
    loop = asyncio.get_running_loop()

    def put(message: Any) -> None:
      # What comes after a cancellation or the last answer is not wanted any more.
      if self._open.get(request.id) is this:
        self._outbox.put(message)

    def put_from_anywhere(message: Any) -> None:
      loop.call_soon_threadsafe(put, message)

    try:
      answer = await self._answers.answer(request, self._caller, put_from_anywhere)
    except ValueError as error:
      answer = Error(request.id, " ".join(str(error).split()))
    except Stopped:
      return
    except Exception:
      traceback.print_exc(file=sys.stderr)
      answer = Error(request.id, "the server failed here; its terminal says why")
    put(answer)
    if self._open.get(request.id) is this:
      del self._open[request.id]

  async def _leave(self, reason: str, code: int) -> None:
    """Say why and close; whatever else waits for this client is not sent."""
    self._outbox.close()
    with contextlib.suppress(*_GONE):
      async with asyncio.timeout(STALL_SECONDS):
        await self._websocket.send_text(messages.encode(Error(None, reason)))
        await self._websocket.close(code)
