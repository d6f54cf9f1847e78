"""Published architectures with weights of the user's, and without any."""

import functools

import jax
import numpy as np
import pytest
import safetensors.numpy

from cawe_jax import classifier_names, load_classifier
from cawe_jax.classifiers import conversion, hub, registry
from cawe_jax.classifiers.converted import Converted, save_converted
from cawe_jax.classifiers.registry import classifier_info, convert_checkpoint
from cawe_jax.files.compilation import compile_clock

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
  assert missing.endswith(f"bn1.running_var, fc.bias and {20 * 5 + 1 - 6} more")
  assert len(message) < 500
  assert unexpected == "unexpected: layer9.weight"
  assert misshapen == "misshapen: fc.weight is (10, 512), allowed: (1000, 512) or " + (
    "(1000, 512, 1, 1)"
  )


@pytest.mark.parametrize(
  "prefix",
  [
    "module.",
    "_orig_mod.",
    "model.",
    "backbone.",
    "module._orig_mod.net.",
    "layer1.0.",
  ],
)
def test_one_prefix_of_all_names_is_left_out(prefix):
  tensors, expected = resnet_tensors(), resnet_params()
  wrapped = {f"{prefix}{name}": array for name, array in tensors.items()}
  # torchvision's averages count their models.
  found = convert_checkpoint({"n_averaged": np.ones(()), **wrapped}, "resnet18")
  assert registry.checkpoint_prefix(wrapped, "resnet18") == prefix
  assert found.keys() == expected.keys()
  for path, array in expected.items():
    np.testing.assert_array_equal(found[path], array)


def test_names_of_two_parts_are_no_prefix():
  """A backbone with its own head beside it: nothing is taken for something else."""
  tensors = {
    name if name.startswith("fc.") else f"backbone.{name}": array
    for name, array in resnet_tensors().items()
  }
  with pytest.raises(
    ValueError, match=r"missing: fc\.weight, fc\.bias; unexp"
  ) as error:
    convert_checkpoint(
      {name.replace("fc.", "head."): array for name, array in tensors.items()},
      "resnet18",
    )
  assert str(error.value).endswith("unexpected: head.weight, head.bias")


@functools.cache
def resnet_tensors(num_classes=1000):
  info = classifier_info("resnet18")
  module = info.module.clone(num_classes=num_classes)
  layout = info.layouts["torchvision"](module)
  shapes = conversion.parameter_shapes(module, info.input_size)
  rng = np.random.default_rng(0)
  return {
    name: rng.uniform(0.5, 1, allowed[0]).astype(np.float32)
    for name, allowed in conversion.expected_tensors(layout, shapes).items()
  }


@functools.cache
def resnet_params():
  return convert_checkpoint(resnet_tensors(), "resnet18")


def test_a_head_has_as_many_classes_as_it_has(tmp_path):
  tensors = resnet_tensors(3)
  safetensors.numpy.save_file(tensors, tmp_path / "three.safetensors")
  params = convert_checkpoint(tensors, "resnet18")
  save_converted(
    tmp_path / "converted.safetensors", Converted("resnet18", "0" * 64, params)
  )
  images = jax.ShapeDtypeStruct((2, 224, 224, 3), np.float32)
  for file in ("three", "converted"):
    path = tmp_path / f"{file}.safetensors"
    classifier = load_classifier("resnet18", path)
    assert jax.eval_shape(lambda c, x: c(x), classifier, images).shape == (2, 3)
    np.testing.assert_array_equal(
      classifier.params["classifier"]["kernel"], tensors["fc.weight"].T
    )
    assert classifier.class_names is None
    assert classifier.class_name(2) == "class 2"
    named = load_classifier("resnet18", path, class_names=["a", "b", "c"])
    assert named.class_index("b") == 1
    with pytest.raises(ValueError, match="has 2 class_names and 3 outputs"):
      load_classifier("resnet18", path, class_names=["a", "b"])


def test_the_published_weights_have_no_entries():
  with pytest.raises(ValueError, match="entry is 'model', but no file of weights is"):
    load_classifier("efficientnet-lite0", entry="model")


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
