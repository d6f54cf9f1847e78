"""Networks of other than three channels, whose images are files of ``numpy.save``."""

import sys

import numpy as np
import pytest
from shell_runs import report_of, write_photo

from cawe_jax.cli import main
from cawe_jax.files.storage import load

NETWORK = """
import jax.numpy as jnp

import cawe_jax as cawe


def four_bands():
  weights = jnp.linspace(-1, 1, 16 * 16 * 4 * 2).reshape(-1, 2)
  return cawe.Classifier(
    lambda w, images: images.reshape(len(images), -1) @ w, weights, 16, ("dry", "wet")
  )
"""


@pytest.fixture
def bands(tmp_path, monkeypatch):
  (tmp_path / "wetlands.py").write_text(NETWORK)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
  monkeypatch.delitem(sys.modules, "wetlands", raising=False)
  pixels = np.random.default_rng(0).integers(0, 65536, (16, 16, 4), np.uint16)
  np.save(tmp_path / "scene.npy", pixels)
  write_photo(tmp_path / "photo.png", 0)
  np.save(tmp_path / "grey.npy", pixels[..., 0])
  (tmp_path / "damaged.npy").write_bytes((tmp_path / "scene.npy").read_bytes()[:50])
  return pixels


def test_an_image_of_four_bands(bands, explain, tmp_path, capsys):
  images = ("gone.npy", "damaged.npy", "scene.npy", "photo.png", "grey.npy")
  code, lines, errors = explain(*images, "--classifier=wetlands:four_bands")
  assert code == 2
  found = [error.removeprefix("cawe: error: image ") for error in errors]
  assert [line.partition(" ")[0] for line in found] == [
    *("'gone.npy':", "'damaged.npy':", "'photo.png':", "'grey.npy':")
  ]
  assert "truncated or damaged" in found[1]
  assert "channels are 3, where the first image has 4" in found[2]
  assert "channels are 1" in found[3]
  assert len(lines) == 1
  assert report_of(tmp_path / "out", "scene")["target_name"] in ("dry", "wet")
  explanation = load(tmp_path / "out" / "scene.npz")
  np.testing.assert_allclose(explanation.input_image, bands / 65535, atol=1e-7)

  figure = ["figure", "out/scene.npz", "--out=bands.png", "--bands"]
  assert main([*figure, "3,2,1"]) == 0
  assert (tmp_path / "bands.png").exists()
  assert main(["figure", "out/scene.npz", "--out=more.png", "--bands=4,2,1"]) == 2
  assert "the image's 4" in capsys.readouterr().err


def test_a_network_of_other_channels_says_how_it_gets_them(bands, explain):
  code, lines, errors = explain("photo.png", "--classifier=wetlands:four_bands")
  assert (code, lines) == (2, [])
  assert "photographs have three channels, .npy files their array's" in errors[0]
  assert len(errors) == 1
