"""Rank correlation against SciPy, overlap against sets."""

import itertools
import re

import jax
import numpy as np
import pytest
import scipy.stats

from cawe_jax.metrics import rank_correlation, seed_stability, top_overlap

RNG = np.random.default_rng(0)
B = 4


def relevances():
  """Two leaves of B images, mostly zeros, and correlated with each other."""
  first = [RNG.normal(size=shape) for shape in ((B, 1, 3, 4, 1), (B, 3, 5, 6, 1))]
  return tuple(
    tuple(
      np.where(RNG.random(x.shape) < 0.6, 0, np.round(x + RNG.normal(size=x.shape), 1))
      for x in first
    )
    for _ in range(3)
  )


SEEDS = relevances()


def flat(relevance):
  return np.concatenate([leaf.reshape(B, -1) for leaf in relevance], axis=1)


def test_correlation_is_spearmans_with_ties():
  found = rank_correlation(*SEEDS[:2])
  expected = [
    scipy.stats.spearmanr(a, b).statistic
    for a, b in zip(*map(flat, SEEDS[:2]), strict=True)
  ]
  # Sums of 102 products in 32 bits.
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_many_entries_do_not_lose_digits():
  x = RNG.normal(size=(1, 60_000)).astype(np.float32)
  y = (x + 3 * RNG.normal(size=x.shape)).astype(np.float32)
  expected = scipy.stats.spearmanr(x[0], y[0]).statistic
  np.testing.assert_allclose(rank_correlation((x,), (y,)), expected, atol=1e-5)


def test_what_is_constant_has_no_correlation():
  zeros = tuple(np.zeros_like(leaf) for leaf in SEEDS[0])
  assert np.isnan(rank_correlation(SEEDS[0], zeros)).all()
  broken = tuple(leaf.copy() for leaf in SEEDS[0])
  broken[1][1, 0, 0, 0, 0] = np.nan
  found = rank_correlation(broken, SEEDS[0])
  np.testing.assert_array_equal(np.isnan(found), [False, True, False, False])


def test_overlap_without_ties_is_that_of_sets():
  distinct = [RNG.permutation(50)[None].astype(float) for _ in range(2)]
  sets = [set(np.argsort(-x[0])[:10]) for x in distinct]
  expected = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
  found = top_overlap(*[(x,) for x in distinct], 0.2)
  np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_ties_share_the_last_places():
  first = np.array([[3.0, 1.0, 1.0, 0.0]])
  second = np.array([[3.0, 0.0, 1.0, 1.0]])
  # Shares (1, 1/2, 1/2, 0) and (1, 0, 1/2, 1/2).
  np.testing.assert_allclose(top_overlap((first,), (second,), 0.5), [1.5 / 2.5])
  sparse = (np.eye(4)[:1],)
  np.testing.assert_allclose(top_overlap(sparse, sparse, 0.75), [1.0], rtol=1e-6)


def test_what_is_no_number_has_no_overlap():
  broken = tuple(leaf.copy() for leaf in SEEDS[0])
  for leaf in broken:
    leaf[1] = np.nan
  found = top_overlap(broken, SEEDS[1], 0.1)
  np.testing.assert_array_equal(np.isnan(found), [False, True, False, False])


def test_stability_is_the_mean_over_pairs():
  stacked = tuple(np.stack(leaves) for leaves in zip(*SEEDS, strict=True))
  found = seed_stability(stacked, fraction=0.1)
  pairs = list(itertools.combinations(SEEDS, 2))
  assert len(pairs) == 3
  correlations = [
    [
      scipy.stats.spearmanr(a, b).statistic
      for a, b in zip(flat(p), flat(q), strict=True)
    ]
    for p, q in pairs
  ]
  np.testing.assert_allclose(found.correlation, np.mean(correlations, 0), atol=1e-6)
  overlaps = [top_overlap(p, q, 0.1) for p, q in pairs]
  np.testing.assert_allclose(found.overlap, np.mean(overlaps, 0), rtol=1e-6)
  assert np.ptp(found.overlap) > 0


def test_equal_seeds_agree_fully():
  stacked = tuple(np.stack([leaf] * 2) for leaf in SEEDS[0])
  np.testing.assert_allclose(seed_stability(stacked), 1, rtol=1e-6)


def test_one_image_without_an_axis_is_refused():
  single = tuple(leaf[0] for leaf in SEEDS[0])
  line = (
    "{}: got leaves of shapes [(1, 3, 4, 1), (3, 5, 6, 1)], allowed: [B, orientations, "
    "h, w, 1] with the same B in all; for one image add an axis: "
    "jax.tree.map(lambda leaf: leaf[None], {})"
  )
  for name, pair in {"first": (single, SEEDS[0]), "second": (SEEDS[0], single)}.items():
    for refuse in (rank_correlation, lambda a, b: top_overlap(a, b, 0.1)):
      with pytest.raises(ValueError, match=f"^{re.escape(line.format(name, name))}$"):
        refuse(*pair)
  # What the line advises.
  advised = jax.tree.map(lambda leaf: leaf[None], single)
  np.testing.assert_allclose(top_overlap(advised, advised, 0.1), [1], rtol=1e-6)
  for wrong in ((), (np.float32(1),)):
    with pytest.raises(ValueError, match=r"first: got leaves of shapes \["):
      rank_correlation(wrong, wrong)


def test_seeds_of_one_image_without_an_axis_are_refused():
  stacked = tuple(np.stack([leaf[0]] * 2) for leaf in SEEDS[0])
  line = r"relevances: got .*allowed: \[S, B, .* same S and B .*leaf\[:, None\], rel"
  with pytest.raises(ValueError, match=line):
    seed_stability(stacked)
  advised = jax.tree.map(lambda leaf: leaf[:, None], stacked)
  np.testing.assert_allclose(seed_stability(advised), 1, rtol=1e-6)


@pytest.mark.parametrize(
  "other",
  [
    SEEDS[0][:1],  # another representation
    (np.zeros((B, 1, 6, 17, 1)),),  # another with as many entries
    tuple(leaf[:2] for leaf in SEEDS[0]),  # fewer images
  ],
)
def test_masks_without_common_entries_are_refused(other):
  for refuse in (rank_correlation, lambda a, b: top_overlap(a, b, 0.1)):
    with pytest.raises(ValueError, match=r"^second: got .*allowed: those of first.*$"):
      refuse(SEEDS[0], other)


def test_bad_arguments_are_refused():
  one = tuple(leaf[None] for leaf in SEEDS[0])
  with pytest.raises(ValueError, match=r"relevances has 1 seed\(s\)"):
    seed_stability(one)
  for fraction in (0, 1.5):
    with pytest.raises(ValueError, match=f"fraction is {fraction}; it must be above 0"):
      seed_stability(one, fraction)
  with pytest.raises(ValueError, match="fraction is 2"):
    top_overlap(*SEEDS[:2], 2)


def test_heat_maps_in_the_place_of_leaves_are_refused():
  heat_maps = np.zeros((2, 32, 32))
  for refuse in (rank_correlation, lambda a, b: top_overlap(a, b, 0.1)):
    with pytest.raises(ValueError, match="first is one array of shape") as error:
      refuse(heat_maps, heat_maps)
    assert len(str(error.value)) < 300
