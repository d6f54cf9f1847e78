"""What the user sees while images are explained: estimate, progress, results."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterator, Mapping
from typing import SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import (
  BarColumn,
  MofNCompleteColumn,
  Progress,
  TextColumn,
  TimeRemainingColumn,
)

from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.cli import streams
from cawe_jax.cli.lines import one_line, path_line
from cawe_jax.engine import programs
from cawe_jax.explaining import emptiness, optimality
from cawe_jax.explaining.one import Callback
from cawe_jax.explaining.one import Progress as Seen
from cawe_jax.types import Explanation

# A forward and backward pass costs two forward passes, and the measured time is about
# five times what the matrix products alone would take (docs/benchmarks.md).
_MULTIPLE_OF_THE_FLOOR = 2 * 5


class _Console(Console):
  """Lines on standard error, which may be closed or full; then there are none."""

  def __init__(self, *, quiet: bool):
    super().__init__(
      stderr=True, quiet=quiet, highlight=False, soft_wrap=True, emoji=False
    )

  def show(self, text: str) -> None:
    """Print a line as it is."""
    try:
      self.print(text, markup=False)
    except OSError:
      streams.discard(sys.stderr)

  def on_broken_pipe(self) -> None:
    """Nobody reads on; rich would end the process."""
    streams.discard(sys.stderr)


class Messages:
  """Lines on standard error, or silence.

  Args:
    quiet: Say nothing but errors.
  """

  def __init__(self, quiet: bool):
    self.console = _Console(quiet=quiet)
    self.errors = _Console(quiet=False)
    self.num_errors = 0

  def say(self, text: str) -> None:
    """Print a line."""
    self.console.show(one_line(text))

  def error(self, text: str) -> None:
    """Print one line that something failed, and count it."""
    self.num_errors += 1
    self.errors.show(f"cawe: error: {one_line(text)}")

  def result(self, path: str) -> None:
    """Print what was written, on standard output.

    That nobody reads it any more, as under ``| head -1``, is no error.
    """
    error = streams.write_line(path_line(path), sys.stdout)
    if error is not None and not isinstance(error, BrokenPipeError):
      self.error(
        f"the names of the results cannot be printed ({error.strerror}); the files are "
        "whole"
      )

  @contextlib.contextmanager
  def progress(self, title: str, num_steps: int) -> Iterator[Callback]:
    """A progress bar with loss, rate and time left, as a callback of `explain`."""
    columns = (
      TextColumn("{task.description}"),
      BarColumn(bar_width=24),
      MofNCompleteColumn(),
      TextColumn("{task.fields[numbers]}"),
      TimeRemainingColumn(elapsed_when_finished=True),
    )
    # A log gets no bar: rich would leave an empty line there for each.
    hidden = not self.console.is_terminal
    with Progress(
      *columns, console=self.console, transient=True, disable=hidden
    ) as bar:
      task = bar.add_task(escape(one_line(title)), total=num_steps, numbers="compiling")

      def callback(seen: Seen) -> None:
        history = seen.history
        loss = np.nanmedian(_last(history.objective))
        rate = np.nanmedian(_last(history.rate))
        numbers = f"loss {loss:.4f}  rate {100 * rate:.2f} %"
        if seen.step == seen.num_steps:
          numbers += "  judging the mask"
        bar.update(task, completed=seen.step, total=seen.num_steps, numbers=numbers)

      yield callback


def describe(name: str, target_name: str, explanation: Explanation) -> str:
  """The line that a finished image gets."""
  score, kept = _scores(explanation)
  notices = (emptiness.notice(explanation), optimality.doubt(explanation))
  said = [text[0].lower() + text[1:-1] for text in notices if text]
  remarks = "  " + "; ".join(said) if said else ""
  multiplier = float(explanation.lagrange_multiplier)
  return (
    f"{name}: {target_name} ({score})  "
    f"λ {multiplier:g}  rate {100 * float(explanation.rate):.2f} %  "
    f"distortion {_small(explanation.distortion)} ± "
    f"{_small(explanation.distortion_standard_error)}  {kept}{remarks}"
  )


def _small(value: SupportsFloat) -> str:
  """With four decimals, or two digits of what these would not show.

  Example:
    >>> _small(0.01462), _small(0.00003217), _small(0.0)
    ('0.0146', '3.2e-05', '0.0000')
  """
  number = float(value)
  return f"{number:.2g}" if 0 < abs(number) < 1e-3 else f"{number:.4f}"


def describe_bounds(numbers: Mapping[str, float], confidence: float) -> str:
  """What ``--confidence`` prints; bounds that there are not are left out.

  Example:
    >>> numbers = {
    ...   "distortion_bound": 0.03001,
    ...   "retained_probability_bound": 0.8651,
    ...   "retained_agreement_bound": 0.9701,
    ...   "bound_draws": 256,
    ... }
    >>> print(describe_bounds(numbers, 0.95))  # doctest: +NORMALIZE_WHITESPACE
    with 95 % confidence, at least 86 % of the probability is retained, at least 97 % of
    draws keep the class, the expected distortion is at most 0.0301 (256 draws)
  """
  retained, agreement = (
    math.floor(100 * numbers[name]) if np.isfinite(numbers[name]) else None
    for name in ("retained_probability_bound", "retained_agreement_bound")
  )
  said = []
  if retained is not None:
    said.append(f"at least {retained} % of the probability is retained")
  if agreement is not None:
    said.append(f"at least {agreement} % of draws keep the class")
  distortion = numbers["distortion_bound"]
  if np.isfinite(distortion):
    said.append(
      f"the expected distortion is at most {math.ceil(1e4 * distortion) / 1e4}"
    )
  bounds = ", ".join(said) or "nothing is known"
  draws = int(numbers["bound_draws"])
  return f"with {100 * confidence:g} % confidence, {bounds} ({draws} draws)"


def _scores(explanation: Explanation) -> tuple[str, str]:
  """What is said of the target: on the image, and kept under noise."""
  if explanation.is_regression:
    value, noisy = explanation.score, explanation.score_with_noise
    return f"value {float(value):.4g}", f"rest replaced {float(noisy):.4g}"
  retained = float(explanation.retained_probability)
  kept = "n/a" if np.isnan(retained) else f"{100 * retained:.0f} %"
  return f"p = {probability(explanation.probability)}", f"retained {kept}"


def is_guess(explanation: Explanation, num_classes: int) -> bool:
  """Whether the class's probability is within 0.01 of a guess among all classes."""
  return float(explanation.probability) < 1 / num_classes + 0.01


def probability(value: SupportsFloat) -> str:
  """With two decimals, or as many as it takes to show one digit.

  Example:
    >>> probability(0.876), probability(0.00123)
    ('0.88', '0.001')
  """
  number = float(value)
  return f"{number:.2f}" if not 0 < number < 0.01 else f"{number:.1g}"


def estimate_seconds(
  classifier: Classifier, image_shape: tuple[int, int, int], evaluations: int
) -> float:
  """A guess, before anything is compiled, of how long the evaluations take.

  The classifier's operations are counted, and the machine's rate is measured on a
  matrix product. Good to a factor of three.
  """
  shape = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  analysis = programs.network.lower(classifier, shape).cost_analysis()
  operations = float((analysis or {}).get("flops", 1e9))
  matrix = jnp.ones((1024, 1024))
  product = jax.jit(jnp.matmul)
  product(matrix, matrix).block_until_ready()
  start = time.perf_counter()
  for _ in range(5):
    product(matrix, matrix).block_until_ready()
  rate = 5 * 2 * 1024**3 / (time.perf_counter() - start)
  return evaluations * operations * _MULTIPLE_OF_THE_FLOOR / rate


def duration(seconds: float) -> str:
  """A readable length of time.

  Example:
    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
  """
  if seconds < 100:
    return f"{seconds:.0f} s"
  return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _last(values: np.ndarray) -> np.ndarray:
  """The last 10 steps that were done, of all images."""
  return values[:, -10:]
