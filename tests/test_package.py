"""What holds for the package as a whole: imports, their direction, documentation."""

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cawe_jax

ROOT = Path(cawe_jax.__file__).parent
MODULES = {
  ".".join(path.relative_to(ROOT).with_suffix("").parts): path
  for path in sorted(ROOT.rglob("*.py"))
}


def imports_of(path):
  """Every module that a file imports, inside functions too."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: a relative import"
      # What is imported from a package may be a module of it.
      names = {f"{node.module}.{alias.name}" for alias in node.names}
      modules = {n for n in names if n.removeprefix("cawe_jax.") in MODULES}
      found |= modules if modules == names else {node.module, *names}
  return found


def own_imports_of(name):
  """Modules of the package, by their names inside it."""
  inside = {
    i.removeprefix("cawe_jax.")
    for i in imports_of(MODULES[name])
    if i.startswith("cawe_jax.")
  }
  return {i for i in inside if i in MODULES or f"{i}.__init__" in MODULES}


# A module may import those of the rows above it and what its own row names.
ALLOWED = {
  "types": set(),
  "memo": set(),
  "contracts": {"types"},
  "inpainting": {"types"},
  "distortions": {"types", "memo"},
  "penalties": {"types", "memo"},
  "random_bits": {"types"},
  "rows": set(),
  "perturbations": {"types", "memo", "inpainting", "random_bits", "rows"},
  "representations.pixel": {"types", "memo"},
  "representations.wavelet": {"types", "memo"},
  "initial_masks": {"types", "memo"},
  "schedules": {"types", "memo"},
  "stopping": {"types", "memo"},
  "solvers.solver": {"types"},
  "solvers.projected": {"types", "memo", "solvers.solver"},
  "solvers.moments": {"types", "solvers.solver"},
  "solvers.safeguard": {"types", "solvers.moments", "solvers.solver"},
  "solvers.aligned": {
    "types",
    "memo",
    "rows",
    "solvers.moments",
    "solvers.safeguard",
    "solvers.solver",
  },
  "tiles": {"types"},
  "objective": {"types", "penalties", "classifiers.outputs", "tiles"},
  "recipes": {"initial_masks", "schedules", "solvers", "stopping"},
  "files": set(),
  "cache": set(),
  "images": set(),
  "samples": set(),
  "storage": {"files", "types"},
  "classifiers.outputs": {"types", "memo", "distortions"},
  "classifiers.classifier": {"types", "classifiers.outputs"},
  "classifiers.windows": {"types"},
  "classifiers.convolution": {"types", "classifiers.windows"},
  "classifiers.pooling": {"types", "classifiers.windows"},
  "classifiers.conversion": set(),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_parts_import_only_what_they_are_made_of(name):
  assert own_imports_of(name) <= ALLOWED[name]


def test_no_module_imports_itself_through_others():
  graph = {
    name.removesuffix(".__init__"): own_imports_of(name) - {name} for name in MODULES
  }
  done = set()
  while len(done) < len(graph):
    ready = {name for name in graph.keys() - done if graph[name] - {name} <= done}
    assert ready, f"a circle among {sorted(graph.keys() - done)}"
    done |= ready


def test_the_library_does_not_know_what_uses_it():
  for name, path in MODULES.items():
    imported = imports_of(path)
    roots = {i.partition(".")[0] for i in imported}
    assert not roots & {"experiments", "tests", "ml_collections"}, name
    if name != "classifiers.torch_bridge":
      assert "torch" not in roots, name
    own = own_imports_of(name)
    if not name.startswith("figures"):
      assert "matplotlib" not in roots, name
    if not name.startswith("cli"):
      assert not any(i.partition(".")[0] == "cli" for i in own), name
      assert "rich" not in roots, name
    if not name.startswith("cli") and name != "playground.paths":
      assert "argparse" not in roots, name
    if not name.startswith(("cli", "figures", "playground")):
      assert not any(i.partition(".")[0] == "figures" for i in own), name
    if not name.startswith("playground") and name != "cli.playground":
      assert not any(i.partition(".")[0] == "playground" for i in own), name
      assert roots.isdisjoint({"msgspec", "starlette", "uvicorn", "websockets"}), name


IMPORT = """
import sys, warnings
warnings.simplefilter("error")
import jax
before = dict(jax.config.values)
import cawe_jax
after = dict(jax.config.values)
changed = {k for k in after if after[k] != before.get(k)}
assert not changed, changed
loaded = [m for m in ("matplotlib", "torch", "skimage", "foolbox") if m in sys.modules]
assert not loaded, loaded
"""


def test_import_is_silent_and_changes_nothing(tmp_path):
  result = subprocess.run(
    [sys.executable, "-c", IMPORT],
    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    cwd=tmp_path,
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", cawe_jax.__all__)
def test_public_names_are_documented(name):
  public = getattr(cawe_jax, name)
  text = inspect.getdoc(public)
  assert text
  first = text.splitlines()[0]
  assert first.endswith(".")
  # A NamedTuple's generated one is its signature.
  assert not first.startswith(f"{name}(")


# Parts of the machine that nobody needs to call.
INTERNAL = {
  "cache",
  "checks",
  "compilation",
  "devices",
  "files",
  "flat_masks",
  "programs",
  "session",
}
# Their public names are the library's or their folder's.
REEXPORTED = {"explain", "methods", "paths", "presets"}


@pytest.mark.parametrize(
  "name", sorted({n.partition(".")[0] for n in MODULES} - INTERNAL - REEXPORTED)
)
def test_the_reference_has_every_module(name):
  pages = (ROOT.parent / "docs" / "reference").rglob("*.md")
  shown = {m for p in pages for m in re.findall(r"automodule:: (\S+)", p.read_text())}
  module = "cawe_jax" if name == "__init__" else f"cawe_jax.{name}"
  assert module in shown or name in {"cli", "playground"}


def test_all_names_what_is_imported():
  imported = {
    name
    for name, value in vars(cawe_jax).items()
    if not name.startswith("_") and not inspect.ismodule(value)
  }
  assert imported == set(cawe_jax.__all__)
  assert sorted(cawe_jax.__all__) == cawe_jax.__all__


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name):
  assert ast.get_docstring(ast.parse(MODULES[name].read_text()))
