"""What every test shares: no leftovers of earlier runs, a tiny network, and the CPU.

Another platform is tested where ``JAX_PLATFORMS`` names one.
"""

import contextlib
import gc
import os
import re
from importlib.metadata import version
from pathlib import Path

# All of this before jax is imported, by whichever test module comes first.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Two thirds of the tests' time is compiling, so compiled programs are kept, between the
# processes of one run and between runs. They are found by what was lowered, by the
# compiler's version and by its options: a program of other code is another program.
os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".cache" / "programs")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# Most programs run once or twice, so they are compiled in the quickest way, which gives
# the same numbers but for rounding. What the environment says decides: with 0 they are
# compiled as users' are, for tests that search with a large network.
if os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1":
  os.environ["XLA_FLAGS"] = " ".join(
    dict.fromkeys(
      [
        "--xla_cpu_parallel_codegen_split_count=1",
        # Since 0.12 there is no other way, and an unknown flag ends the process.
        *["--xla_cpu_use_fusion_emitters=false"] * (version("jaxlib") < "0.12"),
        *os.environ.get("XLA_FLAGS", "").split(),
      ]
    )
  )
import jax
import pytest
from jaxtyping import install_import_hook

# Arrays that parts hand to each other have the axes that signatures name: wherever
# those types are imported, calls are checked. Not where users come in, since there the
# library refuses what does not fit by itself, in words that are tested.
ENTRANCES = (
  "attribution/attribution",
  "classifiers/adapters",
  "cli",
  "engine",
  "explaining",
  "figures",
  "files",
  "methods",
  "metrics",
  "obfuscations",
  "playground",
)
PACKAGE = Path(__file__).parents[1] / "cawe_jax"
NAMED_AXES = re.compile(r"^from (jaxtyping|cawe_jax\.types) import (?!Array$)", re.M)
CHECKED = [
  ".".join(("cawe_jax", *path.relative_to(PACKAGE).with_suffix("").parts))
  for path in PACKAGE.rglob("*.py")
  if NAMED_AXES.search(path.read_text())
  and not str(path.relative_to(PACKAGE)).startswith(ENTRANCES)
]
install_import_hook(CHECKED, "checked_shapes.check")

import tiny_network

from cawe_jax.numerics import ambient

# Traced programs are hundreds of thousands of objects, which Python's collector would
# read over and over.
gc.set_threshold(100_000)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
  """Converted weights are written for this session alone, never to the user's cache."""
  with pytest.MonkeyPatch.context() as patch:
    folder = tmp_path_factory.mktemp("cache")
    programs = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    programs.mkdir(parents=True, exist_ok=True)
    # Where the commands keep compiled programs; those are everybody's.
    (folder / "programs").symlink_to(programs.resolve(), target_is_directory=True)
    patch.setenv("CAWE_CACHE", str(folder))
    yield


def pytest_configure(config):
  """In the fast tests arrays of two types or ranks meet only where the code says how.

  Slow ones run guides and libraries of others, which may let them meet.
  """
  if "not slow" in config.getoption("markexpr"):
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session", autouse=True)
def _own_code_is_strict():
  """What runs inside public functions obeys the strict rules, too."""
  with pytest.MonkeyPatch.context() as patch:
    if jax.config.jax_numpy_dtype_promotion == "strict":
      patch.setattr(ambient, "promotion_inside", contextlib.nullcontext)
    yield


@pytest.fixture(scope="session")
def key():
  return jax.random.key(0)


@pytest.fixture
def quickly_compiled():
  """For slow tests whose programs run once or twice, which are not worth compiling."""
  before = jax.config.read("jax_disable_most_optimizations")
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def make_tiny_classifier():
  """Image shape to a fixed random network of two layers and five classes."""
  return tiny_network.tiny_classifier
