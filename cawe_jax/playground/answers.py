"""A running playground: its photographs, queues and caches, and the answers they give.

Four queues, so that what is done in a moment (signals, known explanations) never waits
for what takes seconds: networks and optimisers, uploads, and files to download. Uploads
are decoded in a process of their own, which is ended when a file takes too long.
Memory is bounded by the stores' capacities, by one job of each queue at a time, by the
jobs that may wait, and by the programs that are kept (`playground.programs`).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import AsyncIterator, Callable, Hashable
from typing import Any

import numpy as np

from cawe_jax.files.compilation import compilation_that_asks, tidy_compilation_cache
from cawe_jax.files.decoding import Decoder
from cawe_jax.methods.names import find
from cawe_jax.playground import catalogue, messages, paths, signal_tasks, tasks
from cawe_jax.playground.catalogue import Photograph
from cawe_jax.playground.jobs import Caller, Check, Queue
from cawe_jax.playground.messages import ImageChoice
from cawe_jax.playground.pictures import to_webp
from cawe_jax.playground.programs import Programs
from cawe_jax.playground.settings import Settings, input_shape
from cawe_jax.playground.store import Store

MAX_UPLOADS = 64
"""Prepared images that are kept; 0.6 MB each at 224 x 224 pixels."""
MAX_WAITING_UPLOADS = 8
"""Files that wait to be decoded, of at most 16 MiB each."""
UPLOAD_FORMATS = ("JPEG", "PNG", "WEBP")
"""What cameras and browsers write; each format more is one more way to be attacked."""
MAX_RESULTS = 32
"""Explanations that are kept; 2 MB each at 224 x 224 pixels."""

Put = Callable[[Any], None]
"""Takes a message for the page; may be called from any thread."""


class Answers:
  """Everything that a playground holds while it runs; use it in ``async with open()``.

  Args:
    settings: The settings of the playground.
  """

  def __init__(self, settings: Settings):
    self.settings = settings
    self.samples = {
      name: catalogue.look(settings.classifier, image)
      for name, image in settings.samples.items()
    }
    self.pictures = {n: to_webp(p.image) for n, p in self.samples.items()}
    self.shipped = paths.read(settings, self.samples)
    self.catalogue = catalogue.make_catalogue(
      settings, self.samples, paths.offer(self.shipped)
    ) | {"signals": signal_tasks.offer()}
    self._uploads: Store[Photograph] = Store(MAX_UPLOADS)
    self._results: Store[tasks.Result] = Store(MAX_RESULTS)
    self._decoder = Decoder()
    self._slow, self._quick, self._drawing = Queue(), Queue(), Queue()
    self._decoding = Queue(MAX_WAITING_UPLOADS)
    self._programs = Programs(tidy_compilation_cache)

  @contextlib.asynccontextmanager
  async def open(self) -> AsyncIterator[None]:
    """Work while the block lasts."""
    with self._decoder:
      async with contextlib.AsyncExitStack() as stack:
        for queue in (self._slow, self._quick, self._drawing, self._decoding):
          await stack.enter_async_context(queue.working())
        yield

  async def answer(self, request: Any, caller: Caller, put: Put) -> Any:
    """The last message that a request gets; ``put`` takes those before.

    Raises:
      ValueError: The request is refused, in one line.
    """
    match request:
      case messages.Predict():
        return await self._predict(request, caller, put)
      case messages.FindMask():
        return await self._find_mask(request, caller, put)
      case messages.Explain():
        return await self._explain(request, caller, put)
      case messages.Analyse():
        return await self._quick.run(
          caller, lambda check: signal_tasks.analyse(request)
        )
    raise AssertionError(request)

  async def upload(self, data: bytes, caller: Caller) -> tuple[str, Photograph]:
    """Keep an uploaded image; its token, and what the network says of it.

    Raises:
      ValueError: It is no image, or none that is allowed.
    """
    settings = self.settings
    shape = input_shape(settings.classifier)
    image = await self._decoding.run(
      caller,
      lambda check: self._decoder.decode(
        data, "upload", shape, settings.resize, UPLOAD_FORMATS
      ),
    )
    photograph = await self._quick.run(
      caller, lambda check: catalogue.look(settings.classifier, image)
    )
    return self._uploads.add(photograph, owner=caller.address), photograph

  def uploaded(self, token: str) -> np.ndarray | None:
    """The image of an upload, or None."""
    photograph = self._uploads.get(token)
    return None if photograph is None else photograph.image

  async def file(self, token: str, suffix: str, caller: Caller) -> bytes | None:
    """A file of a result: ``png`` or ``npz``; None if there is no such result."""
    result = self._results.get(token)
    if result is None:
      return None
    return await self._drawing.run(
      caller,
      lambda check: tasks.make_file(self.settings.classifier, result, suffix),
    )

  async def _run_network(
    self,
    caller: Caller,
    settings: Hashable,
    work: Callable[[Check], Any],
    moved: Callable[[int], None],
  ) -> Any:
    """Work with the compiled programs of some settings, which it can leave half made.

    Who has left the page does not want the programs either.
    """

    def bounded(check: Check) -> Any:
      with self._programs.using(settings), compilation_that_asks(check):
        return work(check)

    return await self._slow.run(caller, bounded, moved)

  def _photograph(self, choice: ImageChoice) -> Photograph:
    if (choice.sample is None) == (choice.upload is None):
      raise ValueError("image must have a sample or an upload, and not both")
    if choice.sample is not None:
      return find("sample", self.samples, choice.sample)
    photograph = self._uploads.get(choice.upload or "")
    if photograph is None:
      raise ValueError("upload is not kept any more; upload the image again")
    return photograph

  async def _predict(
    self, request: messages.Predict, caller: Caller, put: Put
  ) -> messages.Prediction:
    photograph = self._photograph(request.image)
    _check_drawing(request)
    keep = _unpack(request.mask, photograph.image.shape[:2])
    return await self._run_network(
      caller,
      ("predict", request.filling),
      lambda check: tasks.predict(self.settings, photograph, request, keep),
      _mover(request.id, put),
    )

  async def _find_mask(
    self, request: messages.FindMask, caller: Caller, put: Put
  ) -> messages.FoundMask:
    photograph = self._photograph(request.image)
    _check_drawing(request)
    explain = messages.Explain(request.id, request.image, request.method)
    wish = catalogue.complete(explain, self.settings)
    catalogue.check_budget(request.budget, wish, self.settings)
    return await self._run_network(
      caller,
      ("find", request.method, request.filling),
      lambda check: tasks.find_mask(self.settings, photograph, request, check, put),
      _mover(request.id, put),
    )

  async def _explain(
    self, request: messages.Explain, caller: Caller, put: Put
  ) -> messages.ExplanationMade:
    settings = self.settings
    photograph = self._photograph(request.image)
    wish = catalogue.complete(request, settings)
    if wish.target is not None:
      num_classes = len(photograph.probabilities)
      if not 0 <= wish.target < num_classes:
        raise ValueError(f"target is {wish.target}; allowed is 0 to {num_classes - 1}")
    image = request.image
    key = image.sample, image.upload, wish
    shipped = self.shipped.get((image.sample, wish))
    token = self._results.find(key)
    if token is None and shipped is not None and not request.fresh:
      return await self._quick.run(
        caller,
        lambda check: paths.describe(settings, photograph, wish, shipped, request.id),
      )
    result = None if token is None else self._results.get(token)
    cached = result is not None
    if result is None:
      name = image.sample or "upload"
      programs = wish._replace(
        lagrange_multiplier=0.0, target=None, seed=0, budget=wish.budget and 1
      )
      result = await self._run_network(
        caller,
        programs,
        lambda check: tasks.explain(
          settings, photograph, name, wish, request.id, check, put
        ),
        _mover(request.id, put),
      )
      token = self._results.add(result, key, owner=caller.address)
    return await self._quick.run(
      caller,
      lambda check: tasks.describe(
        settings, photograph, result, request.id, token, cached
      ),
    )


def _mover(request: int, put: Put) -> Callable[[int], None]:
  return lambda position: put(messages.Queued(request, position))


def _check_drawing(request: messages.Predict | messages.FindMask) -> None:
  find("filling", catalogue.PERTURBATIONS, request.filling)
  catalogue.check_draws(request.draws)
  catalogue.check_seed(request.seed)


def _unpack(mask: str, shape: tuple[int, ...]) -> np.ndarray:
  """The pixels to keep, bool ``[H, W]``, from base64."""
  size = int(np.prod(shape))
  try:
    data = base64.b64decode(mask, validate=True)
  except (binascii.Error, ValueError):
    raise ValueError("mask is not base64") from None
  if len(data) != -(-size // 8):
    raise ValueError(
      f"mask has {len(data)} bytes; an image of {shape[0]} x {shape[1]} pixels needs "
      f"{-(-size // 8)}"
    )
  bits = np.unpackbits(np.frombuffer(data, np.uint8), count=size)
  return bits.reshape(shape).astype(bool)
