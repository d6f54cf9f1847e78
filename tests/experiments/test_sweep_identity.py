"""A sweep is told from others by what it computes with, not by names alone."""

import sys

import numpy as np
import pytest
from tiny import get_config

from cawe_jax.cli.imports import make_part
from cawe_jax.methods import Method
from experiments import building
from experiments import sweep as sweep_
from experiments.sweep import check_sweep, open_sweep

OWN = """
import sum_of_squares

def distortion(clean_logits, logits, target):
  return sum_of_squares.of(clean_logits - logits)
"""


@pytest.mark.parametrize(
  ("place", "edited"),
  [
    ("settings.distortion", "my_distortion.py"),
    ("settings.distortion", "sum_of_squares.py"),
    ("curve.distortion", "my_distortion.py"),
    ("settings.classifier", "my_classifier.py"),
  ],
)
def test_an_edited_function_of_ones_own_is_refused(
  place, edited, tmp_path, monkeypatch
):
  sources = {
    "my_distortion.py": OWN,
    "sum_of_squares.py": "def of(x):\n  return (x**2).sum()\n",
    "my_classifier.py": "from tiny import make_classifier\n",
  }
  for name, source in sources.items():
    (tmp_path / name).write_text(source)
    monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
  monkeypatch.syspath_prepend(tmp_path)
  config = get_config()
  config.task = "curves"
  config.curve = {"mask": "keep", "distortion": "l2", "num_draws": 1, "fractions": ()}
  function = "make_classifier" if place == "settings.classifier" else "distortion"
  module = edited if function == "make_classifier" else "my_distortion.py"
  part, name = place.split(".")
  config[part][name] = f"{module.removesuffix('.py')}:{function}"
  open_sweep(config, tmp_path / "run")
  open_sweep(config, tmp_path / "run")
  (tmp_path / edited).write_text(sources[edited] + "# another formula\n")
  with pytest.raises(
    ValueError, match=r"earlier state of the file of \w+ .*:\w+;"
  ) as e:
    open_sweep(config, tmp_path / "run")
  assert config[part][name] in str(e.value)


def test_a_dry_run_refuses_what_a_run_would_and_writes_nothing(tmp_path):
  config = get_config()
  check_sweep(config, str(tmp_path / "new"))
  check_sweep(config, None)
  assert not (tmp_path / "new").exists()
  open_sweep(config, tmp_path / "run")
  config.settings.steps = 13
  with pytest.raises(ValueError, match=r"steps.*12.*13"):
    check_sweep(config, str(tmp_path / "run"))
  config.settings.classifier = "tiny:none"
  with pytest.raises(ValueError, match="module 'tiny' has no"):
    check_sweep(config, None)


SCALED = """
import dataclasses

import jax
import numpy as np
import tiny

def make_classifier():
  made, scale = tiny.make_classifier(), np.load("scale.npy")
  params = jax.tree.map(lambda x: x * scale, made.params)
  return dataclasses.replace(made, params=params)
"""


def test_other_weights_of_a_network_of_ones_own_are_refused(tmp_path, monkeypatch):
  """The function's file is the same, and what it reads is not."""
  (tmp_path / "of_ones_own.py").write_text(SCALED)
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  config = get_config()
  config.settings.classifier = "of_ones_own:make_classifier"

  def open_again(scale):
    np.save("scale.npy", np.float32(scale))
    building._load.cache_clear()  # as in a process of its own
    make_part.cache_clear()
    open_sweep(config, tmp_path / "run")

  open_again(1)
  open_again(1)
  with pytest.raises(ValueError, match="weights_sha256"):
    open_again(2)


@pytest.mark.parametrize("what", ["arrays", "library"])
def test_other_arrays_or_another_library_are_refused(what, tmp_path, monkeypatch):
  """A fork changes weights or a formula, and neither name nor version."""
  config = get_config()
  arrays = {"arrays_sha256": "one"} if what == "arrays" else {}
  monkeypatch.setattr(Method, "settings", lambda method: arrays)
  open_sweep(config, tmp_path / "run")
  open_sweep(config, tmp_path / "run")
  if what == "arrays":
    arrays["arrays_sha256"] = "other"
  else:
    monkeypatch.setattr(sweep_, "code_version", lambda: "0.1.0, code 0")
  words = {"arrays": "arrays_sha256", "library": "versions.cawe_jax"}
  with pytest.raises(ValueError, match=words[what]):
    open_sweep(config, tmp_path / "run")
