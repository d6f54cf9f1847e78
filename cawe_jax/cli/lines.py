"""Text of others (names of files, messages of errors) as one line of a terminal."""

from __future__ import annotations

import os
import sys

MAX_CHARACTERS = 1000
"""Longest line; what is wrong with a checkpoint can be said of each of its tensors."""


def one_line(text: str) -> str:
  r"""Text without line breaks and without characters that would command a terminal.

  Longer text keeps its start and its end.

  Example:
    >>> one_line("two\nlines, a bell: \a")
    'two lines, a bell: \\x07'
    >>> len(one_line("a" * 10**6))
    1000
  """
  if len(text) > 10 * MAX_CHARACTERS:  # Before the work on each character.
    text = text[: 5 * MAX_CHARACTERS] + text[-5 * MAX_CHARACTERS :]
  line = "".join(map(_visible, " ".join(text.split())))
  if len(line) <= MAX_CHARACTERS:
    return line
  end = MAX_CHARACTERS // 4
  return f"{line[: MAX_CHARACTERS - end - 5]} ... {line[-end:]}"


def path_line(path: str | os.PathLike[str]) -> str:
  """What standard output gets of the path of a file that was written.

  A program that reads this needs the name as it is; a terminal would obey it.
  """
  name = os.fspath(path)
  is_terminal = sys.stdout is not None and sys.stdout.isatty()
  return one_line(name) if is_terminal else name


def _visible(character: str) -> str:
  if character.isprintable():
    return character
  return character.encode("unicode_escape").decode()
