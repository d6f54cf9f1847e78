"""Colour tables are matplotlib's."""

import numpy as np
import pytest
from matplotlib import colormaps

from cawe_jax.figures.colours import colour_table


@pytest.mark.parametrize("name", ["viridis", "RdBu_r", "berlin"])
def test_equals_matplotlib(name):
  expected = np.array([colormaps[name](i)[:3] for i in range(256)])
  assert np.abs(colour_table(name) / 255 - expected).max() <= 0.51 / 255  # 8 bits


@pytest.mark.parametrize(
  ("call", "named"),
  [
    (lambda: colour_table("virdis"), "colour map 'virdis' is unknown"),
    (lambda: colour_table("viridis", 1), "size is 1; allowed are 2 to 4096"),
  ],
)
def test_errors_name_value_and_allowed(call, named):
  with pytest.raises(ValueError, match=named):
    call()
