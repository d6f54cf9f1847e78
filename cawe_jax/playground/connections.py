"""Connections to the server: how many there may be, and what each may do.

uvicorn keeps a connection that says nothing for ever, answers everybody with 503 as
soon as there are many, and does not count WebSockets. Here whoever comes anew gets in:
where there are too many connections, one is closed that has not been used for longest.
The header of a request must be complete in time, and a page may not send more frames
than a visitor can have use for.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import (
  WebSocketsSansIOProtocol,
)

MAX_REQUESTS, MAX_REQUESTS_OF_ADDRESS = 128, 64
"""Connections that are open at once and are no pages."""
MAX_PAGES, MAX_PAGES_OF_ADDRESS = 128, 64
"""Open pages; each of an address may have a job that comes before a newcomer's."""
REQUEST_SECONDS = 10.0
"""Time until the header of a request must be complete."""
FRAMES_PER_SECOND = 100
"""Frames that a page may go on sending; at first it may send four seconds' worth."""

_PIECE = 1024
"""Bytes of frames that are looked at before it is asked whether there are too many."""


class Request(H11Protocol):
  """A connection that asks for something, or may be about to."""

  _deadline: asyncio.TimerHandle | None = None
  last_use = 0.0

  @property
  def is_waiting(self) -> bool:
    """Whether no request of it is being answered."""
    return self.cycle is None or self.cycle.response_complete

  def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
    """Wait for a request, and close another if there are too many."""
    super().connection_made(transport)
    self.last_use = self.loop.time()
    self._watch()
    _make_room(self, MAX_REQUESTS, MAX_REQUESTS_OF_ADDRESS)

  def data_received(self, data: bytes) -> None:
    """Take bytes of a request."""
    super().data_received(data)
    self._watch()

  def on_response_complete(self) -> None:
    """Wait for the next request."""
    self.last_use = self.loop.time()
    super().on_response_complete()

  def handle_websocket_upgrade(self, event: h11.Request) -> None:
    """Leave the connection to a page."""
    super().handle_websocket_upgrade(event)
    self._watch()

  def connection_lost(self, exc: Exception | None) -> None:
    """Wait for nothing any more."""
    super().connection_lost(exc)
    self._watch()

  def _watch(self) -> None:
    """Have a deadline exactly while the header of a request is not complete."""
    waiting = self in self.connections and self.is_waiting
    if waiting and self._deadline is None:
      self._deadline = self.loop.call_later(REQUEST_SECONDS, _end, self)
    elif not waiting and self._deadline is not None:
      self._deadline.cancel()
      self._deadline = None


class Page(WebSocketsSansIOProtocol):
  """An open page."""

  last_use = 0.0
  is_waiting = True

  def connection_made(self, transport: asyncio.BaseTransport) -> None:
    """Close another page if there are too many."""
    super().connection_made(transport)
    self.last_use = self.loop.time()
    self._credit = 4.0 * FRAMES_PER_SECOND
    _make_room(self, MAX_PAGES, MAX_PAGES_OF_ADDRESS)

  def data_received(self, data: bytes) -> None:
    """Take bytes of frames, as many as there is credit for."""
    for start in range(0, len(data), _PIECE):
      if not self.transport.is_closing():
        super().data_received(data[start : start + _PIECE])

  def handle_ping(self) -> None:
    """Answer, if there is credit."""
    if self._may_send():
      super().handle_ping()

  def handle_pong(self, event: Any) -> None:
    """Note it, if there is credit."""
    if self._may_send():
      super().handle_pong(event)

  def handle_cont(self, event: Any) -> None:
    """Take a part of a message, if there is credit."""
    if self._may_send():
      super().handle_cont(event)

  def handle_text(self, event: Any) -> None:
    """Take a message, if there is credit."""
    if self._may_send():
      super().handle_text(event)

  def _may_send(self) -> bool:
    """Whether there is credit for one more frame; without it the connection ends."""
    now = self.loop.time()
    earned = FRAMES_PER_SECOND * (now - self.last_use)
    self._credit = min(self._credit + earned, 4.0 * FRAMES_PER_SECOND) - 1
    self.last_use = now
    if self._credit < 0:
      _end(self)
    return self._credit >= 0


def _make_room(newcomer: Request | Page, most: int, most_of_address: int) -> None:
  """Close another connection of the newcomer's kind if there are too many."""
  kind = type(newcomer)
  others = [
    c
    for c in newcomer.connections
    if type(c) is kind and c is not newcomer and not c.transport.is_closing()
  ]
  neighbours = [c for c in others if _host(c) == _host(newcomer)]
  if len(neighbours) >= most_of_address:
    others = neighbours
  elif len(others) < most:
    return
  _end(min(others, key=lambda c: (not c.is_waiting, c.last_use)))


def _host(connection: Any) -> str | None:
  return connection.client and connection.client[0]


def _end(connection: Request | Page) -> None:
  """Close at once, without waiting until what was written has been read."""
  connection.transport.abort()
