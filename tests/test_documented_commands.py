"""Every command that the documentation shows can be given as it stands.

Those of ``cawe`` are parsed, sweeps are planned (``--dry_run``), and of the others the
target of make, the module of Python and the extra of pip must be there.
"""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cawe_jax.cli.options import make_parser

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SWEEP = "python -m experiments.run "


def commands():
  """Commands of the shell blocks, and of text in backticks, with their pages."""
  for page in PAGES:
    text = page.read_text()
    for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL):
      for line in block.replace("\\\n", " ").splitlines():
        if line.strip():
          yield page.name, line
    inline = re.findall(r"(?<!`)`((?:cawe|make|python -m) [^`]+)`(?!`)", text)
    yield from ((page.name, " ".join(command.split())) for command in inline)


COMMANDS = sorted(set(commands()))


def starting_with(*starts):
  return [(page, line) for page, line in COMMANDS if line.startswith(starts)]


def words(line):
  return shlex.split(line, comments=True)


def test_commands_are_found():
  pages = {page for page, _ in COMMANDS}
  assert {"README.md", "index.md", "clusters.md", "reproduction.md"} <= pages
  known = ("cawe ", "make ", "python -m ", "pip install ")
  others = [line for _, line in COMMANDS if not line.startswith(known)]
  # A cluster's own tool, over two lines.
  assert all("gcloud" in line or "--distributed" in line for line in others), others


@pytest.mark.parametrize(("page", "line"), starting_with("cawe "))
def test_options_of_cawe(page, line):
  arguments = words(line)[1:]
  # A command's name in a sentence, or a pattern, is nothing to type.
  if len(arguments) < 2 or any(word.isupper() for word in arguments[1:]):
    return
  if "--help" in arguments:
    with pytest.raises(SystemExit, match="0"):
      make_parser().parse_args(arguments)
  else:
    make_parser().parse_args(arguments)


def test_make_lets_python_keep_compiled_modules():
  """Where the machine forbids it, each process compiles all of JAX's sources."""
  variable = "PYTHONDONTWRITEBYTECODE"
  probe = f'probe: ; @echo "[$${variable}]"'
  told = subprocess.run(
    ["make", "--silent", f"--eval={probe}", "probe"],
    cwd=ROOT,
    env={**os.environ, variable: "1"},
    capture_output=True,
    text=True,
    check=True,
  )
  assert told.stdout.strip() == "[]"


@pytest.mark.parametrize(("page", "line"), starting_with("make "))
def test_targets_of_make(page, line):
  makefile = (ROOT / "Makefile").read_text()
  for target in words(line)[1:]:
    if "=" not in target:
      assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), line


@pytest.mark.parametrize(("page", "line"), starting_with("python -m "))
def test_modules(page, line):
  module = words(line)[2]
  assert importlib.util.find_spec(module), line
  for config in re.findall(r"--config=(configs/[a-z0-9_]+\.py)", line):
    assert (ROOT / config).exists(), line


@pytest.mark.parametrize(("page", "line"), starting_with("pip install "))
def test_extras(page, line):
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  (extras,) = re.findall(r"\[(.*)\]", line) or [""]
  assert set(filter(None, extras.split(","))) <= set(project["optional-dependencies"])


@pytest.mark.slow
@pytest.mark.parametrize(
  ("page", "line"),
  [c for c in starting_with(SWEEP) if c[0] in ("experiments.md", "clusters.md")],
)
def test_sweeps_are_planned(page, line, tmp_path):
  arguments = [a for a in words(line)[1:] if not a.startswith("--workdir")]
  command = [sys.executable, *arguments, f"--workdir={tmp_path / 'w'}", "--dry_run"]
  planned = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert planned.returncode == 0, planned.stderr
  assert "photographs in" in planned.stdout
