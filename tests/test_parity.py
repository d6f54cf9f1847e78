"""Networks against torchvision and timm: the numbers they compute, and the facts."""

import importlib
import math

import jax
import numpy as np
import pytest

from cawe_jax import classifier_names
from cawe_jax.classifiers.registry import (
  classifier_info,
  imagenet_class_names,
  num_parameters,
)

pytest.importorskip("torch")
oracles = importlib.import_module("experiments.oracles")
parity = importlib.import_module("experiments.parity")

pytestmark = pytest.mark.slow

IMAGENET_NAMES = [name for name in classifier_names() if "lite" not in name]


@pytest.fixture(scope="module", autouse=True)
def _quick_compilation():
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.parametrize("oracle", oracles.ORACLES, ids=lambda oracle: oracle.label)
def test_logits_and_gradient(oracle):
  for row in parity.rows(oracle):
    assert row.passed, row


def test_every_network_is_compared_at_its_own_size():
  compared = {
    oracle.architecture
    for oracle in oracles.ORACLES
    if classifier_info(oracle.architecture).input_size in oracle.sizes
  }
  assert compared == set(classifier_names())


def test_a_wrong_network_fails():
  """The comparison can tell one stride from another."""
  network = parity.make_network(next(o for o in oracles.ORACLES if "18" in o.model))
  network.model.layer2[0].conv1.stride = (1, 1)
  network.model.layer2[0].conv2.stride = (2, 2)
  errors = parity.compare(network, 65, np.float32)
  row = parity.Row(network.oracle, 65, np.float32, errors)
  assert not row.passed


@pytest.mark.parametrize("name", IMAGENET_NAMES)
def test_published_facts(name):
  """Of the weights that each row of the registry names."""
  info = classifier_info(name)
  if info.checkpoint:
    weights = oracles.torchvision().models.get_model_weights(name)["IMAGENET1K_V1"]
    transform = weights.transforms()
    assert info.checkpoint == weights.url
    assert info.top1 == weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert num_parameters(name) == weights.meta["num_params"]
    assert [info.input_size] == transform.crop_size
    assert [info.resize.size] == transform.resize_size
    assert info.resize.filter == transform.interpolation.value
  if info.repository:
    model = info.repository.removeprefix("timm/")
    config = oracles.timm().get_pretrained_cfg(model)
    assert config.hf_hub_id == info.repository
    assert config.input_size == (3, info.input_size, info.input_size)
    assert info.resize.size == math.floor(info.input_size / config.crop_pct)
    assert info.resize.filter == config.interpolation


def test_classes_are_in_the_same_order():
  weights = oracles.torchvision().models.get_model_weights("resnet18")["IMAGENET1K_V1"]
  ours, theirs = (
    [name.casefold() for name in names]
    for names in (imagenet_class_names(), weights.meta["categories"])
  )
  # Wordings differ; a name that both have, and have once, must have the same place.
  common = [n for n in set(ours) & set(theirs) if ours.count(n) == theirs.count(n) == 1]
  assert len(common) > 500
  assert all(ours.index(name) == theirs.index(name) for name in common)
