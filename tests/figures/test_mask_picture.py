"""A mask as a picture: matplotlib's colours at the places of the layout."""

import numpy as np
from matplotlib import colormaps

from cawe_jax.figures import mask_layout, mask_picture


def test_entries_have_the_colours_of_their_square_roots():
  mask = (np.full((1, 2, 2, 1), 0.25), np.zeros((3, 2, 2, 1)))
  mask[1][2] = 1
  picture, layout = mask_picture(mask), mask_layout(mask)
  assert picture.shape == (*layout.shape, 4)
  magma = colormaps["magma"]
  for value in (0.0, 0.25, 1.0):
    assert (layout == value).any()
    expected = np.broadcast_to(magma(value**0.5), picture[layout == value].shape)
    np.testing.assert_array_equal(picture[layout == value], expected)
  assert (picture[np.isnan(layout)][:, 3] == 0).all()
  assert (picture[~np.isnan(layout)][:, 3] == 1).all()
