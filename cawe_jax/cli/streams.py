"""Standard output and error that are closed, full, or of an alphabet of 256 letters.

What is printed is a report of work, not the work: that it cannot be printed must
neither stop the work nor count as its failure.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO


def accept_any_name() -> None:
  """Print letters that a stream's encoding lacks by number; file names have any."""
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
      stream.reconfigure(errors="backslashreplace")


def write_line(text: str, stream: TextIO | None) -> OSError | None:
  """Print a line at once.

  Args:
    text: The line.
    stream: Standard output or error; None where that is closed.

  Returns:
    Why it was not printed, the first time; after that the stream goes nowhere.
  """
  if stream is None:
    return None
  try:
    print(text, file=stream, flush=True)
  except OSError as error:
    discard(stream)
    return error
  return None


def report(text: str, written: str) -> None:
  """Print what was done, on standard output; whoever has stopped reading is no error.

  Args:
    text: What to print.
    written: The file that was written before.

  Raises:
    ValueError: It cannot be printed; the error says that the file is whole.
  """
  error = write_line(text, sys.stdout)
  if error is not None and not isinstance(error, BrokenPipeError):
    raise ValueError(
      f"standard output cannot be written ({error.strerror}); the file {written!r} is "
      "whole"
    )


def flush(stream: TextIO | None) -> OSError | None:
  """Print what a stream still holds; as :func:`write_line`."""
  if stream is None:
    return None
  try:
    stream.flush()
  except OSError as error:
    discard(stream)
    return error
  return None


def discard(stream: TextIO) -> None:
  """Send what a stream still holds, and all that follows, nowhere.

  Otherwise Python tries once more when it ends, complains, and has an exit code of its
  own for it.
  """
  nowhere = os.open(os.devnull, os.O_WRONLY)
  os.dup2(nowhere, stream.fileno())
  os.close(nowhere)
