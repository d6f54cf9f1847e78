"""The battery: its optima against draws and conditions, the default against its optima.

The exact law of the features is compared with what the library itself draws, so that
neither can be wrong alone.
"""

import jax
import numpy as np
import pytest

from cawe_jax import recipes
from cawe_jax.explaining.optimality import doubt
from cawe_jax.numerics.flat_masks import flat
from experiments.bench import optimum, ridge
from experiments.bench.optimum import CASES
from experiments.bench.ridge import Exact

LAWS = [
  "linear, multiplier 1",
  "uniform noise",
  "Haar",
  "8 pixels, colours",
  "quadratic",
]
LAWS += ["margin, .3", "three classes, KL", "either of two halves", "two layers"]


@pytest.mark.parametrize("name", LAWS)
def test_the_exact_distortion_is_the_mean_of_the_librarys_draws(name):
  case = CASES[name]()
  exact = Exact(case)
  session = ridge.open_session(case, 1, rows=256)
  rng = np.random.default_rng(0)
  like = session.crop(session.initial_masks)
  masks = tuple(rng.random(leaf.shape).astype(np.float32) ** 2 for leaf in like)
  count = 4096
  found = session.estimate(masks, 0, count)
  error = session.standard_error(found, count)[0]
  expected = exact.distortion(flat(masks)[0])
  # Four standard errors of 4,096 draws, and float32 beside float64.
  assert abs(found.distortion[0] - expected) < 4 * error + 1e-4 * expected
  assert error < 0.1 * expected


@pytest.mark.parametrize("name", ["another network, 10", "margin, 2", "two layers"])
def test_no_entry_of_the_best_mask_gains_by_going(name):
  exact = Exact(CASES[name]())
  best = exact.optimum()
  value, slope = exact.objective(best.mask)
  assert value == best.objective
  gap = np.maximum(slope * best.mask, -slope * (1 - best.mask)).sum()
  assert gap < 1e-3 * value
  # And no mask near it, or far from it, is better.
  rng = np.random.default_rng(0)
  for mask in [
    np.zeros(exact.size),
    np.ones(exact.size),
    *rng.random((20, exact.size)),
  ]:
    for share in (0.01, 1):
      near = best.mask + share * (mask - best.mask)
      assert exact.objective(near)[0] >= value - 1e-9 * abs(value)


def slow(*case):
  return pytest.param(*case, marks=pytest.mark.slow)


# The most that the median of the seeds and the worst of them may be over the optimum.
NEAR, NEARLY = (1.05, 1.15), (1.15, 1.25)


@pytest.mark.parametrize(
  ("name", "limits"),
  [
    # A brake or a guard at a share of the empty mask's distortion ends at 1.3 to 2.
    ("linear, multiplier 10", NEAR),
    slow("another network, 10", NEAR),
    slow("and another, 10", NEAR),
    # Without the bend of the gradient 1.17 and more.
    ("another network", NEAR),
    slow("linear, .1", NEAR),
    slow("Haar", NEAR),
    slow("db3, colours, 32 pixels", NEAR),
    slow("linear, 400: empty", NEAR),
    slow("one decisive entry", NEAR),
    # docs/benchmarks.md has medians of 1.05 to 1.12 of eight seeds, the worst 1.20. The
    # search before ended at 1.37, the one before that at 2.5.
    slow("64 pixels", NEARLY),
    slow("quadratic", NEARLY),
    slow("distortion with a kink", NEARLY),
    slow("margin, .3", NEARLY),
    slow("margin, 2", NEARLY),
    slow("margin, Haar", NEARLY),
    slow("either of two halves", NEARLY),
  ],
)
def test_the_default_comes_near_the_best_mask_whatever_the_seed(name, limits):
  row = measured(name)
  median, worst = limits
  assert np.median(row.ratios) < median
  assert row.ratios[-1] < worst
  # Nothing is better than the best.
  assert row.ratios[0] >= 1 - 1e-6


def measured(name, seeds=4):
  """The default's row of the battery."""
  case = CASES[name]()
  exact = Exact(case)
  best = exact.optimum().objective
  return optimum.measure(case, recipes.default(), exact, best, seeds)


def test_a_search_that_missed_the_best_mask_says_so():
  # One small step from a mask of ones; the empty mask is better than that.
  case = CASES["linear, multiplier 10"]()
  recipe = recipes.default()._replace(num_steps=1)
  case = case._replace(method=case.method._replace(recipe=recipe))
  exact = Exact(case)
  found = ridge.search(case, 8)
  best = exact.optimum().objective
  ratios = [exact.objective(mask)[0] / best for mask in flat(found.mask)]
  said = [bool(doubt(jax.tree.map(lambda x, i=i: x[i], found))) for i in range(8)]
  assert min(ratios) > 1.5
  assert np.mean(said) > 0.9


def test_alarms_are_counted_for_the_mask_that_is_called_the_best():
  case = CASES["linear, multiplier 10"]()
  best = Exact(case).optimum()
  assert ridge.false_alarms(case, best, 4) == 0
  empty = best._replace(mask=np.zeros_like(best.mask))
  assert ridge.false_alarms(case, empty, 4) == 4


def test_the_table_is_printed_case_by_case(capsys, monkeypatch):
  monkeypatch.setattr(
    "sys.argv",
    ["optimum", "--only", "400", "--recipes", "fast", "--seeds", "2"],
  )
  optimum.main()
  *_, heads, line = capsys.readouterr().out.splitlines()
  assert heads.split() == ["case", "entries", "zeros", "rate", "false", "fast"]
  assert line.startswith("linear, 400: empty")
  assert line.split()[3:] == ["256", "1.00", "0.000", "0", "1.000", "1.000", "2", "0"]


def test_a_case_that_there_is_not_is_refused(monkeypatch):
  monkeypatch.setattr("sys.argv", ["optimum", "--only", "nothing"])
  with pytest.raises(SystemExit, match="--only nothing: in no name of linear"):
    optimum.main()
