"""Connections that are held, silent, or used for more than anybody needs."""

import contextlib
import json
import socket
import sys
import time
import urllib.request

import pytest
from visits import draw, frame, opening, serving

from cawe_jax.playground import connections


@pytest.fixture(scope="module")
def address(make_settings):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(connections, "REQUEST_SECONDS", 1.0)
    with serving(make_settings()) as address:
      yield address


@pytest.fixture
def connect(address):
  """Opens connections, which are closed after the test."""
  with contextlib.ExitStack() as stack:

    def make(data=b"", source="127.0.0.1"):
      host, port = address.split(":")
      opened = socket.create_connection((host, int(port)), 10, (source, 0))
      opened.sendall(data)
      return stack.enter_context(opened)

    yield make


def is_closed(connection):
  """Whether the server closes a connection before a generous limit."""
  with contextlib.suppress(ConnectionResetError):
    while connection.recv(2**16):
      pass
  return True


def get(address, path="/"):
  return urllib.request.urlopen(f"http://{address}{path}", timeout=10).status


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_what_does_not_become_a_request_is_closed(connect, sent):
  assert is_closed(connect(sent))


def test_an_open_page_may_be_silent(address, connect):
  page = connect(opening(address))
  assert page.recv(2**12).startswith(b"HTTP/1.1 101")
  page.settimeout(2 * connections.REQUEST_SECONDS)
  with pytest.raises(TimeoutError):
    page.recv(1)


def test_however_many_are_held_the_page_comes(address, connect, monkeypatch):
  monkeypatch.setattr(connections, "REQUEST_SECONDS", 100.0)
  held = [connect() for _ in range(connections.MAX_REQUESTS_OF_ADDRESS + 20)]
  start = time.monotonic()
  assert get(address) == 200
  assert time.monotonic() - start < 5
  for connection in held[:20]:  # Those that were silent for longest.
    assert is_closed(connection)
  held[-1].setblocking(False)
  with pytest.raises(BlockingIOError):
    held[-1].recv(1)


def test_however_many_pages_are_open_another_opens(address, connect):
  held = []
  for _ in range(connections.MAX_PAGES_OF_ADDRESS + 5):
    held.append(connect(opening(address)))
    assert held[-1].recv(2**12).startswith(b"HTTP/1.1 101")
  for page in held[:5]:
    assert is_closed(page)
  held[-1].sendall(frame(draw(mask="AAAA")))
  assert b"error" in held[-1].recv(2**12)


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is this machine there")
def test_one_address_does_not_close_the_pages_of_others(address, connect):
  other = connect(opening(address), source="127.0.0.2")
  assert other.recv(2**12).startswith(b"HTTP/1.1 101")
  for _ in range(connections.MAX_PAGES_OF_ADDRESS + 5):
    page = connect(opening(address))
    assert page.recv(2**12).startswith(b"HTTP/1.1 101")
  other.sendall(frame(draw(mask="AAAA")))
  assert b"error" in other.recv(2**12)


@pytest.mark.parametrize(
  "rude", [b"\x89\x80" + bytes(4), b"\x8a\x80" + bytes(4), b"\x00\x80" + bytes(4)]
)
def test_a_flood_of_frames_ends_its_connection_alone(address, connect, rude):
  page = connect(opening(address))
  assert page.recv(2**12).startswith(b"HTTP/1.1 101")
  if rude[0] == 0:
    page.sendall(b"\x01\x80" + bytes(4))  # A message that is never complete.
  with contextlib.suppress(ConnectionError):
    page.sendall(rude * 100_000)
  assert is_closed(page)
  assert get(address) == 200


def test_a_flood_of_messages_ends_its_connection_alone(address, connect):
  page = connect(opening(address))
  with contextlib.suppress(ConnectionError):
    page.sendall(frame({"type": "cancel", "id": 1}) * 20_000)
  assert is_closed(page)
  assert get(address) == 200


def test_what_a_visitor_sends_is_never_too_much(address, connect):
  """A request for every movement of a hand, for some seconds."""
  page = connect(opening(address)).makefile("rwb")
  while page.readline().strip():
    pass
  for i in range(connections.FRAMES_PER_SECOND):
    page.write(frame(draw(i, mask="AAAA")))
    page.flush()
    kind, size = page.read(2)
    assert kind == 0x81  # Text; a short one, whose length is one byte.
    assert json.loads(page.read(size))["id"] == i
