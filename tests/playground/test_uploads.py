"""Uploads that are slow, hostile or many, and what others have meanwhile."""

import asyncio
import io
import resource
import threading
from concurrent.futures import ThreadPoolExecutor

import hostile_images
import pytest
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient
from visits import ORIGIN, Page, connect, draw

from cawe_jax.files.decoding import Decoder
from cawe_jax.playground import answers, app, tasks, uploads
from cawe_jax.playground.app import create_app
from cawe_jax.playground.jobs import Caller
from cawe_jax.playground.store import Store
from cawe_jax.playground.uploads import TooLong, TooSlow, Uploads


async def stalled(data=b"x"):
  yield data
  await asyncio.Event().wait()


async def whole(data=bytes(2**20)):
  yield data


def run(test):
  return asyncio.run(asyncio.wait_for(test(), 10))


def test_who_sends_slowest_makes_room():
  async def test():
    reading = Uploads()
    sizes = [2**19] * (uploads.MAX_CONCURRENT_UPLOADS - 1) + [1]
    many = [asyncio.create_task(reading.read(stalled(bytes(n)))) for n in sizes]
    await asyncio.sleep(0.1)
    assert len(await reading.read(whole())) == 2**20
    done, _ = await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED)
    assert done == {many[-1]}
    with pytest.raises(TooSlow):
      await many[-1]
    for task in many:
      task.cancel()
    await asyncio.wait(many)

  run(test)


def test_an_upload_is_bounded_in_time_and_length(monkeypatch):
  async def test():
    with pytest.raises(TooSlow):
      await Uploads().read(stalled())
    with pytest.raises(TooLong):
      await Uploads().read(whole(bytes(uploads.MAX_UPLOAD_BYTES + 1)))

  monkeypatch.setattr(uploads, "UPLOAD_SECONDS", 0.05)
  run(test)


def encoded(kind):
  file = io.BytesIO()
  Image.new("RGB", (40, 40), (200, 30, 30)).save(file, kind)
  return file.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "PPM"])
def test_formats_that_no_browser_makes_are_refused(client, kind):
  answer = client.post("/uploads", content=encoded(kind))
  assert answer.status_code == 415
  assert "allowed are JPEG, PNG, WEBP" in answer.json()["error"]


@pytest.mark.parametrize("kind", answers.UPLOAD_FORMATS)
def test_formats_of_cameras_and_browsers_are_taken(client, kind):
  assert client.post("/uploads", content=encoded(kind)).status_code == 200


def test_while_a_file_is_decoded_others_are_served(settings, monkeypatch):
  """Also by the one queue for what takes a moment, however long the file takes."""
  started, let = threading.Event(), threading.Event()

  class Slow(Decoder):
    def decode(self, *arguments):
      started.set()
      let.wait(30)
      raise ValueError("image 'upload': takes too long")

  monkeypatch.setattr(answers, "Decoder", Slow)
  with (
    TestClient(create_app(settings), base_url=ORIGIN) as client,
    connect(client) as websocket,
    ThreadPoolExecutor() as others,
  ):
    client.headers["origin"] = ORIGIN
    hostile = others.submit(client.post, "/uploads", content=encoded("PNG"))
    assert started.wait(10)
    try:
      signal = {"type": "signal", "id": 1, "name": "delta"}
      assert Page(websocket).ask(signal)[-1]["type"] == "signal"
      assert Page(websocket).ask(draw(2))[-1]["type"] == "prediction"
      assert client.get("/").status_code == 200
      assert not hostile.done()
    finally:
      let.set()
    assert hostile.result(30).status_code == 415


def test_a_large_upload_leaves_no_memory_behind(settings, monkeypatch):
  def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

  monkeypatch.setattr(answers, "Decoder", lambda: Decoder(60.0))
  data = hostile_images.wide_transparency()
  with TestClient(create_app(settings), base_url=ORIGIN) as client:
    assert client.post("/uploads", content=encoded("PNG")).status_code == 200
    before = peak()
    assert client.post("/uploads", content=data).status_code == 200
  # Decoded it takes 200 MiB; none of them are in this process.
  assert peak() - before < 50


def test_one_owner_does_not_push_out_what_others_have():
  store = Store(capacity=4)
  mine = store.add("mine", owner="me")
  many = [store.add(i, owner="greedy") for i in range(10)]
  assert store.get(mine) == "mine"
  assert [store.get(token) for token in many] == [None] * 7 + [7, 8, 9]
  # Whoever else comes takes a place of the one who has most.
  other = store.add("other", owner="you")
  assert (store.get(mine), store.get(other)) == ("mine", "other")
  assert store.get(many[7]) is None


class Leaver:
  """A request whose client has gone."""

  async def receive(self):
    return {"type": "http.disconnect"}


def test_downloads_that_nobody_waits_for_are_not_made(settings, monkeypatch):
  """Tabs that were closed do not hold up those that are open."""
  made, let = [], threading.Event()

  def make_file(classifier, result, suffix):
    let.wait(10)
    made.append(result)
    return b"file"

  monkeypatch.setattr(tasks, "make_file", make_file)
  found = answers.Answers(settings)

  def ask(result, caller):
    return found.file(found._results.add(result), "png", caller)

  async def test():
    async with found.open():
      first = asyncio.create_task(ask("first", Caller("here", 1)))
      await asyncio.sleep(0)
      for i in range(20):
        with pytest.raises(HTTPException):
          await app._while_connected(Leaver(), ask("left", Caller("here", i)))
      last = asyncio.create_task(ask("last", Caller("here", 0)))
      let.set()
      await asyncio.gather(first, last)

  run(test)
  assert made == ["first", "last"]


def test_while_a_figure_is_drawn_signals_are_answered(settings, monkeypatch):
  let = threading.Event()
  monkeypatch.setattr(tasks, "make_file", lambda *arguments: let.wait(30) and b"file")
  found = answers.Answers(settings)

  async def test():
    async with found.open():
      token = found._results.add("result")
      figure = asyncio.create_task(found.file(token, "png", Caller("here", 1)))
      await asyncio.sleep(0)
      try:
        signal = answers.messages.Analyse(1, name="delta")
        await asyncio.wait_for(found.answer(signal, Caller("there", 2), print), 5)
        assert not figure.done()
      finally:
        let.set()
      assert await figure == b"file"

  run(test)
