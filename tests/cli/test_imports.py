"""Parts from a user's file: what is found, and what each mistake is told."""

import hashlib
import itertools
import sys

import pytest

from cawe_jax import distortions
from cawe_jax.cli.imports import import_function, names_function, source_of
from cawe_jax.cli.parts import (
  own_parts,
  parse_distortion,
  parse_perturbation,
  parse_representation,
)
from cawe_jax.methods.names import REPRESENTATIONS

SOURCE = """
import functools

from cawe_jax import perturbations
from cawe_jax.types import Perturbation, Transform


class fog(perturbations.zeros):
  pass


class frame(Transform):
  def bind(self, image_shape):
    return None


def gap(clean_logits, logits, target):
  return 0.0


def with_default(clean_logits, logits, target, power=2):
  return 0.0


def two(logits, target):
  return 0.0


def number():
  return 3


def broken():
  raise RuntimeError("two\\nlines")


VALUE = 3
nameless = functools.partial(gap)
"""
NUMBERS = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch):
  """The name of a module in the current folder; another one for each test."""
  name = f"own_{next(NUMBERS)}"
  (tmp_path / f"{name}.py").write_text(SOURCE)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
  yield name
  sys.modules.pop(name, None)


def test_parts_are_what_the_functions_return(module):
  assert parse_perturbation(f"{module}:fog").name == "fog()"
  assert parse_representation(f"{module}:frame").name == "frame()"
  for name in ("gap", "with_default"):
    assert parse_distortion(f"{module}:{name}").__name__ == name


def test_the_same_text_is_the_same_part(module):
  # Programs are compiled for parts; a sweep's jobs share them.
  assert parse_perturbation(f"{module}:fog") is parse_perturbation(f"{module}:fog")


def test_modules_of_packages_and_of_subfolders(module, tmp_path):
  assert parse_distortion("cawe_jax.distortions:kl") is distortions.kl
  folder = tmp_path / f"{module}_more"
  folder.mkdir()
  (folder / "inner.py").write_text(SOURCE)
  assert parse_perturbation(f"{module}_more.inner:fog").name == "fog()"


def test_the_librarys_names_come_first(module, tmp_path):
  (tmp_path / "zeros.py").write_text(SOURCE)
  with pytest.raises(ValueError, match="come numbers"):
    parse_perturbation("zeros:fog")


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("mine:fog", True),
    ("a.b:fog", True),
    ("my-file:fog", True),
    ("blur", False),
    ("blur:5", False),
    ("scaled-gaussian:1,0.5", False),
    (":fog", False),
    ("mine:", False),
    ("mine:fog()", False),
  ],
)
def test_what_has_the_form(text, expected):
  assert names_function(text) is expected


@pytest.mark.parametrize(
  ("parse", "text", "message"),
  [
    (parse_perturbation, "nowhere:fog", "no module 'nowhere'; allowed is MODULE:FUNC"),
    (parse_perturbation, "{}.py:fog", r"no module '\w+\.py'; allowed is MODULE:FUNC"),
    (parse_perturbation, "./{}.py:fog", "no module './.*'; allowed is MODULE:FUNC"),
    (
      parse_perturbation,
      "{}:smog",
      "has no 'smog'; its functions are: fog, frame, gap",
    ),
    (parse_perturbation, "{}:VALUE", "is of type int; it must be a function"),
    (parse_perturbation, "{}:number", "returned 3; it must return .*Perturbation"),
    (parse_perturbation, "{}:frame", r"returned frame\(\).*must return .*Perturbation"),
    (parse_perturbation, "{}:gap", "needs arguments; .*Perturbation"),
    (parse_perturbation, "{}:broken", "failed with RuntimeError: two$"),
    (parse_representation, "{}:fog", r"returned fog\(\).* must return .*Transform"),
    (
      parse_representation,
      "haar",
      f"allowed: {', '.join(REPRESENTATIONS)}, or MODULE:FUNCTION",
    ),
    (parse_distortion, "{}:two", "function of clean_logits, logits, target"),
    (parse_distortion, "{}:fog", "function of clean_logits, logits, target"),
    (parse_distortion, "{}:nameless", "is of type partial, .*write it with def"),
    (parse_distortion, "{}:smog", "has no 'smog'"),
  ],
)
def test_mistakes_are_one_line(parse, text, message, module):
  text = text.format(module)
  option = parse.__name__.removeprefix("parse_")
  with pytest.raises(ValueError, match=message) as error:
    parse(text)
  assert str(error.value).startswith(f"{option} {text!r}")
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("source", "message"),
  [
    ("import no_such_package", "failed with ModuleNotFoundError: No module named"),
    ("def (", "failed with SyntaxError"),
    ("1 / 0", "failed with ZeroDivisionError"),
  ],
)
def test_modules_that_fail_say_why(source, message, module, tmp_path):
  (tmp_path / f"{module}_bad.py").write_text(source)
  with pytest.raises(ValueError, match=f"module '{module}_bad' {message}"):
    import_function("perturbation", f"{module}_bad:fog")


def test_unknown_names_say_that_own_ones_are_allowed():
  for parse in (parse_perturbation, parse_distortion):
    with pytest.raises(ValueError, match="or MODULE:FUNCTION for one of your own"):
      parse("snow")


def test_own_parts_are_told_apart_by_text_and_file(module, tmp_path):
  text = f"{module}:fog"
  texts = {"perturbation": text, "distortion": "kl", "representation": None}
  file = tmp_path / f"{module}.py"
  digest = hashlib.sha256(file.read_bytes()).hexdigest()
  assert own_parts(texts) == {"perturbation": {"function": text, "sha256": digest}}
  file.write_text(SOURCE + "\n# changed\n")
  assert source_of("perturbation", text)["sha256"] != digest
  assert source_of("distortion", "builtins:max")["sha256"] is None


def test_own_parts_are_told_apart_by_the_files_they_import(module, tmp_path):
  """Directly, through another file and from within a function; and by no others."""
  sources = {
    "first": f"from {module}_second import power\n",
    "second": f"def power():\n  import {module}_third\n",
    "third": f"import {module}_first, numpy\n",
    "stranger": "",
  }
  for name, source in sources.items():
    (tmp_path / f"{module}_{name}.py").write_text(source)
  text = f"{module}_first:power"
  imports = source_of("distortion", text)["imports"]
  assert imports == {
    f"{module}_{name}.py": hashlib.sha256(sources[name].encode()).hexdigest()
    for name in ("second", "third")
  }
