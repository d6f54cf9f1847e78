"""How tests visit a playground: a page's end of a connection, a server, requests."""

import asyncio
import base64
import contextlib
import json
import socket
import threading
import time

import numpy as np
from tiny_network import tiny_classifier
from websockets.asyncio import client as websocket_client

from cawe_jax import recipes
from cawe_jax.playground.app import create_app
from cawe_jax.playground.serve import make_server
from cawe_jax.playground.settings import Settings

SHAPE = (32, 32)
ORIGIN = "http://localhost"


def tiny_settings(num_steps=4, **changes):
  """A network of two layers, two images, and a recipe of as many steps as asked for."""
  rng = np.random.default_rng(0)
  # Smooth images, so that masks have something to find.
  coarse = rng.uniform(size=(2, 4, 4, 3)).astype(np.float32)
  images = coarse.repeat(8, axis=1).repeat(8, axis=2)
  settings = Settings(
    tiny_classifier((*SHAPE, 3)),
    {"first": images[0], "second": images[1]},
    recipes.fast()._replace(num_steps=num_steps),
    shipped=None,
  )
  return settings._replace(**changes)


def connect(client):
  """A connection as the page opens it; starlette's client has another host."""
  return client.websocket_connect(
    "/ws", headers={"host": "localhost", "origin": ORIGIN}
  )


class Page:
  """The browser's end of a connection."""

  def __init__(self, websocket):
    self.websocket = websocket

  def ask(self, message):
    """Send a request; all its answers."""
    self.websocket.send_json(message)
    answers = []
    while not answers or answers[-1]["type"] in ("queued", "progress"):
      answers.append(self.websocket.receive_json())
      assert answers[-1]["id"] == message["id"]
    return answers


@contextlib.contextmanager
def serving(settings):
  """A real server on a free port; its address."""
  with socket.create_server(("127.0.0.1", 0)) as listener:
    port = listener.getsockname()[1]
    server = make_server(create_app(settings))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    while not server.started:
      assert thread.is_alive()
      time.sleep(0.01)
    yield f"127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def open_page(address, **options):
  """A page's connection to a real server."""
  options = {"origin": f"http://{address}", "close_timeout": 1.0} | options
  return websocket_client.connect(f"ws://{address}/ws", **options)


async def receive(websocket, *kinds):
  """The next message of a kind."""
  while (message := json.loads(await websocket.recv()))["type"] not in kinds:
    pass
  return message


@contextlib.asynccontextmanager
async def connection(address, **options):
  """A connection of which every byte is the test's; its reader and its writer."""
  host, port = address.split(":")
  reader, writer = await asyncio.open_connection(host, int(port), **options)
  try:
    yield reader, writer
  finally:
    writer.transport.abort()


def opening(address):
  """The bytes that open a page's connection."""
  return (
    f"GET /ws HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
  ).encode()


def frame(message):
  """A message as the bytes of a frame; its mask is zero."""
  data = json.dumps(message).encode()
  return b"\x81\xfe" + len(data).to_bytes(2, "big") + bytes(4) + data


def bits(keep):
  """A mask as the page sends it."""
  return base64.b64encode(np.packbits(keep).tobytes()).decode()


def draw(request_id=1, **changes):
  """A valid predict request."""
  keep = np.zeros(SHAPE, bool)
  keep[8:24, 8:24] = True
  return {
    "type": "predict",
    "id": request_id,
    "image": {"sample": "first"},
    "mask": bits(keep),
    "filling": "adaptive-gaussian",
    "draws": 8,
    "seed": 3,
  } | changes


def explain(request_id=1, **changes):
  """A valid explain request."""
  return {
    "type": "explain",
    "id": request_id,
    "image": {"sample": "first"},
    "method": "pixel-rde",
    "lagrange_multiplier": 1.0,
  } | changes
