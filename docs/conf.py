"""How `make docs` builds these pages: every warning is an error, every cell is run."""

import os
import re
import sys
from functools import partialmethod
from pathlib import Path

ROOT = Path(__file__).parent.parent
# `configs` and `experiments` are documented and used, but not installed.
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = str(ROOT)
# Notebooks share what they compile.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / "build" / "jax-cache"))

from jupyter_cache import get_cache  # noqa: E402
from nbclient import NotebookClient  # noqa: E402
from sphinx.util.inspect import TypeAliasForwardRef  # noqa: E402
from sphinx.util.parallel import make_chunks  # noqa: E402

import cawe_jax  # noqa: E402

project = "cawe_jax"
author = "the cawe_jax developers"
copyright = author
version = release = cawe_jax.__version__

extensions = [
  "myst_nb",
  "sphinx.ext.autodoc",
  "sphinx.ext.mathjax",
  "sphinx.ext.napoleon",
  "sphinx.ext.viewcode",
  "sphinx_copybutton",
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
html_theme = "furo"
html_title = "cawe_jax"
html_static_path = ["_static"]
html_css_files = ["gallery.css"]

# Text.
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Notebooks and guides are run from an empty state, and one that fails fails the build.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 1800
# A kernel has a minute to answer at first, which is too little on a busy machine.
NotebookClient.__init__ = partialmethod(NotebookClient.__init__, startup_timeout=600)
nb_merge_streams = True
copybutton_exclude = ".linenos, .gp, .go"

# Docstrings.
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
# Types of arrays by their names, under which the page of types has their axes.
AXES = re.compile(r"^(\w+) = (?:tuple\[)?(?:Float|Integer|Bool|jaxtyping\.Key)\[", re.M)
autodoc_type_aliases = {"Array": "Array"} | {
  name: name
  for path in (ROOT / "cawe_jax").rglob("*.py")
  for name in AXES.findall(path.read_text())
}
# In unions, too, where Sphinx shows how it represents a name.
TypeAliasForwardRef.__repr__ = lambda alias: alias.name
napoleon_google_docstring = True
napoleon_use_ivar = True
napoleon_use_rtype = False


def skip_fields(app, what, name, obj, skip, options):
  """A NamedTuple's fields stand under its Attributes already."""
  return skip or type(obj).__name__ == "_tuplegetter"


def prepare_to_read(app, env, names):
  """Let two processes read, each half of the notebooks.

  A process reads some pages after one another. In the order of their names it would be
  the same one that runs all notebooks. The cache's tables are made before both try to.
  """
  get_cache(env.mystnb_config.execution_cache_path).get_cache_limit()
  count = len(make_chunks(names, app.parallel))
  names[:] = [name for first in range(count) for name in names[first::count]]


def setup(app):
  """Called by Sphinx."""
  app.connect("env-before-read-docs", prepare_to_read)
  app.connect("autodoc-skip-member", skip_fields)
