"""What a rude visitor can do to the page: one function for each kind of load.

Each runs until it is cancelled, and sets an event when it is under way. They come from
this machine's first address, so that a visitor of another is somebody else.
"""

import asyncio
import contextlib
import itertools
import json

import hostile_images
import image_files
import numpy as np
from visits import connection, explain, open_page, opening, receive
from websockets.exceptions import WebSocketException

from cawe_jax.playground import uploads
from cawe_jax.playground.jobs import MAX_WAITING

PING = b"\x89\x80" + bytes(4)


def upload_head(address, length):
  """How an upload begins."""
  head = f"POST /uploads HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n"
  return f"{head}Content-Length: {length}\r\n\r\n".encode()


async def decompression(address, started):
  """Files that are small and take hours to decode, one after the other."""
  files = [
    hostile_images.shared_tiles(),
    hostile_images.plain_comments(),
    hostile_images.jpeg_segments(),
    hostile_images.jpeg_scans(),
  ]
  await _at_once(started, *(_upload_for_ever(address, data) for data in files))


async def many_pixels(address, started):
  """A PNG of 200 kB with 50 million pixels of four channels, again and again."""
  data = hostile_images.wide_transparency()
  await _at_once(started, *(_upload_for_ever(address, data) for _ in range(2)))


async def trickling_uploads(address, started):
  """As many uploads as are read at once, of a byte a second each."""

  async def trickle():
    with contextlib.suppress(OSError):
      async with connection(address) as (_, writer):
        writer.write(upload_head(address, 2**20))
        while True:
          writer.write(b"x")
          await writer.drain()
          await asyncio.sleep(1)

  many = [_for_ever(trickle) for _ in range(uploads.MAX_CONCURRENT_UPLOADS)]
  await _at_once(started, *many)


async def many_uploads(address, started):
  """Twice as many small images as are kept."""
  data = image_files.encode(np.zeros((32, 32), np.uint8))
  taken = b"HTTP/1.1 200 OK"
  await _at_once(started, *(_upload_for_ever(address, data, taken) for _ in range(4)))


async def silent_connections(address, started):
  """Connections on which nothing is said, more than there are file handles."""
  await _hold(address, started, [b""] * 600)


async def silent_pages(address, started):
  """Open pages, more than there are file handles."""
  await _hold(address, started, [opening(address)] * 700)


async def pings(address, started):
  """Empty frames as fast as they are taken, on as many connections as it takes."""

  async def flood():
    async with connection(address) as (reader, writer):
      writer.write(opening(address))
      await reader.readuntil(b"\r\n\r\n")
      while not writer.is_closing():
        writer.write(PING * 1000)
        await writer.drain()
        await asyncio.sleep(0)

  await _at_once(started, *(_for_ever(flood) for _ in range(4)))


async def new_settings(address, started):
  """Explanations with programs of their own, each left once they are compiled."""
  wishes = _cartoons(perturbation=("adaptive-gaussian", "zeros", "mean"))

  async def try_one():
    async with open_page(address) as page:
      await _ask(page, next(wishes), "progress", "explanation")

  for _ in range(3):
    await try_one()
  await _at_once(started, _for_ever(try_one))


async def closed_tabs(address, started):
  """Pages that are closed as soon as they have asked for something to compile."""
  wishes = _cartoons(distortion=("kl", "lost-share", "l2"))

  async def ask_and_leave():
    async with open_page(address) as page:
      await _ask(page, next(wishes), "queued")
      await asyncio.sleep(0.2)

  await _at_once(started, *(_for_ever(ask_and_leave) for _ in range(4)))


async def many_jobs(address, started):
  """As many jobs as a page may have waiting, on thirty pages."""
  seeds = itertools.count(1)

  async def ask():
    async with open_page(address, max_queue=None) as page:
      for i in range(MAX_WAITING):
        await page.send(json.dumps({"type": "signal", "id": i, "name": "delta"}))
        wish = explain(MAX_WAITING + i, seed=next(seeds), fresh=True)
        await page.send(json.dumps(wish))
      for _ in range(2 * MAX_WAITING):
        # Where too many wait, the last one is refused.
        while json.loads(await page.recv())["type"] in ("queued", "progress"):
          pass

  await _at_once(started, *(_for_ever(ask) for _ in range(30)))


async def abandoned_downloads(address, started):
  """Figures that are asked for and not waited for."""
  async with open_page(address) as page:
    await page.send(json.dumps(explain(seed=9, fresh=True)))
    token = (await receive(page, "explanation"))["result"]

  async def leave():
    async with connection(address) as (_, writer):
      path = f"/results/{token}.png"
      writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
      await writer.drain()
      await asyncio.sleep(0.05)

  await _at_once(started, *(_for_ever(leave) for _ in range(20)))


KINDS = [
  decompression,
  many_pixels,
  trickling_uploads,
  many_uploads,
  silent_connections,
  silent_pages,
  pings,
  new_settings,
  closed_tabs,
  many_jobs,
  abandoned_downloads,
]


def _cartoons(**choices):
  """For ever, requests of which twelve in a row have programs of their own."""
  ((name, values),) = choices.items()
  combinations = itertools.product(("haar", "db2", "db3", "db4"), values)
  for wavelet, value in itertools.cycle(combinations):
    yield explain(method="cartoonx", wavelet=wavelet, fresh=True, **{name: value})


async def _ask(page, wish, *kinds):
  """Ask, and wait for an answer of a kind; a refusal is a mistake of the test."""
  await page.send(json.dumps(wish))
  found = await receive(page, *kinds, "error")
  assert found["type"] != "error", found


async def _at_once(started, *loads):
  """All of them, until this is cancelled."""
  async with asyncio.TaskGroup() as group:
    for load in loads:
      group.create_task(load)
    await asyncio.sleep(1)
    started.set()


async def _for_ever(once):
  """Again and again, whatever the server does with the connection."""
  while True:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, WebSocketException):
      await once()
    await asyncio.sleep(0)


async def _upload_for_ever(address, data, answer=b""):
  async def upload():
    async with connection(address) as (reader, writer):
      writer.write(upload_head(address, len(data)) + data)
      assert (await reader.read()).startswith(answer)

  await _for_ever(upload)


async def _hold(address, started, beginnings):
  """Open one connection for each beginning, and again what the server closes."""

  async def hold(beginning):
    async with connection(address) as (reader, writer):
      writer.write(beginning)
      while await reader.read(2**12):
        pass
      await asyncio.sleep(1)

  await _at_once(started, *(_for_ever(lambda b=b: hold(b)) for b in beginnings))
