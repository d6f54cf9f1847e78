"""Which draws of the noise are used for what.

An image's key, a step's number and a draw's index decide a draw of the noise. A search
has at most 2^31 - 1 steps. Whatever else needs draws takes a number from above that, so
that nothing is reported, chosen or checked on draws that something else has used.
"""

from __future__ import annotations

import enum


class Stream(enum.IntEnum):
  """Numbers of steps that no search reaches, each for one purpose."""

  REPORT = 2**32 - 1
  """What is reported of a finished mask; `obfuscate` shows the same draws."""
  EXCHANGE = 2**32 - 2
  """Exchanges of entries of a hard mask are kept if they pay on these."""
  CURVE = 2**32 - 3
  """Points of a rate-distortion curve, which ranks masks that searches have found."""
  TIES = 2**32 - 4
  """The order of equally relevant entries; a number for each entry, not a draw."""
  CHOICE = 2**32 - 5
  """Which of several finished masks is returned."""
  RETAINED = 2**32 - 6
  """Whether a mask on a path of multipliers retains enough of the probability."""
  CHECK = 2**32 - 32
  """The first of the check's groups; it has one number for each of at most 16."""
  BOUNDS = 3 * 2**30
  """The first draw of bounds of what a finished mask holds; each has its own number."""
