"""Files written by PyTorch itself, in both formats, read bit for bit."""

import argparse
import collections

import numpy as np
import pytest
from test_checkpoints import RECORDED, weights_path

from cawe_jax.classifiers.checkpoints import read_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def torch():
  return pytest.importorskip("torch")


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def read_saved(request, torch, tmp_path):
  """What comes back of an object that torch.save has written."""

  def read(content):
    path = tmp_path / "weights.pth"
    torch.save(content, path, _use_new_zipfile_serialization=request.param)
    assert path.read_bytes().startswith(b"PK" if request.param else b"\x80\x02")
    return read_checkpoint(path)

  return read


def assert_equal(arrays, tensors):
  assert list(arrays) == list(tensors)
  for name, tensor in tensors.items():
    reference = tensor.detach().contiguous().numpy()
    assert arrays[name].dtype == reference.dtype, name
    assert arrays[name].shape == reference.shape, name
    assert arrays[name].tobytes() == reference.tobytes(), name


@pytest.mark.parametrize("stem", RECORDED)
def test_shipped_weights(stem, torch):
  path = weights_path(stem)
  expected = torch.load(path, map_location="cpu", weights_only=True)
  assert_equal(read_checkpoint(path, sha256_prefix=stem[-8:]), expected)


def test_a_network_with_batch_normalisation(torch, read_saved):
  torch.manual_seed(0)
  network = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3, groups=1), torch.nn.BatchNorm2d(8), torch.nn.Linear(8, 5)
  )
  expected = network.state_dict()
  assert "1.num_batches_tracked" in expected
  assert_equal(read_saved(expected), expected)
  assert_equal(read_saved({"model": expected, "epoch": 3}), expected)
  parameters = dict(network.named_parameters())
  assert_equal(read_saved({"state_dict": parameters}), parameters)
  # The optimiser's state keys are numbers, its groups lists of dictionaries.
  optimiser = torch.optim.Adam(network.parameters())
  network[0](torch.ones(1, 3, 5, 5)).sum().backward()
  optimiser.step()
  beside = {"model": expected, "optimizer": optimiser.state_dict()}
  assert_equal(read_saved(beside), network.state_dict())


def test_views(torch, read_saved):
  base = torch.arange(60.0)
  grid = base.reshape(3, 4, 5)
  channels_last = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
  views = {
    "base": base,
    "transposed": grid.permute(2, 0, 1),
    "part": grid[1:, ::2, 3],
    "scalar": base[17],
    "empty": torch.zeros(0, 3),
    "tied": base,
    "channels_last": channels_last,
  }
  assert_equal(read_saved(views), views)


def test_element_types(torch, read_saved):
  numbers = torch.tensor([0.0, 1.0, 2.5, 60000.0, 0.1])
  kinds = [torch.float16, torch.bfloat16, torch.float64, torch.float32]
  kinds += [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
  tensors = {str(kind): (numbers % 100).to(kind) for kind in kinds}
  expected = {
    name: tensor.float() if tensor.is_floating_point() else tensor
    for name, tensor in tensors.items()
  }
  assert_equal(read_saved(tensors), expected)


def test_what_is_refused(torch, read_saved):
  ordinary = {"w": torch.ones(2)}
  expanded = torch.ones(1).expand(1000)
  for content, message in [
    ({"w": expanded}, "tensor 'w' lies outside its storage"),
    ({"model": ordinary, "args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
    (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ({"w": torch.ones(2).to_sparse()}, "refused"),
    ({"w": torch.ones(2, dtype=torch.complex64)}, "torch.ComplexFloatStorage"),
    ({"model": ordinary, "best": np.float64(0.5)}, "refused to load 'numpy"),
    ([torch.ones(2)], "holds a list"),
  ]:
    with pytest.raises(ValueError, match=message):
      read_saved(content)


def test_a_pickle_protocol_that_is_not_read(torch, tmp_path):
  path = tmp_path / "weights.pth"
  torch.save(collections.OrderedDict(w=torch.ones(2)), path, pickle_protocol=4)
  with pytest.raises(ValueError, match="pickle protocol 4 is not read, only 2"):
    read_checkpoint(path)
