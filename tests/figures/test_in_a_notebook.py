"""A figure shows itself in a notebook, without pyplot."""

import io
import os
import subprocess
import sys

import pytest
from PIL import Image

IN_A_NOTEBOOK = """
import sys
sys.path[:0] = {folders!r}
from IPython.core.formatters import DisplayFormatter
from test_explanation_figure import explanation_figure, make_explanation
shown, _ = DisplayFormatter().format(explanation_figure(make_explanation()))
assert "matplotlib.pyplot" not in sys.modules
sys.stdout.buffer.write(shown["image/png"])
"""


def test_a_notebook_shows_the_figure_without_pyplot():
  pytest.importorskip("IPython")
  folders = [os.path.dirname(__file__), *filter(None, sys.path)]
  script = IN_A_NOTEBOOK.format(folders=folders)
  done = subprocess.run(
    [sys.executable, "-c", script], capture_output=True, check=True, timeout=120
  )
  with Image.open(io.BytesIO(done.stdout)) as shown:
    assert (shown.format, shown.size) == ("PNG", (1925, 737))
