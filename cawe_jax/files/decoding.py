"""Decoding files that nobody vouches for, in a process that can be ended.

A file of a megabyte can keep a decoder busy for hours, and while it is inside a library
of C nothing in its own process can stop it: neither Ctrl-C nor a limit of time. So the
shell and the page have their images decoded by a :class:`Decoder`, a process that
imports Pillow and NumPy alone (not JAX), decodes one image after the other, and ends
itself when one takes too long or too much memory. The next image gets a new process.

Questions and answers are a line of JSON each, followed by bytes. Nothing that comes
back is executed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL

from cawe_jax.files import images
from cawe_jax.files.images import Resize, Size

MAX_SECONDS = 5.0
"""Time that decoding one image may take; 50 million pixels take less than two."""
MAX_BYTES = 2**30
"""Memory that the process may have, where the system can limit it (Linux does)."""

# The package as a folder alone: what is in its `__init__` imports JAX.
_START = """
import sys, types
package = types.ModuleType("cawe_jax")
package.__path__ = [sys.argv[1]]
sys.modules["cawe_jax"] = package
from cawe_jax.files import decoding
decoding.answer_questions(sys.stdin.buffer, sys.stdout.buffer, float(sys.argv[2]))
"""


# Where its two packages are, wherever this process found them.
_FOLDERS = [str(Path(p.__path__[0]).parent) for p in (np, PIL)]


class Decoder:
  """A process that decodes images one at a time; use it in a ``with`` block.

  It starts with the block, beside whatever else is to be done before the first image,
  and ends with it.

  Args:
    seconds: Time that one image may take.

  Example:
    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (40, 30), "white").save(file, "PNG")
    >>> with Decoder() as decoder:
    ...   decoder.decode(file.getvalue(), "white.png", 24).shape
    (24, 24, 3)
  """

  def __init__(self, seconds: float = MAX_SECONDS):
    self._seconds = seconds
    self._process: subprocess.Popen[bytes] | None = None

  def __enter__(self) -> Decoder:
    self._started()
    return self

  def __exit__(self, *error: object) -> None:
    self.close()

  def close(self) -> None:
    """End the process at once, whatever it does."""
    if self._process is not None:
      # Leaving the block closes the pipes; what is not written yet has no reader.
      with contextlib.suppress(BrokenPipeError), self._process as process:
        process.kill()
      self._process = None

  def load(
    self, path: str | os.PathLike[str], size: Size, resize: Resize | None = None
  ) -> np.ndarray:
    """What :func:`cawe_jax.load_image` returns, or raises, within the limits.

    Raises:
      ValueError: The file is missing, unreadable, too large, damaged or not an image,
        or takes too much time or memory.
    """
    return self.decode(images.read_image_file(path), os.fspath(path), size, resize)

  def decode(
    self,
    data: bytes,
    name: str,
    size: Size,
    resize: Resize | None = None,
    formats: Sequence[str] = images.FORMATS,
  ) -> np.ndarray:
    """Decode the bytes of an image file and fit it to a size.

    Args:
      data: The whole file, at most 64 MiB.
      name: What errors call the image.
      size: As for :func:`cawe_jax.files.images.prepare_image`.
      resize: As there.
      formats: Those that are allowed, of :data:`cawe_jax.files.images.FORMATS`.

    Returns:
      The image in [0, 1], float32 ``[H, W, 3]``; of an NPY file ``[H, W, C]``.

    Raises:
      ValueError: It is not an image of these formats, is damaged or too large, or takes
        too much time or memory.
      OSError: The process cannot be started.
    """
    question = {"name": name, "size": size, "resize": resize, "formats": list(formats)}
    start = time.monotonic()
    try:
      process = self._started()
      with contextlib.suppress(BrokenPipeError):
        _write(process.stdin, question, data)
      answer = _read(process.stdout)
    except BaseException:  # Ctrl-C above all.
      self.close()
      raise
    if answer is None:
      late = time.monotonic() - start >= self._seconds
      with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)  # It ends by itself, with a status of its own.
      self.close()
      cause = _cause(process.returncode, late, self._seconds)
      raise ValueError(f"image {name!r}: {cause}")
    head, pixels = answer
    if "refused" in head:
      raise ValueError(head["refused"])
    return np.frombuffer(bytearray(pixels), np.float32).reshape(head["shape"])

  def _started(self) -> subprocess.Popen[bytes]:
    if self._process is None or self._process.poll() is not None:
      self.close()
      folder = str(Path(__file__).parents[1])
      self._process = subprocess.Popen(
        # Without the working folder, where a file may have the name of a module.
        [sys.executable, "-P", "-c", _START, folder, str(self._seconds)],
        env={
          **os.environ,
          "PYTHONPATH": os.pathsep.join(_FOLDERS),
          # Each thread would reserve memory, and none is used.
          "OPENBLAS_NUM_THREADS": "1",
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
      )
    return self._process


def answer_questions(questions: IO[bytes], answers: IO[bytes], seconds: float) -> None:
  """What the process does until nobody asks any more."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Who asks decides when it ends.
  _limit_memory()
  while (question := _read(questions)) is not None:
    head, data = question
    # A thread without Python that ends the process, also if nobody waits for it.
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
      image = _decode(data, **head)
      answer: tuple[dict[str, Any], Any] = {"shape": image.shape}, image.data
    except ValueError as error:
      answer = {"refused": str(error)}, b""
    except MemoryError:
      answer = {"refused": f"image {head['name']!r}: {_too_much_memory()}"}, b""
    faulthandler.cancel_dump_traceback_later()
    _write(answers, *answer)


def _decode(
  data: bytes, name: str, size: Any, resize: Any, formats: list[str]
) -> np.ndarray:
  rule = None if resize is None else Resize(*resize)
  return images.decode_to_size(data, name, size, rule, formats)


def _limit_memory() -> None:
  with contextlib.suppress(ImportError, ValueError, OSError):
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))


def _cause(status: int, late: bool, seconds: float) -> str:
  """Why the process ended without an answer."""
  if late:
    return f"takes more than {seconds:g} s to decode, which is the limit"
  return f"damaged, or {_too_much_memory()} (the decoder ended with status {status})"


def _too_much_memory() -> str:
  return (
    f"takes more than {MAX_BYTES >> 20} MiB of memory to decode, which is the limit"
  )


def _write(stream: IO[bytes] | None, head: dict[str, Any], data: Any = b"") -> None:
  assert stream is not None
  num_bytes = memoryview(data).nbytes
  stream.write(json.dumps([head, num_bytes]).encode() + b"\n")
  stream.write(data)
  stream.flush()


def _read(stream: IO[bytes] | None) -> tuple[dict[str, Any], bytes] | None:
  """What the other side wrote; None if it ended before it was done."""
  assert stream is not None
  line = stream.readline()
  if not line:
    return None
  head, num_bytes = json.loads(line)
  data = stream.read(num_bytes)
  return (head, data) if len(data) == num_bytes else None
