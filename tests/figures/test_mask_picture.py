"""A mask as a picture: matplotlib's colours at the places of the layout."""

import numpy as np
import pytest
from matplotlib import colormaps

from cawe_jax.figures import mask_layout, mask_picture
from cawe_jax.figures.layout import enlarged


def test_entries_have_the_colours_of_their_square_roots():
  mask = (np.full((1, 2, 2, 1), 0.25), np.zeros((3, 2, 2, 1)))
  mask[1][2] = 1
  picture, layout = mask_picture(mask), mask_layout(enlarged(mask))
  assert picture.shape == (*layout.shape, 4)
  magma = colormaps["magma"]
  for value in (0.0, 0.25, 1.0):
    assert (layout == value).any()
    expected = np.broadcast_to(magma(value**0.5), picture[layout == value].shape)
    np.testing.assert_array_equal(picture[layout == value], expected)
  assert (picture[np.isnan(layout)][:, 3] == 0).all()
  assert (picture[~np.isnan(layout)][:, 3] == 1).all()


@pytest.mark.parametrize(
  "shapes", [[(1, 4, 4, 1), (3, 4, 4, 1)], [(2, 3, 5, 1)], [(1, 1, 1, 1)] * 3]
)
def test_gaps_of_a_tiny_mask_are_thin_and_its_entries_whole(shapes):
  rng = np.random.default_rng(0)
  mask = [rng.random(shape) for shape in shapes]
  transparent = mask_picture(mask)[..., 3] == 0
  # Four sub-bands, two, or three of four places in a grid.
  assert transparent.mean() < (0.03 if len(shapes) < 3 else 0.27)
  for leaf, large in zip(mask, enlarged(mask), strict=True):
    times = large.shape[1] // leaf.shape[1]
    assert times > 1
    for row in range(times):
      np.testing.assert_array_equal(large[:, row::times, ::times], leaf)
      np.testing.assert_array_equal(large[:, ::times, row::times], leaf)


def test_a_mask_without_gaps_is_not_enlarged():
  assert mask_picture([np.zeros((1, 8, 8, 1))]).shape == (8, 8, 4)
