"""Networks against torchvision and timm: the numbers they compute, and the facts."""

import importlib
import math

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from cawe_jax import classifier_names
from cawe_jax.classifiers import conversion
from cawe_jax.classifiers.registry import (
  classifier_info,
  imagenet_class_names,
  num_parameters,
  parameter_shapes,
)

pytest.importorskip("torch")
oracles = importlib.import_module("experiments.oracles")
parity = importlib.import_module("experiments.parity")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quickly_compiled")]

IMAGENET_NAMES = [name for name in classifier_names() if "lite" not in name]


@pytest.mark.parametrize("oracle", oracles.ORACLES, ids=lambda oracle: oracle.label)
def test_logits_and_gradient(oracle):
  # Of each family one at an odd size too, where padding differs from side to side;
  # `python -m experiments.parity` compares all.
  sizes = oracle.sizes if oracle.exact else oracle.sizes[:1]
  for row in parity.rows(oracle._replace(sizes=sizes)):
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
  """What publishers say of the weights that each row of the registry names."""
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


@pytest.mark.parametrize(
  "name", [name for name in IMAGENET_NAMES if classifier_info(name).repository]
)
def test_the_hubs_files_have_the_names_that_are_read(name):
  """Timm's files are saved from timm's networks; here without numbers."""
  info = classifier_info(name)
  timm = oracles.timm()
  with oracles.torch.device("meta"):
    model = timm.create_model(info.repository.removeprefix("timm/"), pretrained=False)
  shapes = {
    key: tuple(tensor.shape)
    for key, tensor in model.state_dict().items()
    if not key.endswith(".num_batches_tracked")
  }
  known = [
    conversion.expected_tensors(layout(info.module), parameter_shapes(name))
    for layout in info.layouts.values()
  ]
  (expected,) = (tensors for tensors in known if tensors.keys() == shapes.keys())
  assert all(shape in expected[key] for key, shape in shapes.items())


def test_the_published_vit_has_older_names():
  """Torchvision itself renames these layers when it loads its published file."""
  oracle = next(o for o in oracles.ORACLES if o.model == "vit_b_16")
  network = parity.make_network(oracle)
  renamed = {"mlp.0.": "mlp.linear_1.", "mlp.3.": "mlp.linear_2."}
  older = {}
  for name, tensor in network.model.state_dict().items():
    for new, old in renamed.items():
      name = name.replace(new, old)
    older[name] = tensor
  oracles.torchvision().models.vit_b_16(weights=None).load_state_dict(dict(older))
  info = classifier_info("vit_b_16")
  params = conversion.convert(
    {name: tensor.numpy() for name, tensor in older.items()},
    {whose: layout(info.module) for whose, layout in info.layouts.items()},
    parameter_shapes("vit_b_16"),
    dtype=np.float64,
  )
  expected = flatten_dict(network.params, sep="/")
  assert params.keys() == expected.keys()
  assert all(np.array_equal(params[path], expected[path]) for path in params)


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
