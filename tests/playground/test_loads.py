"""A page under load: what another visitor waits for, and the memory that is left held.

The server is a process of its own, with as many file handles as a shell may open on a
small machine; the visitor comes from another address. Both limits are absolute, so they
are tested alone (`make test-browser`).
"""

import asyncio
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import image_files
import loads
import numpy as np
import pytest
from visits import connection, draw, explain, open_page, receive

from cawe_jax.files import decoding

pytestmark = [
  pytest.mark.browser,
  pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc, and 127.0.0.2"),
]

WAIT_SECONDS = 2.0
HELD_MIB = 100.0
FILE_HANDLES = 512
OTHER = {"local_addr": ("127.0.0.2", 0)}

SERVER = """
import resource, sys
from pathlib import Path
from visits import tiny_settings
from cawe_jax.playground import paths
from cawe_jax.playground.serve import serve

def make():
  settings, folder = tiny_settings(), Path(sys.argv[1])
  paths.make(settings, "first", "pixel-rde", folder, (1.0, 2.0))
  return settings._replace(shipped=folder)

# Here, as a process cannot fork safely beside JAX's threads.
resource.setrlimit(resource.RLIMIT_NOFILE, 2 * (int(sys.argv[2]),))
serve(make, port=0, say=lambda line: print(line, flush=True))
"""


class Server:
  """A playground in a process of its own."""

  def __init__(self, folder):
    self.errors = folder / "errors.txt"
    with self.errors.open("wb") as errors:
      self.process = subprocess.Popen(
        [sys.executable, "-c", SERVER, folder, str(FILE_HANDLES)],
        env={
          **os.environ,
          "JAX_PLATFORMS": "cpu",
          "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
      )
    line = ""
    while "is at" not in line:
      line = self.process.stdout.readline()
      assert line, self.errors.read_text()
    self.address = line.split("http://")[1].split("/")[0]

  def held(self):
    """Memory of the server and of the process that decodes for it, in MiB."""
    pid = self.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(_resident(number) for number in (pid, *children))

  def close(self):
    self.process.kill()
    self.process.communicate()


def _resident(pid):
  lines = Path(f"/proc/{pid}/status").read_text().splitlines()
  return next(int(s.split()[1]) for s in lines if s.startswith("VmRSS")) / 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory):
  server = Server(tmp_path_factory.mktemp("server"))
  yield server
  server.close()


async def visit(address):
  """The page, a signal and a shipped explanation for another visitor; the seconds."""
  start = time.monotonic()
  async with connection(address, **OTHER) as (reader, writer):
    writer.write(f"GET / HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
  async with open_page(address, **OTHER) as page:
    await page.send(json.dumps({"type": "signal", "id": 1, "name": "delta"}))
    await receive(page, "signal")
    await page.send(json.dumps(explain(2)))
    found = await receive(page, "explanation")
  assert found["cached"]
  assert found["result"] is None  # It is the shipped one.
  return time.monotonic() - start


async def upload(address):
  """A small image of another visitor's is taken; the seconds."""
  start = time.monotonic()
  data = image_files.encode(np.zeros((32, 32), np.uint8))
  async with connection(address, **OTHER) as (reader, writer):
    writer.write(loads.upload_head(address, len(data)) + data)
    answer = await reader.read()
  assert answer.startswith(b"HTTP/1.1 200 OK"), answer[-200:]
  return time.monotonic() - start


async def use_everything(address):
  """What a server holds after ordinary visits is no matter of the load."""
  started = asyncio.Event()
  usual = asyncio.create_task(loads.many_uploads(address, started))
  await started.wait()
  usual.cancel()
  await asyncio.wait([usual])
  async with open_page(address) as page:
    await page.send(json.dumps(draw(1)))
    await receive(page, "prediction")
    await page.send(json.dumps(explain(2, seed=9, fresh=True)))
    await receive(page, "explanation")
  await visit(address)


async def waits(address, load):
  """What three visits take while a load goes on, in seconds."""
  started = asyncio.Event()
  running = asyncio.create_task(load(address, started))
  await asyncio.wait(
    {running, asyncio.create_task(started.wait())},
    timeout=60,
    return_when=asyncio.FIRST_COMPLETED,
  )
  assert started.is_set(), running
  found = []
  for _ in range(3):
    found.append(await asyncio.wait_for(visit(address), 30))
    await asyncio.sleep(0.5)
  uploading = await asyncio.wait_for(upload(address), 30)
  assert not running.done(), running.exception()
  running.cancel()
  await asyncio.wait([running])
  return found, uploading


def run(coroutine):
  # In a thread, as the tests in a browser leave this one with a loop of their own.
  with concurrent.futures.ThreadPoolExecutor(1) as thread:
    return thread.submit(asyncio.run, asyncio.wait_for(coroutine, 150)).result()


@pytest.mark.parametrize("load", loads.KINDS, ids=lambda load: load.__name__)
def test_another_visitor_is_served_and_no_memory_stays(server, load):
  run(use_everything(server.address))
  before = server.held()
  found, uploading = run(waits(server.address, load))
  deadline = time.monotonic() + 20
  while (held := server.held() - before) > HELD_MIB and time.monotonic() < deadline:
    time.sleep(0.5)  # Decoders and connections end a moment later.
  # What else the machine does now and then is no part of it.
  assert statistics.median(found) < WAIT_SECONDS
  # Files that take long are decoded one at a time, and addresses take turns.
  takes_long = load in (loads.decompression, loads.many_pixels)
  assert uploading < WAIT_SECONDS + takes_long * 2 * decoding.MAX_SECONDS
  # The programs of three settings are kept, as those of eight may be.
  assert held < HELD_MIB * (3 if load is loads.new_settings else 1)
  assert server.errors.stat().st_size < 10_000  # A log is no place to fill a disk.
