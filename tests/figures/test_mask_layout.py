"""Every mask has its place on the page."""

import numpy as np
import pytest
from wavelet_masks import DB3_224, wavelet_shapes

from cawe_jax.figures import mask_layout


@pytest.mark.parametrize(
  "shapes",
  [
    wavelet_shapes(DB3_224, DB3_224),
    wavelet_shapes((4, 4, 7), (12, 12, 20)),
    wavelet_shapes((1, 1, 5, 30), (2, 2, 1, 1)),  # a scale larger than all before it
    wavelet_shapes((8,), (9,)),
  ],
  ids=["224 db3", "wide", "irregular", "pixel"],
)
def test_layout_holds_every_entry_exactly_once(shapes):
  count = sum(map(np.prod, shapes))
  values = np.split(np.arange(count), np.cumsum([np.prod(s) for s in shapes])[:-1])
  layout = mask_layout([v.reshape(s) for v, s in zip(values, shapes, strict=True)])
  assert sorted(layout[~np.isnan(layout)]) == list(range(count))


def test_layout_has_pywavelets_order():
  mask = [np.full((1, 4, 4, 1), 9.0), np.arange(3.0)[:, None, None, None]]
  mask[1] = np.broadcast_to(mask[1], (3, 4, 4, 1))
  layout = mask_layout(mask)
  corners = layout[0, 0], layout[0, -1], layout[-1, 0], layout[-1, -1]
  assert corners == (9, 0, 1, 2)  # approximation, horizontal, vertical, diagonal
  assert np.isnan(layout[4]).all()
  assert np.isnan(layout[:, 4]).all()


def test_layout_of_a_pixel_mask_is_the_mask():
  mask = np.random.default_rng(0).random((1, 5, 7, 1))
  np.testing.assert_array_equal(mask_layout((mask,)), mask[0, ..., 0])


def test_layout_of_any_other_mask_is_a_grid():
  # Three tiles, hence two columns, of the larger leaf's size, one entry apart.
  small, large = np.array([[1.0, 2.0]]), np.arange(3.0, 19).reshape(2, 2, 4)
  layout = mask_layout([small[None, ..., None], large[..., None]])
  gap = np.nan
  expected = [
    [1, 1, 2, 2, gap, 3, 4, 5, 6],
    [1, 1, 2, 2, gap, 7, 8, 9, 10],
    [gap] * 9,
    [11, 12, 13, 14, *[gap] * 5],
    [15, 16, 17, 18, *[gap] * 5],
  ]
  np.testing.assert_array_equal(layout, expected)


@pytest.mark.parametrize("shape", [(114, 114), (5, 9)])
@pytest.mark.parametrize(
  "counts", [(2,), (1, 2), (3, 3), (1, 1, 1, 1, 1), (*range(1, 9), *range(7, 0, -1))]
)
def test_a_grid_shows_every_entry_and_is_about_square(counts, shape):
  count = sum(counts) * np.prod(shape)
  values = np.arange(count).reshape(-1, *shape, 1)
  layout = mask_layout(np.split(values, np.cumsum(counts)[:-1]))
  assert set(layout[~np.isnan(layout)]) == set(range(count))
  rows, columns = (round(a / b) for a, b in zip(layout.shape, shape, strict=True))
  assert columns - 1 <= rows <= columns


def test_a_leaf_of_another_size_is_whole_in_its_tile():
  fine = np.random.default_rng(0).random((1, 7, 11, 1))
  coarse = np.random.default_rng(1).random((1, 3, 5, 1))
  tile = mask_layout([coarse, fine])[:7, :11]
  assert set(tile.ravel()) == set(coarse.ravel())
  assert np.isin(coarse[0, :, 0, 0], tile[:, 0]).all()  # rows stay rows


@pytest.mark.parametrize(
  "shapes", [[], [(4, 4)], [(1, 4, 4, 3)], [(1, 4, 4, 1), (2, 1, 4, 4, 1)]]
)
def test_layout_refuses_what_is_no_mask(shapes):
  with pytest.raises(ValueError, match="mask: got leaves of shapes"):
    mask_layout([np.zeros(shape) for shape in shapes])


def test_a_heat_map_is_refused_in_words_that_help():
  heat_map = np.random.default_rng(0).random((5, 7))
  with pytest.raises(ValueError, match=r"mask is one array of shape \(5, 7\)") as error:
    mask_layout(heat_map)
  assert "(heat_map[..., None, :, :, None],)" in str(error.value)
  np.testing.assert_array_equal(
    mask_layout((heat_map[..., None, :, :, None],)), heat_map
  )
