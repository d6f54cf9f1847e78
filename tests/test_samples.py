"""The sample photographs are there, are photographs, and carry the right labels."""

import importlib.metadata

import pytest

from cawe_jax import samples
from cawe_jax.files import images


def test_names():
  names = samples.sample_names()
  assert len(names) == len(set(names)) == 24
  assert {"astronaut", "chelsea", "coffee", "rocket", "imagenet-19"} <= set(names)


@pytest.mark.parametrize("name", samples.sample_names())
def test_every_sample_is_a_photograph(name):
  image = images.load_image(samples.sample_path(name), size=64)
  assert image.shape == (64, 64, 3)
  assert image.std() > 0.05


def test_labels():
  labels = [samples.sample_label(name) for name in samples.sample_names()[4:]]
  expected = "243 559 438 990 949 853 609 609 915 455 541 630 741 471 129 99 251 22 317"
  assert labels == [*map(int, expected.split()), 305]
  assert samples.sample_label("chelsea") is None


def test_unknown_name():
  for call in (samples.sample_path, samples.sample_label):
    with pytest.raises(
      ValueError, match="'dog' is unknown, allowed are astronaut, che"
    ):
      call("dog")


@pytest.mark.parametrize("name", ["rocket", "imagenet-03"])
def test_package_not_installed(name, monkeypatch, tmp_path):
  def missing(package):
    raise importlib.metadata.PackageNotFoundError(package)

  with monkeypatch.context() as patch:
    patch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(ValueError, match=r"pip install 'cawe-jax\[samples\]'") as error:
      samples.sample_path(name)
  assert "\n" not in str(error.value)

  class WithoutFiles:
    def locate_file(self, path):
      return tmp_path / path

  monkeypatch.setattr(importlib.metadata, "distribution", lambda _: WithoutFiles())
  with pytest.raises(ValueError, match="needs the package"):
    samples.sample_path(name)
