"""Order of entries: against NumPy's sort, and ties against a fair lottery."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax.metrics import keep, randomise, ranking, top_mask
from cawe_jax.metrics.ranks import check_relevance, to_mask
from cawe_jax.representations import wavelet

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
LEAVES = (
  RNG.normal(size=(1, 2, 3, 1)).astype(np.float32),
  RNG.normal(size=(3, 4, 5, 1)).astype(np.float32),
)
FLAT = np.concatenate([leaf.ravel() for leaf in LEAVES])
SHAPES = tuple(leaf.shape for leaf in LEAVES)


def test_without_ties_it_is_the_order_over_all_leaves():
  ranks = ranking(LEAVES, KEY)
  np.testing.assert_array_equal(np.argsort(ranks), np.argsort(-FLAT))
  np.testing.assert_array_equal(ranks, ranking(LEAVES, jax.random.key(1)))


def test_reversed_relevance_has_reversed_ranks():
  reverse = ranking(tuple(-leaf for leaf in LEAVES), KEY)
  np.testing.assert_array_equal(reverse, FLAT.size - 1 - ranking(LEAVES, KEY))


def test_every_order_of_ties_is_equally_likely():
  # Two 1s before three 0s: 2! * 3! = 12 orders.
  relevance = (jnp.array([0.0, 1.0]), jnp.array([[1.0, 0.0, 0.0]]))
  keys = jax.random.split(KEY, 2400)
  ranks = np.asarray(jax.vmap(ranking, (None, 0))(relevance, keys))
  counts = [
    np.all(ranks == [c[0], a, b, c[1], c[2]], axis=1).sum()
    for a, b in itertools.permutations(range(2))
    for c in itertools.permutations(range(2, 5))
  ]
  assert sum(counts) == len(keys)  # nothing else comes up
  # Of 2400 keys each order gets 200 with a standard deviation of 13.5.
  np.testing.assert_allclose(counts, 200, atol=5 * 13.5)


def test_the_same_key_breaks_ties_alike():
  ties = (jnp.zeros(50),)
  np.testing.assert_array_equal(ranking(ties, KEY), ranking(ties, KEY))
  assert np.any(ranking(ties, KEY) != ranking(ties, jax.random.key(1)))


def test_kept_and_replaced_are_complements():
  ranks = np.asarray(ranking(LEAVES, KEY))
  for count in (0, 1, 30, FLAT.size):
    kept = keep(ranks, count)
    assert kept.dtype == np.float32
    np.testing.assert_array_equal(np.flatnonzero(kept), np.flatnonzero(ranks < count))
    np.testing.assert_array_equal(randomise(ranks, count), 1 - kept)


def test_the_mask_of_the_top():
  mask = top_mask(LEAVES, 0.25, KEY)
  assert tuple(leaf.shape for leaf in mask) == SHAPES
  flat = np.concatenate([leaf.ravel() for leaf in mask])
  expected = np.zeros(66)
  expected[np.argsort(-FLAT)[:16]] = 1  # 16.5 entries, rounded to even
  np.testing.assert_array_equal(flat, expected)


def test_flat_values_go_back_to_their_leaves():
  batch = np.stack([FLAT, -FLAT])
  for leaf, back in zip(LEAVES, to_mask(batch, SHAPES), strict=True):
    np.testing.assert_array_equal(back, [leaf, -leaf])


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_shares_out_of_range_are_refused(fraction):
  with pytest.raises(ValueError, match=r"fraction is .*; it must be in \[0, 1\]"):
    top_mask(LEAVES, fraction, KEY)


def test_relevances_that_do_not_fit_are_refused():
  representation = wavelet("haar", levels=1)((8, 6, 3))
  good = tuple(np.zeros((2, *shape)) for shape in representation.mask_shapes)
  assert len(check_relevance(good, representation, 2)) == 2
  with pytest.raises(ValueError, match=r"3 images of 8x6 and wavelet\('haar'.*must be"):
    check_relevance(good, representation, 3)
  with pytest.raises(ValueError, match="relevance has leaves"):
    check_relevance(good[:1], representation, 2)
  good[1][0, 0, 0, 0] = np.nan
  with pytest.raises(ValueError, match="relevance has NaN or infinite entries"):
    check_relevance(good, representation, 2)
