"""The guide to a sweep of one's own: its two files are a sweep, and it runs."""

import io
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from experiments.progress import Progress
from experiments.sweep import Process, finish, open_sweep, run_jobs

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "own_sweep.md"


@pytest.fixture
def config(tmp_path, monkeypatch):
  """The guide's config, in a folder with the guide's two files."""
  mine, ablation = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
  (tmp_path / "mine.py").write_text(mine)
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(str(tmp_path))
  yield _run(ablation)["get_config"]()
  sys.modules.pop("mine", None)


def _run(source):
  names = {}
  exec(compile(source, "ablation.py", "exec"), names)
  return names


def test_the_files_of_the_guide_are_a_sweep(config, tmp_path):
  sweep = open_sweep(config, tmp_path / "results")
  assert [job.name for job in sweep.jobs] == ["cartoonx", "pixels"]
  assert [p.id for p in sweep.photographs] == ["coffee", "chelsea"]
  assert all(len(job.grid) == 3 for job in sweep.jobs)


@pytest.mark.slow
def test_the_sweep_of_the_guide_runs(config, tmp_path, capsys):
  sweep, console = open_sweep(config, tmp_path / "results"), Console(file=io.StringIO())
  run_jobs(sweep, sweep.jobs, Process(0, 1), Progress(console, "ablation"))
  finish(sweep, console)
  assert (tmp_path / "results" / "report" / "by_axis.png").exists()
  for job in sweep.jobs:
    for result in sweep.store.read_results(job.name):
      # The example shows something: at the least multiplier masks keep a few per cent.
      assert result["rate"][0] > 0.01
