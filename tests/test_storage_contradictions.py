"""Saved explanations that somebody has changed: arrays that contradict each other."""

import numpy as np
import pytest
from test_storage import make_explanation

from cawe_jax.files import storage


@pytest.mark.parametrize(
  ("name", "change", "message"),
  [
    ("lagrange_multiplier", lambda x: np.array([x, x]), "'lagrange_multiplier' has sh"),
    ("history/rate", lambda x: x[:3], "'history/rate' has shape"),
    ("history/objective", lambda x: x[None], "'history/objective' has shape"),
    ("history/penalties/spatial_l1", lambda x: x[:3], "'history/spatial_l1' has shape"),
    ("mask/1", lambda x: x + 5, "'mask/1' has entries outside"),
    ("mask/1", lambda x: x * np.nan, "'mask/1' has entries outside"),
    ("mask/2", lambda x: x[0], "'mask/2' has shape"),
    ("image", lambda x: x[:5], "'image' has shape"),
    ("masked_image", lambda x: x[0], "'masked_image' has shape"),
    ("target", lambda x: x + 0.5, "'target' is no index"),
    ("target", lambda x: -x, "'target' is no index"),
  ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(tmp_path, name, change, message):
  path = tmp_path / "changed.npz"
  storage.save(path, make_explanation())
  with np.load(path) as archive:
    arrays = dict(archive)
  np.savez(path, **arrays | {name: change(arrays[name])})
  with pytest.raises(ValueError, match=f"changed.npz: {message}"):
    storage.load(path)
