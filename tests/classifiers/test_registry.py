"""Published architectures with weights of the user's, and without any."""

import re

import jax
import numpy as np
import pytest

from cawe_jax import classifier_names, load_classifier
from cawe_jax.classifiers import hub, registry
from cawe_jax.classifiers.registry import classifier_info, convert_checkpoint
from cawe_jax.compilation import compile_clock

EXPECTED_NAMES = [
  *(f"efficientnet-lite{i}" for i in range(3)),
  *("mobilenet_v3_small", "mobilenet_v3_large"),
  *("vgg16", "vgg16_bn", "vgg19", "vgg19_bn"),
  *("resnet18", "resnet34", "resnet50"),
  *("vit_tiny", "vit_small", "vit_base", "vit_b_16"),
  *("deit_tiny", "deit_small", "deit_base"),
  "convnext_tiny",
]


def test_names():
  assert classifier_names() == tuple(EXPECTED_NAMES)


@pytest.mark.parametrize("name", EXPECTED_NAMES)
def test_every_network_says_where_it_comes_from(name):
  info = classifier_info(name)
  assert info.name == name
  assert info.source.startswith("https://")
  assert 65 < info.top1 < 90
  # Weights can be had in some way.
  assert info.package or info.repository or info.checkpoint
  assert info.resize is None or info.resize.size > info.input_size


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "convnext_tiny", "vit_b_16"])
def test_without_weights_the_published_file_is_named(name):
  with pytest.raises(ValueError, match=name) as error:
    load_classifier(name)
  message = str(error.value)
  assert "\n" not in message
  assert classifier_info(name).checkpoint in message
  assert "--weights FILE" in message


def test_a_failed_download_names_the_network(monkeypatch):
  def fail(repository):
    raise ValueError(f"{repository} cannot be reached")

  monkeypatch.setattr(hub, "download", fail)
  expected = "^classifier 'resnet18': timm/resnet18.tv_in1k cannot be reached$"
  with pytest.raises(ValueError, match=expected):
    load_classifier("resnet18")


def test_a_checkpoint_of_another_network():
  tensors = {
    name: np.zeros(allowed, np.float32)
    for name, allowed in {"fc.weight": (10, 512), "layer9.weight": (1,)}.items()
  }
  with pytest.raises(ValueError, match="'resnet18'") as error:
    convert_checkpoint(tensors, "resnet18")
  message = str(error.value)
  assert "\n" not in message
  missing, unexpected, misshapen = message.split("; ")
  # Twenty convolutions with four tensors of a normalisation each, and a bias.
  assert len(re.findall(r"[\w.]+\.(?:weight|bias|running_\w+)", missing)) == 20 * 5 + 1
  assert unexpected == "unexpected: layer9.weight"
  assert misshapen == "misshapen: fc.weight is (10, 512), allowed: (1000, 512) or " + (
    "(1000, 512, 1, 1)"
  )


def test_networks_with_and_without_batch_norm_are_told_apart():
  info = classifier_info("vgg16_bn")
  names = {
    name: layouts["torchvision"](info.module)
    for name, layouts in (
      ("vgg16", classifier_info("vgg16").layouts),
      ("vgg16_bn", info.layouts),
    )
  }
  plain, normalised = names["vgg16"], names["vgg16_bn"]
  assert plain.keys() == normalised.keys()
  # The second stage begins after two convolutions, two ReLUs and a pooling.
  assert plain["stage_1_conv_0"].weight == "features.5.weight"
  assert normalised["stage_1_conv_0"].weight == "features.7.weight"
  assert normalised["stage_1_conv_0"].norm == "features.8"


def test_imagenet_names():
  names = registry.imagenet_class_names()
  assert len(names) == 1000
  assert names[340] == "zebra"
  assert all(isinstance(name, str) and name.strip() for name in names)


def test_loading_compiles_nothing():
  load_classifier("efficientnet-lite0")  # the first time weights are converted
  jax.clear_caches()
  with compile_clock() as clock:
    load_classifier("efficientnet-lite0")
  assert clock.seconds == 0
