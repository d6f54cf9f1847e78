"""`cawe convert`: the file is the same network; no checkpoint, no file."""

import collections
import os
import pickle

import jax
import numpy as np
import pytest
import safetensors.numpy
from tiny_checkpoint import RNG, TENSORS, digest, refused

from cawe_jax.classifiers import registry
from cawe_jax.classifiers.converted import read_converted

pytestmark = pytest.mark.usefixtures("tiny_architecture")


def test_a_converted_file_is_the_same_network(run, weights, tmp_path):
  out = tmp_path / "tiny.safetensors"
  code, printed, errors = run("convert", weights, "--architecture=tiny", "--out", out)
  assert (code, errors) == (0, [])
  logits = TENSORS["fc.weight"].sum(1) / 2 + TENSORS["fc.bias"]
  assert printed == [
    "tiny: 4,000 parameters in 2 arrays",
    f"from {weights}, SHA-256 {digest(weights)}",
    f"to   {out}, SHA-256 {digest(out)}",
    f"check: 1000 finite logits of a grey image, from {logits.min():.2f} to "
    f"{logits.max():.2f}",
  ]
  assert read_converted(out, "tiny").source_sha256 == digest(weights)
  image = RNG.random((1, 32, 32, 3), dtype=np.float32)
  expected = image.mean((1, 2)) @ TENSORS["fc.weight"].T + TENSORS["fc.bias"]
  for path in (weights, out):
    classifier = registry.load_classifier("tiny", path)
    np.testing.assert_allclose(classifier(image), expected, rtol=1e-5, atol=1e-5)


def test_convert_replaces_nothing_unasked(run, weights, tmp_path):
  out = tmp_path / "tiny.safetensors"
  out.write_bytes(b"precious")
  arguments = ("convert", weights, "--architecture=tiny", "--out", out)
  refused(run(*arguments), "exists; --force replaces it")
  assert out.read_bytes() == b"precious"
  assert run(*arguments, "--force")[0] == 0
  assert read_converted(out, "tiny").architecture == "tiny"


def test_what_convert_refuses(run, weights, tmp_path):
  exploit = tmp_path / "exploit.pth"
  call = collections.namedtuple("Call", "function arguments")
  call.__reduce__ = lambda self: (os.mkdir, (str(tmp_path / "MARK"),))
  exploit.write_bytes(pickle.dumps(call(1, 2), 2))
  short, broken, done = (tmp_path / f"{i}.safetensors" for i in range(3))
  safetensors.numpy.save_file({"fc.weight": TENSORS["fc.weight"][:9]}, short)
  huge = {f"fc.{k}": np.full_like(TENSORS[f"fc.{k}"], 3e38) for k in ("weight", "bias")}
  safetensors.numpy.save_file(TENSORS | huge, broken)
  lost = tmp_path / "lost.safetensors"
  nothing = {"fc.bias": TENSORS["fc.bias"] * np.float32(np.nan)}
  safetensors.numpy.save_file(TENSORS | nothing, lost)
  assert run("convert", weights, "--architecture=tiny", "--out", done)[0] == 0
  out = tmp_path / "out.safetensors"
  for checkpoint, name, target, message in [
    (exploit, "tiny", out, "refused to load"),
    (short, "tiny", out, "missing: fc.bias; misshapen: fc.weight is (9, 3)"),
    (broken, "tiny", out, "logits of a grey image are not finite, so nothing was"),
    (lost, "tiny", out, "fc.bias has 1000 NaN or infinite numbers among 1000"),
    (done, "tiny", out, "has been converted already"),
    (tmp_path / "none", "tiny", out, "cannot be read (No such file or directory)"),
    (tmp_path, "tiny", out, "cannot be read (Is a directory)"),
    (weights, "resnet", out, "classifier 'resnet' is unknown; allowed: "),
    (weights, "tiny", tmp_path / "out.pth", "must end with .safetensors"),
    (weights, "tiny", tmp_path / "no" / out.name, "its folder does not exist"),
  ]:
    outcome = run("convert", checkpoint, f"--architecture={name}", "--out", target)
    refused(outcome, message)
  names = {path.name for path in tmp_path.iterdir()}
  assert names == {
    *("weights.safetensors", "exploit.pth"),
    *("0.safetensors", "1.safetensors", "2.safetensors", "lost.safetensors"),
  }


def test_convert_needs_an_architecture_and_a_file(run, capsys):
  for arguments in (["x.pth"], ["x.pth", "--out=y.safetensors"]):
    with pytest.raises(SystemExit) as error:
      run("convert", *arguments)
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cawe: error: the following arguments are required: ")


def test_rules_of_the_environment_do_not_stop_it(run, weights, tmp_path):
  out = tmp_path / "tiny.safetensors"
  with jax.transfer_guard("disallow"), jax.numpy_dtype_promotion("strict"):
    code, printed, errors = run("convert", weights, "--architecture=tiny", "--out", out)
  assert (code, errors, len(printed)) == (0, [], 4)
