"""What every test of attributions shares."""

import numpy as np
import pytest
from tiny_networks import TinyNetwork, make_network


@pytest.fixture(scope="session")
def tiny():
  return make_network(TinyNetwork())


@pytest.fixture(scope="session")
def images():
  """Patches of colour with a little noise: superpixels need something to hold on to."""
  rng = np.random.default_rng(1)
  patches = rng.uniform(0.1, 0.9, (3, 3, 2, 3)).repeat(4, 1).repeat(5, 2)
  return (patches + rng.uniform(-0.1, 0.1, patches.shape)).astype(np.float32)
