"""How far a search ends from the best mask, on networks for which that is known.

    python -m experiments.bench.optimum

For every case of the battery (:data:`CASES`, :mod:`experiments.bench.ridge`) it finds
the best mask in double precision, lets each recipe search with eight seeds of the
noise, and prints the exact objective of what ``explain`` returns over that of the best
mask: the median and the worst seed. ``zeros`` and ``rate`` are the empty mask's
objective over the best one's and the best one's rate, so that one sees what was at
stake. All of it takes some ten minutes on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import cawe_jax as cawe
from cawe_jax import distortions, outputs, perturbations, recipes, representations
from cawe_jax.explaining import optimality
from cawe_jax.numerics.flat_masks import flat
from cawe_jax.recipes import Recipe
from cawe_jax.types import Perturbation, Transform
from experiments.bench import machine, ridge
from experiments.bench.ridge import Exact, Ridge

SEEDS = 8
RECIPES = {
  "fast": recipes.fast,
  "default": recipes.default,
  "cvpr2023": recipes.cvpr2023,
}

PIXEL = representations.pixel()
HAAR = representations.wavelet("haar", levels=2)
DB3 = representations.wavelet("db3", levels=2, mode="periodization")
GAUSSIAN = perturbations.adaptive_gaussian()


class Row(NamedTuple):
  """One case and one recipe.

  Attributes:
    ratios: Exact objective over the optimum, for each seed, in order of size.
    empty: How many seeds returned the empty mask.
    doubtful: The number of masks that the check of optimality doubts.
  """

  ratios: np.ndarray
  empty: int
  doubtful: int

  def __str__(self) -> str:
    counts = f"{self.empty:2} {self.doubtful:2}"
    return f"{np.median(self.ratios):.3f} {self.ratios[-1]:.3f} {counts}"


def of_shape(shape: tuple[int, int, int], number: int, seed: int) -> np.ndarray:
  """Features of independent normal weights, ``[F, H * W * C]``."""
  return np.random.default_rng(100 + seed).normal(size=(number, int(np.prod(shape))))


def regression(
  multiplier: float,
  seed: int = 0,
  shape: tuple[int, int, int] = (16, 16, 1),
  representation: Transform = PIXEL,
  noise: Perturbation = GAUSSIAN,
  head: Callable[[Any], Any] = lambda z: z,
  zeros: float = 1.0,
  features: np.ndarray | None = None,
) -> Ridge:
  """A regression on one feature whose empty mask has a distortion of ``zeros``."""
  features = of_shape(shape, 1, seed) if features is None else features
  method = cawe.cartoonx(multiplier, representation=representation, perturbation=noise)
  raw = Ridge(
    ridge.picture(shape, seed),
    ridge.unit(features),
    head,
    outputs.regression(1.0),
    method,
  )
  exact = Exact(raw)
  scale = (exact.distortion(np.zeros(exact.size)) / zeros) ** 0.5
  return raw._replace(output=outputs.regression(scale))


def classes(
  multiplier: float,
  head: Callable[[Any], Any],
  number: int = 1,
  seed: int = 0,
  representation: Transform = PIXEL,
  distortion: Any = distortions.automatic,
  features: np.ndarray | None = None,
) -> Ridge:
  """A softmax over classes on a few features of a grey 16 x 16 image."""
  shape = (16, 16, 1)
  features = of_shape(shape, number, seed) if features is None else features
  return Ridge(
    ridge.picture(shape, seed),
    ridge.unit(features),
    head,
    outputs.softmax(),
    cawe.cartoonx(multiplier, representation=representation, distortion=distortion),
  )


def kink(multiplier: float) -> Ridge:
  """A regression whose distortion is the size of its change, not the square."""
  case = regression(multiplier)
  method = case.method._replace(distortion=distortions.logit_l2)
  return case._replace(method=method)


def quadratic(z: Any) -> Any:
  """A parabola."""
  return z + z**2 / 2


def margin(z: Any) -> Any:
  """Two classes; the first is ahead by 3 and falls behind soon."""
  return jnp.stack([3 - 4 * jnp.abs(z[0]), jnp.zeros_like(z[0])])


def three_classes(z: Any) -> Any:
  """Logits that are linear in two features."""
  return jnp.stack([2 + z[0], z[1], -z[0] - z[1]])


def either(z: Any) -> Any:
  """The first class holds as long as one of two features does."""
  evidence = jax.nn.logsumexp(3 - 3 * z**2)
  return jnp.stack([evidence, jnp.ones_like(evidence)])


def layers(z: Any) -> Any:
  """Three hidden units and four classes."""
  rng = np.random.default_rng(7)
  hidden = jnp.tanh(z + jnp.asarray(rng.normal(size=3), z.dtype))
  logits = jnp.asarray(rng.normal(size=(4, 3)), z.dtype) @ hidden
  return 3 * logits


def halves() -> np.ndarray:
  """One feature of the upper half of the image and one of the lower."""
  features = of_shape((16, 16, 1), 2, 0).reshape(2, 16, 16)
  features[0, 8:] = 0
  features[1, :8] = 0
  return features.reshape(2, -1)


def one_entry() -> np.ndarray:
  """A feature that is one pixel, the most unusual, and almost nothing of the others."""
  image = ridge.picture((16, 16, 1), 0).ravel()
  features = 0.01 * of_shape((16, 16, 1), 1, 0)
  features[0, np.argmax(np.abs(image - image.mean()))] = 3
  return features


CASES: dict[str, Callable[[], Ridge]] = {
  "linear, multiplier 1": lambda: regression(1),
  "another network": lambda: regression(1, seed=1),
  "and another": lambda: regression(1, seed=2),
  "linear, multiplier 10": lambda: regression(10),
  "another network, 10": lambda: regression(10, seed=1),
  "and another, 10": lambda: regression(10, seed=2),
  "linear, .1": lambda: regression(0.1),
  "linear, 400: empty": lambda: regression(400),
  "uniform noise": lambda: regression(1, noise=perturbations.adaptive_uniform()),
  "Haar": lambda: regression(1, representation=HAAR),
  "Haar, 10": lambda: regression(10, representation=HAAR),
  "db3": lambda: regression(1, shape=(32, 32, 1), representation=DB3),
  "db3, colours, 32 pixels": lambda: regression(
    5, shape=(32, 32, 3), representation=DB3
  ),
  "8 pixels, colours": lambda: regression(1, shape=(8, 8, 3)),
  "64 pixels": lambda: regression(1, shape=(64, 64, 1)),
  "quadratic": lambda: regression(1, head=quadratic),
  "distortion up to 50": lambda: regression(10, zeros=50.0),
  "distortion with a kink": lambda: kink(0.1),
  "small distortion: empty": lambda: regression(1, zeros=1e-3),
  "one decisive entry": lambda: regression(20, features=one_entry()),
  "margin, .3": lambda: classes(0.3, margin),
  "margin, 2": lambda: classes(2, margin),
  "margin, Haar": lambda: classes(1, margin, representation=HAAR),
  "three classes, KL": lambda: classes(
    1, three_classes, number=2, distortion=distortions.kl
  ),
  "either of two halves": lambda: classes(0.5, either, features=halves()),
  "two layers": lambda: classes(1, layers, number=3),
  "two layers, KL, 80": lambda: classes(
    80, layers, number=3, distortion=distortions.kl
  ),
}


def measure(case: Ridge, recipe: Recipe, exact: Exact, best: float, seeds: int) -> Row:
  """Search with one recipe and so many seeds; ``best`` is the optimum's objective."""
  method = case.method._replace(recipe=recipe)
  found = ridge.search(case._replace(method=method), seeds)
  masks = flat(found.mask).astype(np.float64)
  ratios = np.sort([exact.objective(mask)[0] / best for mask in masks])
  doubtful = optimality.is_doubtful(
    found.should_go, found.should_return, found.gap_standard_error, found.objective
  )
  return Row(ratios, int(np.sum(masks.max(1) == 0)), int(np.sum(doubtful)))


def main() -> None:
  """Print the table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--only", default="", help="cases whose name has this")
  parser.add_argument(
    "--recipes", nargs="+", choices=RECIPES, default=["default", "cvpr2023"]
  )
  parser.add_argument("--seeds", type=machine.at_least_one, default=SEEDS)
  options = parser.parse_args()
  names = [name for name in CASES if options.only in name]
  if not names:
    raise SystemExit(f"--only {options.only}: in no name of {', '.join(CASES)}")
  print(machine.describe())
  print(
    f"objective over the optimum: median, worst of {options.seeds}; empty, doubtful"
  )
  heads = "".join(f"{name:>20}" for name in options.recipes)
  print(f"{'case':26}{'entries':>8}{'zeros':>9}{'rate':>7}{'false':>6}{heads}")
  for name in names:
    case = CASES[name]()
    exact = Exact(case)
    best = exact.optimum()
    zeros = exact.objective(np.zeros(exact.size))[0] / best.objective
    alarms = ridge.false_alarms(case, best, options.seeds)
    head = f"{name:26}{exact.size:8}{zeros:9.2f}{best.mask.mean():7.3f}{alarms:6}"
    print(head, end="", flush=True)
    for recipe in options.recipes:
      row = measure(case, RECIPES[recipe](), exact, best.objective, options.seeds)
      print(f"{row!s:>20}", end="", flush=True)
    print(flush=True)


if __name__ == "__main__":
  main()
