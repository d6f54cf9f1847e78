"""The Python of the README runs as it stands, on the real network."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

import cawe_jax

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.slow
def test_python_blocks_run(monkeypatch):
  blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
  assert len(blocks) == 2
  # A setting of the whole process, of which other tests should see nothing.
  monkeypatch.setattr(cawe_jax, "enable_compilation_cache", lambda: None)
  names: dict = {}
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed):
    for block in blocks:
      exec(compile(block, str(README), "exec"), names)
  assert "espresso" in printed.getvalue()
  explanation = names["explanation"]
  assert explanation.image.shape == (224, 224, 1)
  assert np.float32(0) < explanation.rate < 0.05
  assert names["method"].distortion.__name__ == "confidence_drop"
