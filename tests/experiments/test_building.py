"""Settings become the library's parts; a grid becomes data of one method."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from tiny import make_classifier

import cawe_jax as cawe
from experiments.axes import expand
from experiments.building import load_network, make_methods, stack_methods

AXES = {
  "lagrange_multiplier": (1.0, 2.0),
  "spatial_l1": (0.0, 50.0),
  "step_size": (0.1, 0.3),
}
SETTINGS = {
  "method": "waveletx",
  "preset": "cvpr2023",
  "wavelet": "haar",
  "levels": 1,
  "steps": 3,
  "draws": 1,
}


@pytest.fixture(scope="module")
def methods():
  methods = {"a": {"label": "A"}}
  config = ConfigDict({"settings": SETTINGS, "axes": AXES, "methods": methods})
  (job,) = expand(config)
  return make_methods(job)


def test_every_number_of_a_method_may_be_an_axis(methods):
  stacked = stack_methods(methods, num_images=2)
  found = [
    stacked.lagrange_multiplier,
    stacked.penalty_weights[0],
    stacked.recipe.step_size,
  ]
  expected = [
    (a, b, c)
    for a in AXES["lagrange_multiplier"]
    for b in AXES["spatial_l1"]
    for c in AXES["step_size"]
  ]
  np.testing.assert_allclose(np.transpose(found), 2 * expected, rtol=1e-6)
  bound = stacked.bind((16, 16, 3), 5)
  assert all(method.bind((16, 16, 3), 5) == bound for method in methods)


def test_weights_and_step_sizes_reach_the_masks(methods):
  image = np.random.default_rng(0).random((1, 16, 16, 3), np.float32)
  found = cawe.explain(
    make_classifier(),
    np.repeat(image, len(methods), axis=0),
    stack_methods(methods, 1),
    key=jax.random.key(0),
  )
  weights = found.history.penalties["spatial_l1"]
  # The first step starts from the same mask; its size decides the second's value.
  np.testing.assert_allclose(weights[:, 0], weights[0, 0], rtol=1e-6)
  assert (weights[1::2, 1] < weights[0::2, 1]).all()
  np.testing.assert_allclose(
    found.history.objective[:, 0] - found.history.distortion[:, 0],
    [m.lagrange_multiplier + m.penalty_weights[0] * weights[0, 0] for m in methods],
    rtol=1e-5,
  )


def test_a_size_of_ones_own_has_no_published_resize():
  network = load_network("tiny:make_classifier")
  assert network.size == (16, 16)
  other = load_network("tiny:make_classifier", 24)
  assert (other.size, other.resize) == ((24, 24), None)
  assert other.classifier is network.classifier


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("tiny:nothing", "classifier 'tiny:nothing': module 'tiny' has no 'nothing'"),
    ("nowhere:make", "classifier 'nowhere:make': there is no module 'nowhere'"),
    ("resnet", "classifier 'resnet' is unknown; allowed: "),
    ("resnet18=none.pth", "none.pth"),
  ],
)
def test_networks_that_do_not_exist(text, message):
  with pytest.raises(ValueError, match=message):
    load_network(text)
