"""A checkpoint of PyTorch, converted and explained on the command line, end to end.

One network of each kind that the papers use beside ours: mobile, residual, transformer.
Their weights are random, so the explanation means nothing; every number of the report
that PyTorch knows is compared.
"""

import importlib
import json

import numpy as np
import pytest
from PIL import Image

import cawe_jax as cawe
from cawe_jax.classifiers.registry import classifier_info
from cawe_jax.cli import main

torch = pytest.importorskip("torch")
oracles = importlib.import_module("experiments.oracles")

pytestmark = pytest.mark.slow

NETWORKS = {
  "mobilenet_v3_small": "torchvision",
  "resnet18": "torchvision",
  "deit_tiny": "timm",
}


def make_checkpoint(name, package, path):
  """The package's network with random weights, and its file as PyTorch writes it."""
  oracle = next(
    o for o in oracles.ORACLES if (o.architecture, o.package) == (name, package)
  )
  model = oracles.random_network(oracle)
  torch.save(model.state_dict(), path)
  mean, deviation = (np.float32(x) for x in oracle.normalisation)

  def probabilities(image):
    pixels = torch.from_numpy((image - mean) / deviation).permute(2, 0, 1)
    return model(pixels[None]).softmax(1)[0].numpy()

  return probabilities


@pytest.mark.parametrize(("name", "package"), NETWORKS.items())
def test_from_a_checkpoint_to_a_figure(name, package, tmp_path, capsys):
  photo, checkpoint = tmp_path / "photo.png", tmp_path / "weights.pth"
  # Patches of colour, which the noise of an empty mask is unlike.
  colours = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
  Image.fromarray(colours).resize((260, 300), Image.Resampling.NEAREST).save(photo)
  probabilities = make_checkpoint(name, package, checkpoint)
  converted, out = tmp_path / "weights.safetensors", tmp_path / "out"

  convert = ["convert", str(checkpoint), f"--architecture={name}"]
  assert main([*convert, "--out", str(converted)]) == 0
  quick = [
    "--wavelet=haar",
    "--levels=3",
    "--steps=3",
    "--draws=2",
    "--preset=cvpr2023",
  ]
  # Random networks say the same class of every image: only their outputs differ.
  quick += ["--distortion=logit-l2", "--lagrange-multiplier=1e-6"]
  explain = ["explain", str(photo), f"--classifier={name}", "--weights", str(converted)]
  assert main([*explain, *quick, "--out", str(out)]) == 0
  capsys.readouterr()

  report = json.loads((out / "photo.json").read_text())
  info = classifier_info(name)
  image = cawe.load_image(photo, size=info.input_size, resize=info.resize)
  expected = probabilities(np.asarray(image))
  assert report["target"] == expected.argmax()
  # float32 through some twenty layers; the parity tests are stricter.
  np.testing.assert_allclose(report["probability"], expected.max(), rtol=1e-3)
  with np.load(out / "photo.npz") as result:
    masks = [result[key] for key in result.files if key.startswith("mask/")]
    assert masks
  # Three steps of Adam from a mask of ones: .1 each, down or up against the bound.
  entries = np.concatenate([mask.ravel() for mask in masks])
  assert 0.65 < entries.mean() < 1
  assert entries.std() > 0.01
  assert (out / "photo.png").stat().st_size > 10_000
