"""How soon a command starts: the numbers are in order, and a failure is one line."""

import subprocess

import pytest

from experiments.bench import start


@pytest.mark.slow
def test_the_second_command_starts_sooner(capsys, monkeypatch):
  monkeypatch.setattr("sys.argv", ["start", "--repeats", "1"])
  # Compiled as users' programs are, not in the quickest way.
  monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")
  monkeypatch.delenv("XLA_FLAGS", raising=False)
  start.main()
  _, _, *lines = capsys.readouterr().out.splitlines()
  seconds = [[float(x) for x in line.split()[-3:]] for line in lines]
  assert all(0 < called < started < done for called, started, done in seconds)
  # The second finds compiled programs, which take half a minute of two cores or less.
  (_, first, _), (_, second, _) = seconds
  assert second < first / 2


def test_a_command_that_fails_is_one_line(monkeypatch):
  failed = subprocess.CompletedProcess([], 1, "", "Traceback\nValueError: why\n")
  monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: failed)
  monkeypatch.setattr("sys.argv", ["start"])
  with pytest.raises(SystemExit, match=r"^ValueError: why$"):
    start.main()
