"""Parts of one's own, given to the shell as `MODULE:FUNCTION`."""

import re
import sys

import numpy as np
import pytest
from shell_runs import report_of

import cawe_jax
from cawe_jax.cli import main
from cawe_jax.cli.imports import make_part

pytestmark = pytest.mark.usefixtures("tiny_network", "quick_figures")


OWN_PARTS = """
import jax.numpy as jnp

from cawe_jax.part import setting
from cawe_jax.representations import wavelet
from cawe_jax.types import Perturbation, Transform


class fog(Perturbation):
  is_random = False

  def init(self, instance):
    return instance.representation.analysis(jnp.full_like(instance.image, 0.5))

  def sample(self, key, state, masked):
    return tuple(
      s + k - m * s for s, m, k in zip(state, masked.mask, masked.kept)
    )


def mist():
  return fog()


def gap(clean_logits, logits, target):
  return jnp.square(clean_logits[target] - logits[target])


class nothing(Transform):
  def bind(self, image_shape):
    return None


class failing(Transform):
  def bind(self, image_shape):
    return 1 / 0


class haar(wavelet):
  wavelet: str = setting(default="haar")
  levels: int = setting(default=2)
  name = "my haar"
"""


def test_parts_of_ones_own(photo, tmp_path, capsys, monkeypatch):
  (tmp_path / "own_parts.py").write_text(OWN_PARTS)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
  quick = ["explain", "photo.png", "--out=out", "--steps=4", "--draws=2"]
  original, found = cawe_jax.explain, []

  def explain_once(*arguments, **options):
    # What the later calls would find is not looked at.
    if not found:
      found.append(original(*arguments, **options))
    return found[0]

  monkeypatch.setattr(cawe_jax, "explain", explain_once)

  def explained(perturbation):
    """Whether it was done now, and not before."""
    monkeypatch.delitem(sys.modules, "own_parts", raising=False)
    code = main(
      [
        *quick,
        f"--perturbation=own_parts:{perturbation}",
        "--distortion=own_parts:gap",
        "--representation=own_parts:haar",
      ]
    )
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out != ""

  assert explained("fog")
  report = report_of(tmp_path / "out")
  method = report["method"]
  assert method["perturbation"] == "fog()"
  assert method["distortion"] == "gap"
  assert method["representation"] == "my haar"
  parts = report["request"]["own_parts"]
  assert [parts[x]["function"] for x in ("perturbation", "distortion")] == [
    "own_parts:fog",
    "own_parts:gap",
  ]
  assert not explained("fog")
  # Another function, though its perturbation has the same name; another file.
  assert explained("mist")
  assert not explained("mist")
  (tmp_path / "own_parts.py").write_text(OWN_PARTS + "\n# changed\n")
  assert explained("mist")
  # Without parts of one's own, the request is as it always was.
  assert main([*quick, "--wavelet=haar", "--levels=2"]) == 0
  assert "own_parts" not in report_of(tmp_path / "out")["request"]


LEARNED = """
import numpy as np

from cawe_jax.initial_masks import InitialMask
from cawe_jax.part import data

WEIGHTS = np.load("learned.npy")


class learned(InitialMask):
  weights: np.ndarray = data(default=WEIGHTS)

  def make(self, key, instance):
    shapes = instance.representation.mask_shapes
    return tuple(np.full(shape, 1, np.float32) * self.weights[0] for shape in shapes)
"""


def test_learned_weights_of_ones_own(photo, tmp_path, capsys, monkeypatch):
  """Other weights of the same part are another question."""
  (tmp_path / "learned_start.py").write_text(LEARNED)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
  found = []
  for weight in (0.5, 0.5, 0.75):
    np.save("learned.npy", np.float32([weight]))
    monkeypatch.delitem(sys.modules, "learned_start", raising=False)
    make_part.cache_clear()  # as in a process of its own
    quick = ["explain", "photo.png", "--out=out", "--steps=2", "--draws=2"]
    assert main([*quick, "--initial-mask=learned_start:learned"]) == 0
    found.append("finished before" in capsys.readouterr().err)
  assert found == [False, True, False]


@pytest.mark.parametrize(
  ("function", "message"),
  [
    (
      "nothing",
      r"representation 'nothing\(\)', made for images of .*, is None; it must be",
    ),
    (
      "failing",
      r"'failing\(\)', made for images of shape \(32, 32, 3\), failed with ZeroDiv",
    ),
  ],
)
def test_representations_that_are_none(
  function, message, photo, tmp_path, capsys, monkeypatch
):
  (tmp_path / "none_of_mine.py").write_text(OWN_PARTS)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
  assert (
    main(["explain", "photo.png", f"--representation=none_of_mine:{function}"]) == 2
  )
  (line,) = capsys.readouterr().err.splitlines()
  assert re.search(message, line)


OWN_NETWORK = """
import numpy as np

import cawe_jax

WEIGHTS = np.random.default_rng(SEED).normal(size=(32 * 32 * 3, 4)).astype("float32")


def linear(weights, images):
  return images.reshape(len(images), -1) @ weights


def net():
  return cawe_jax.Classifier(linear, WEIGHTS, 32, name="my net")


def grey():
  return cawe_jax.Classifier(linear, WEIGHTS[::3], 32, name="grey net")


def number():
  return 3
"""


@pytest.fixture
def own_network(photo, tmp_path, capsys, monkeypatch):
  """Runs `cawe explain photo.png` with a network of a file in the current folder."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", [p for p in sys.path if p])

  def call(*options, seed=0):
    monkeypatch.delitem(sys.modules, "own_network", raising=False)
    make_part.cache_clear()
    (tmp_path / "own_network.py").write_text(OWN_NETWORK.replace("SEED", str(seed)))
    quick = ["explain", "photo.png", "--out=out", "--steps=4", "--draws=2", "--force"]
    code = main([*quick, *options])
    return code, capsys.readouterr()

  return call


def test_a_network_of_ones_own(own_network, tmp_path):
  (tmp_path / "names.txt").write_text("cat\ndog\nfox\nowl\n")
  named = "--classifier=own_network:net", "--class-names=names.txt", "--target=fox"
  code, _ = own_network(*named)
  assert code == 0
  report = report_of(tmp_path / "out")
  assert (report["classifier"], report["target_name"]) == ("my net", "fox")
  first = report["request"]
  assert first["own_parts"]["classifier"]["function"] == "own_network:net"
  assert own_network(*named)[0] == 0
  assert report_of(tmp_path / "out")["request"] == first
  # Its weights may come from anywhere, so they are looked at themselves.
  own_network(*named, seed=1)
  other = report_of(tmp_path / "out")["request"]
  assert other["weights_sha256"] != first["weights_sha256"]


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (["own_network:none"], "module 'own_network' has no 'none'; its functions are: "),
    (["own_network:number"], "returned 3; it must return a .*Classifier"),
    (["own_network:linear"], "needs arguments; it must be a function without any"),
    (
      ["own_network:grey"],
      r"'grey net' failed on an image of shape \(32, 32, 3\), with ",
    ),
    (
      ["own_network:net", "--weights=w.pth"],
      "--weights 'w.pth' belongs to a network of",
    ),
    (["own_network:net", "--entry=ema"], "--entry 'ema' belongs to a network of"),
  ],
)
def test_networks_that_are_none(options, message, own_network, tmp_path):
  name, *others = options
  code, captured = own_network(f"--classifier={name}", *others)
  assert code == 2
  (line,) = captured.err.splitlines()
  assert re.search(message, line)
  assert not list((tmp_path / "out").glob("*.json"))
