"""Networks to compare on, and what PyTorch's reference is not asked for."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import cawe_jax as cawe
from cawe_jax import recipes
from experiments.bench import networks, pairs, quality
from experiments.bench.networks import Network
from experiments.bench.published import check_torch
from experiments.bench.runs import SETTINGS, Photograph


@pytest.mark.slow  # scikit-learn is an oracle
def test_the_network_of_digits_knows_them():
  found = networks.open_network("digits", None, 5)
  assert [p.image.shape for p in found.photographs] == 5 * [(8, 8, 1)]
  from sklearn.datasets import load_digits

  classifier, images = networks.digits()
  right = np.argmax(classifier(images), 1) == load_digits().target[1500:]
  assert right.mean() > 0.85


def torch_mobilenet_v1(tensors, images):
  """The network from the paper's table, with TensorFlow's padding."""
  import torch
  from torch.nn import functional

  def layer(x, name, stride=1):
    weight, bias = (
      torch.tensor(tensors[f"{name}.{kind}"]) for kind in ("weight", "bias")
    )
    is_depthwise = name.endswith("depthwise")
    weight = weight.permute((3, 0, 1, 2) if is_depthwise else (0, 3, 1, 2))
    size = x.shape[-1]
    missing = max((-(-size // stride) - 1) * stride + weight.shape[-1] - size, 0)
    x = functional.pad(x, 2 * (missing // 2, missing - missing // 2))
    groups = len(weight) if is_depthwise else 1
    return functional.conv2d(x, weight, bias, stride, groups=groups)

  x = 2 * torch.tensor(images).permute(0, 3, 1, 2) - 1
  x = functional.relu6(layer(x, "00_convolution", 2))
  for i, stride in enumerate((1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)):
    x = functional.relu6(layer(x, f"{2 * i + 1:02}_depthwise", stride))
    x = functional.relu6(layer(x, f"{2 * i + 2:02}_convolution"))
  x = layer(x.mean((2, 3), keepdim=True), "27_convolution")
  return x[:, 1:, 0, 0].numpy()  # the first class is the background


@pytest.mark.slow  # PyTorch is an oracle
def test_mobilenet_v1_reads_tensors_in_their_order(tmp_path):
  rng = np.random.default_rng(0)
  shapes = {"00_convolution": (8, 3, 3, 3), "27_convolution": (5, 1, 1, 8)}
  for i in range(13):
    shapes[f"{2 * i + 1:02}_depthwise"] = (1, 3, 3, 8)
    shapes[f"{2 * i + 2:02}_convolution"] = (8, 1, 1, 8)
  tensors = {}
  for name, shape in shapes.items():
    channels = shape[3] if "depthwise" in name else shape[0]
    tensors[f"{name}.weight"] = rng.normal(0, 0.4, shape).astype(np.float32)
    tensors[f"{name}.bias"] = rng.normal(0, 0.4, channels).astype(np.float32)
  save_file(tensors, tmp_path / "weights.safetensors")
  classifier = networks.mobilenet_v1(tmp_path / "weights.safetensors")
  images = rng.random((2, 32, 32, 3), np.float32)
  expected = torch_mobilenet_v1(tensors, images)
  found = np.asarray(classifier(images))
  assert np.ptp(expected) > 0.1
  # Float32 through 28 layers.
  np.testing.assert_allclose(found, expected, atol=1e-4)


def test_networks_that_are_none_are_refused(tmp_path):
  for text in ("resnet", "mobilenet-v1"):
    with pytest.raises(SystemExit, match=f"--network {text}: allowed are"):
      networks.open_network(text, tmp_path, 1)
  with pytest.raises(SystemExit, match="needs --images FOLDER"):
    networks.open_network("mobilenet-v1=weights.safetensors", None, 1)


def test_pytorchs_reference_is_asked_for_cartoonx_alone():
  check_torch(networks.DEFAULT, ["gaussian-20", "gaussian-5", "uniform-1"])
  # It would explain with wavelets, and be stored as what it is not.
  with pytest.raises(SystemExit, match="--settings pixel-4: allowed with --torch is"):
    check_torch(networks.DEFAULT, ["gaussian-20", "pixel-4"])
  with pytest.raises(SystemExit, match="--network digits: allowed with --torch is"):
    check_torch("digits", ["gaussian-20"])


def test_pixel_rde_is_a_mask_of_pixels():
  method = SETTINGS["pixel-4"].method(recipes.default())
  assert method.representation == cawe.representations.pixel()
  assert method.lagrange_multiplier == 4


def test_another_network_is_compared_with_the_librarys_own_time(monkeypatch, capsys):
  def never(count):
    raise AssertionError("PyTorch has no such network")

  monkeypatch.setattr(pairs, "measure", never)
  asked = []

  def segment(classifier, images, recipe):
    asked.append((classifier, images.shape, recipe))
    return lambda: None, 10

  monkeypatch.setattr(pairs, "segment_of_steps", segment)
  monkeypatch.setattr(quality.machine, "timings", lambda run, repeats: [0.1, 0.2, 0.9])
  photograph = Photograph("a", np.zeros((8, 8, 1)))
  network = Network("digits", "the classifier", [photograph])
  assert quality.published_milliseconds(network) == pytest.approx(20)
  assert asked == [("the classifier", (1, 8, 8, 1), recipes.cvpr2023())]
  assert "with this library: 20.0 ms" in capsys.readouterr().out
