"""What holds for the package as a whole: imports, their direction, documentation."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest
from processes import run_python

import cawe_jax

ROOT = Path(cawe_jax.__file__).parent
MODULES = {
  ".".join(path.relative_to(ROOT).with_suffix("").parts): path
  for path in sorted(ROOT.rglob("*.py"))
}


def is_module(name):
  return name in MODULES or f"{name}.__init__" in MODULES


def imports_of(path):
  """Every module that a file imports, inside functions too."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: a relative import"
      # What is imported from a package may be a module of it, or a package.
      names = {f"{node.module}.{alias.name}" for alias in node.names}
      modules = {n for n in names if is_module(n.removeprefix("cawe_jax."))}
      found |= modules if modules == names else {node.module, *names}
  return found


def own_imports_of(name):
  """Modules of the package, by their names inside it."""
  found = imports_of(MODULES[name])
  inside = {i.removeprefix("cawe_jax.") for i in found if i.startswith("cawe_jax.")}
  public = {"__init__"} & {"__init__" for i in found if i == "cawe_jax"}
  return {i for i in inside if is_module(i)} | public


# Every module is in one layer, by its name or that of its package. It may import what
# is in the layers above its own; and its own package, or its own layer where the layer
# says so. The parts of a method know nothing of each other, and the mathematics knows
# no network.
LAYERS = [
  ("values", {"version", "part", "types"}),
  ("numbers", {"numerics", "inpainting"}),
  ("files", {"files", "samples"}),
  ("signals", {"signals"}),
  ("elementary parts", {"distortions", "penalties", "representations", "solvers"}),
  ("parts", {"outputs", "perturbations", "initial_masks", "schedules", "stopping"}),
  ("mathematics", {"objective"}),
  ("what a method is", {"recipes", "methods"}),
  ("networks", {"classifiers"}),
  ("engine", {"engine"}),
  ("explaining", {"explaining", "obfuscations"}),
  ("comparing", {"attribution", "metrics"}),
  ("figures", {"figures"}),
  ("public", {"__init__"}),
  ("page", {"playground"}),
  ("shell", {"cli"}),
]
TOGETHER = {"values", "what a method is", "comparing"}
LAYER_OF = {name: i for i, (_, names) in enumerate(LAYERS) for name in names}


def package_of(name):
  return name.partition(".")[0]


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name):
  package = package_of(name)
  layer = LAYER_OF[package]
  for other in map(package_of, own_imports_of(name)):
    together = LAYERS[layer][0] in TOGETHER and LAYER_OF[other] == layer
    assert other == package or LAYER_OF[other] < layer or together, other


def test_no_module_imports_itself_through_others():
  graph = {
    name.removesuffix(".__init__"): own_imports_of(name) - {name} for name in MODULES
  }
  done = set()
  while len(done) < len(graph):
    ready = {name for name in graph.keys() - done if graph[name] - {name} <= done}
    assert ready, f"a circle among {sorted(graph.keys() - done)}"
    done |= ready


@pytest.mark.parametrize("name", [n for n in MODULES if n.endswith("__init__")])
def test_no_public_name_is_that_of_a_module_beside_it(name):
  package = ".".join(("cawe_jax", *name.split(".")[:-1]))
  module = importlib.import_module(package)
  for public in getattr(module, "__all__", ()):
    value = getattr(module, public)
    place = f"{package}.{public}".removeprefix("cawe_jax.")
    assert inspect.ismodule(value) or not is_module(place), public


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
import cawe_jax
assert "jax" not in sys.modules  # which takes seconds; a name that is used brings it
import jax
before = dict(jax.config.values)
for name in cawe_jax.__all__:
  getattr(cawe_jax, name)
after = dict(jax.config.values)
changed = {k for k in after if after[k] != before.get(k)}
assert not changed, changed

def loaded(*names):
  return [name for name in names if name in sys.modules]

assert not loaded("matplotlib", "torch", "skimage", "foolbox")
from cawe_jax import classifiers, samples
for name in samples.sample_names():
  samples.sample_label(name)
assert not loaded("matplotlib", "torch", "skimage", "foolbox")
from cawe_jax import figures
assert loaded("matplotlib") and not loaded("matplotlib.pyplot")
"""


def test_imports_are_silent_change_nothing_and_bring_little(tmp_path):
  result = run_python(IMPORT, cwd=tmp_path)
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
INTERNAL = {"engine", "version"}
# Their public names are shown in parts, or are the library's own.
IN_PARTS = {"numerics", "files", "methods", "explaining"}
SHOWN = {
  "files.images",
  "files.storage",
  "methods.contracts",
  "methods.names",
  "explaining.budget",
  "explaining.choice",
  "explaining.emptiness",
  "explaining.optimality",
  "numerics.random_bits",
  "numerics.rows",
  "numerics.tiles",
}


@pytest.mark.parametrize(
  "name", sorted({*map(package_of, MODULES)} - INTERNAL - IN_PARTS | SHOWN)
)
def test_the_reference_has_every_module(name):
  pages = (ROOT.parent / "docs" / "reference").rglob("*.md")
  shown = {m for p in pages for m in re.findall(r"automodule:: (\S+)", p.read_text())}
  module = "cawe_jax" if name == "__init__" else f"cawe_jax.{name}"
  assert module in shown or name in {"cli", "playground"}


@pytest.mark.parametrize(
  "name", ["attribution", "classifiers", "representations", "solvers"]
)
def test_no_function_hides_the_module_of_its_name(name):
  package = importlib.import_module(f"cawe_jax.{name}")
  files = [m for m in MODULES if package_of(m) == name and not m.endswith("__init__")]
  for module in (m.rpartition(".")[2] for m in files):
    assert inspect.ismodule(getattr(package, module, inspect)), module


def test_all_names_what_is_imported():
  tree = ast.parse(Path(cawe_jax.__file__).read_text())
  (block,) = (node for node in tree.body if isinstance(node, ast.If))
  for_type_checkers = {
    alias.name: node.module.removeprefix("cawe_jax.")
    for node in block.body
    for alias in node.names
  }
  assert for_type_checkers == cawe_jax._MODULES
  assert list(cawe_jax._MODULES) == cawe_jax.__all__ == sorted(cawe_jax.__all__)
  assert set(cawe_jax.__all__) <= set(dir(cawe_jax))


def test_modules_are_attributes_and_nothing_else_is():
  assert inspect.ismodule(cawe_jax.metrics)
  assert inspect.ismodule(cawe_jax.classifiers)
  with pytest.raises(AttributeError, match=r"'cawe_jax' has no attribute 'expalin'"):
    cawe_jax.expalin  # noqa: B018
  assert not hasattr(cawe_jax, "__wrapped__")


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name):
  assert ast.get_docstring(ast.parse(MODULES[name].read_text()))
