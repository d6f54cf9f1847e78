"""Figures as files: whole or not at all, and equal for equal explanations."""

import numpy as np
import pytest
from made_explanations import make_explanation, pixels

from cawe_jax.figures import explanation_figure, save_figure
from cawe_jax.files import storage


def test_a_loaded_explanation_gives_the_same_figure(tmp_path):
  explanation = make_explanation()
  storage.save(tmp_path / "a.npz", explanation)
  loaded = storage.load(tmp_path / "a.npz")
  before, after = (
    pixels(explanation_figure(e, target_name="tabby")) for e in (explanation, loaded)
  )
  assert before.shape == (737, 1925, 4)
  np.testing.assert_array_equal(before, after)
  assert len(np.unique(before.reshape(-1, 4), axis=0)) > 100


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".pdf"])
def test_equal_figures_give_equal_files(tmp_path, suffix):
  for name in ("a", "b"):
    save_figure(explanation_figure(make_explanation()), tmp_path / f"{name}{suffix}")
  first, second = sorted(tmp_path.iterdir())
  assert first.read_bytes() == second.read_bytes()
  assert b"matplotlib version" not in first.read_bytes().lower()


def test_a_failed_save_leaves_the_old_figure(tmp_path, monkeypatch):
  figure, path = explanation_figure(make_explanation()), tmp_path / "a.png"
  path.write_bytes(b"old")

  def interrupted(temporary, **_):
    temporary.write_bytes(b"half")
    raise KeyboardInterrupt

  monkeypatch.setattr(figure, "savefig", interrupted)
  with pytest.raises(KeyboardInterrupt):
    save_figure(figure, path)
  assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.png", b"old")]


def test_other_formats_are_refused(tmp_path):
  with pytest.raises(ValueError, match=r"path: got suffix '\.gif', allowed: \.png"):
    save_figure(explanation_figure(make_explanation()), tmp_path / "a.gif")
