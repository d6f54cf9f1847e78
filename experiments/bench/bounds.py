"""How often bounds of ``cawe explain --confidence`` are true, and how near they are.

    python -m experiments.bench.bounds

draws values from laws on [0, 1] whose means are known, 2,000 times each, and bounds the
means with a confidence of 95 %. The second column is how often the bound was true,
where somebody looks after 64, 128, 256 and 512 values and stops at the look that
pleases; the others are how far the bound is from the mean of 512 values, for

- this library's bound, which may be looked at as often as one likes;
- the empirical Bernstein bound of Maurer and Pontil (2009), for one look;
- Hoeffding's, which knows the range alone, for one look.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cawe_jax.metrics import lower_bound
from experiments.bench import machine

LOOKS = (64, 128, 256, 512)


class Law(NamedTuple):
  """A law on [0, 1].

  Attributes:
    draw: A generator and a shape to values.
    mean: The mean.
  """

  draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
  mean: float


LAWS = {
  "1 in 50": Law(lambda rng, shape: rng.random(shape) < 0.02, 0.02),
  "all but 3 %": Law(lambda rng, shape: rng.random(shape) < 0.97, 0.97),
  "always 1": Law(lambda rng, shape: np.ones(shape), 1.0),
  "a coin": Law(lambda rng, shape: rng.random(shape) < 0.5, 0.5),
  "near 0, long tail": Law(lambda rng, shape: rng.beta(0.1, 1.9, shape), 0.05),
  "near 1, long tail": Law(lambda rng, shape: rng.beta(4.5, 0.5, shape), 0.9),
  "0.9, sometimes 0": Law(lambda rng, shape: 0.9 * (rng.random(shape) < 0.95), 0.855),
  "hardly varying": Law(lambda rng, shape: rng.uniform(0.69, 0.71, shape), 0.7),
}


def coverage(
  law: Law, confidence: float, trials: int, looks: tuple[int, ...] = LOOKS
) -> tuple[float, float]:
  """How often the best of the looks' bounds is true, and the last look's distance.

  Args:
    law: What is drawn from.
    confidence: The probability with which each bound should be true.
    trials: The number of times that values are drawn and bounded.
    looks: The numbers of values after which a bound is computed; the last one is the
      number of values in each trial.
  """
  values = law.draw(np.random.default_rng(0), (trials, looks[-1])).astype(float)
  bounds = [lower_bound(values[:, :count], confidence) for count in looks]
  # Rounding of the mean itself: 1 may come out as 1 + 2e-16.
  true = np.mean(np.max(bounds, axis=0) <= law.mean + 1e-12)
  return float(true), float(np.mean(values.mean(1) - bounds[-1]))


def empirical_bernstein(values: np.ndarray, confidence: float) -> np.ndarray:
  """How far Maurer and Pontil's bound is below the mean of ``[..., n]``.

  References:
    Maurer and Pontil, Empirical Bernstein Bounds and Sample Variance Penalization,
    2009, Theorem 4.
  """
  count, log = values.shape[-1], np.log(2 / (1 - confidence))
  variance = values.var(-1, ddof=1)
  return np.sqrt(2 * variance * log / count) + 7 * log / (3 * (count - 1))


def main() -> None:
  """Measure and print."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--trials", type=machine.at_least_one, default=2000, help="of each law (2000)"
  )
  options = parser.parse_args()
  hoeffding = np.sqrt(np.log(20) / (2 * LOOKS[-1]))
  print(f"{'law':20}{'true':>8}{'distance':>10}{'Bernstein':>11}{'Hoeffding':>11}")
  for name, law in LAWS.items():
    true, distance = coverage(law, 0.95, options.trials)
    values = law.draw(np.random.default_rng(0), (options.trials, LOOKS[-1]))
    bernstein = empirical_bernstein(values.astype(float), 0.95).mean()
    row = f"{distance:10.4f}{bernstein:11.4f}{hoeffding:11.4f}"
    print(f"{name:20}{true:8.1%}{row}", flush=True)


if __name__ == "__main__":
  main()
