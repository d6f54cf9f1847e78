"""What the user sees while images are explained: estimate, progress, results."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import (
  BarColumn,
  MofNCompleteColumn,
  Progress,
  TextColumn,
  TimeRemainingColumn,
)

from cawe_jax import optimality, programs
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.explain import Callback
from cawe_jax.explain import Progress as Seen
from cawe_jax.types import Explanation

# A forward and backward pass costs two forward passes, and the measured time is about
# five times what the matrix products alone would take (docs/benchmarks.md).
_MULTIPLE_OF_THE_FLOOR = 2 * 5


class Messages:
  """Lines on standard error, or silence.

  Args:
    quiet: Say nothing but errors.
  """

  def __init__(self, quiet: bool):
    self.console = Console(
      stderr=True, quiet=quiet, highlight=False, soft_wrap=True, emoji=False
    )
    self.errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

  def say(self, text: str) -> None:
    """Print a line."""
    self.console.print(text, markup=False)

  def error(self, text: str) -> None:
    """Print one line that something failed."""
    self.errors.print(f"cawe: error: {' '.join(text.split())}", markup=False)

  @contextmanager
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
      task = bar.add_task(title, total=num_steps, numbers="compiling")

      def callback(seen: Seen) -> None:
        history = seen.history
        loss = np.nanmedian(_last(history.objective))
        rate = np.nanmedian(_last(history.rate))
        numbers = f"loss {loss:.4f}  rate {100 * rate:.2f} %"
        bar.update(task, completed=seen.step, total=seen.num_steps, numbers=numbers)

      yield callback


def describe(name: str, target_name: str, explanation: Explanation) -> str:
  """The line that a finished image gets."""
  score, kept = _scores(explanation)
  empty = (
    "  nearly empty: at this multiplier the best mask keeps (almost) nothing"
    if float(explanation.rate) < 1e-4
    else ""
  )
  doubt = optimality.doubt(explanation)
  doubtful = f"  {doubt[0].lower()}{doubt[1:-1]}" if doubt else ""
  multiplier = float(explanation.lagrange_multiplier)
  return (
    f"{name}: {target_name} ({score})  "
    f"λ {multiplier:g}  rate {100 * float(explanation.rate):.2f} %  "
    f"distortion {float(explanation.distortion):.4f} ± "
    f"{float(explanation.distortion_standard_error):.4f}  {kept}{empty}{doubtful}"
  )


def _scores(explanation: Explanation) -> tuple[str, str]:
  """What is said of the target: on the image, and kept under noise."""
  if explanation.is_regression:
    value, noisy = explanation.score, explanation.score_with_noise
    return f"value {float(value):.4g}", f"with noise {float(noisy):.4g}"
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
