"""The library's own code is told from other code of the same version."""

import shutil
from pathlib import Path

import pytest

import cawe_jax
from cawe_jax.files import checksums

PACKAGE = Path(cawe_jax.__file__).parent


@pytest.fixture
def copy(tmp_path, monkeypatch):
  """A copy of the package, which is looked at instead."""
  folder = tmp_path / "cawe_jax"
  shutil.copytree(PACKAGE, folder)
  monkeypatch.setattr(checksums, "_PACKAGE", folder)
  return folder


def look():
  """Without the memory of what was found before."""
  return checksums.code_version.__wrapped__()


@pytest.mark.parametrize(
  ("name", "content"),
  [
    ("perturbations/noise.py", b"FACTOR = 3\n"),
    ("learned_mask.npy", b"\x93NUMPY"),
    ("metrics/of_ones_own.py", b""),
  ],
)
def test_changed_and_new_files_are_another_library(name, content, copy):
  before = look()
  assert before == checksums.code_version()
  assert before.startswith(f"{cawe_jax.__version__}, code ")
  with (copy / name).open("ab") as file:
    file.write(content)
  assert look() != before


@pytest.mark.parametrize("name", ["playground/static/main.js", "__pycache__/a.pyc"])
def test_what_decides_no_number_does_not_count(name, copy):
  before = look()
  path = copy / name
  path.parent.mkdir(exist_ok=True)
  with path.open("ab") as file:
    file.write(b"0")
  assert look() == before
