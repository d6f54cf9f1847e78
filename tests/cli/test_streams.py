"""What cannot be printed or written is said once; what was found is not found again."""

import os
import resource
import sys

import pytest
from shell_runs import QUICK, names_in, write_photo

import cawe_jax
from cawe_jax.cli import main, results

pytestmark = pytest.mark.usefixtures("tiny_network", "quick_figures")
THREE = [f"{stem}.{suffix}" for stem in "abc" for suffix in ("json", "npz", "png")]


@pytest.fixture
def photos(tmp_path):
  return [str(write_photo(tmp_path / f"{name}.png", i)) for i, name in enumerate("abc")]


@pytest.fixture
def num_searches(monkeypatch):
  """How often images were explained so far, as the length of a list."""
  calls, solve = [], cawe_jax.explain

  def counted(*arguments, **options):
    calls.append(1)
    return solve(*arguments, **options)

  monkeypatch.setattr(cawe_jax, "explain", counted)
  return calls


@pytest.fixture
def unread_pipe():
  """A pipe whose reader has left, as after ``| head -1``."""
  reader, writer = os.pipe()
  os.close(reader)
  with os.fdopen(writer, "w") as stream:
    yield stream
    # Nothing is left that could not be printed when Python ends.
    stream.flush()


@pytest.fixture
def explain_all(photos, tmp_path):
  def call(*options):
    out = str(tmp_path / "out")
    return main(["explain", *photos, *QUICK, "--batch-size=3", "--out", out, *options])

  return call


def test_a_reader_who_has_seen_enough(
  explain_all, unread_pipe, num_searches, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(sys, "stdout", unread_pipe)
  assert explain_all("--quiet") == 0
  assert len(num_searches) == 1
  assert names_in(tmp_path / "out") == THREE
  assert capsys.readouterr().err == ""


def test_nobody_reads_messages(explain_all, unread_pipe, tmp_path, monkeypatch):
  monkeypatch.setattr(sys, "stderr", unread_pipe)
  assert explain_all() == 0
  assert names_in(tmp_path / "out") == THREE
  # Errors are not read either, but they count.
  assert explain_all("--target", "unicorn") == 2


@pytest.mark.parametrize("command", [["list"], ["classifiers"], ["--help"]])
def test_other_commands_end_silently_too(command, unread_pipe, monkeypatch, capsys):
  monkeypatch.setattr(sys, "stdout", unread_pipe)
  if command == ["--help"]:
    with pytest.raises(SystemExit):
      main(command)
  else:
    assert main(command) == 0
  assert capsys.readouterr().err == ""


def test_a_full_disk_behind_standard_output(
  explain_all, num_searches, tmp_path, monkeypatch, capsys
):
  with open("/dev/full", "w") as full:
    monkeypatch.setattr(sys, "stdout", full)
    assert explain_all("--quiet") == 2
    assert main(["list"]) == 0  # it goes nowhere by now
  assert len(num_searches) == 1
  assert names_in(tmp_path / "out") == THREE
  assert capsys.readouterr().err == (
    "cawe: error: the names of the results cannot be printed (No space left on device)"
    "; the files are whole\n"
  )
  with open("/dev/full", "w") as full:
    monkeypatch.setattr(sys, "stdout", full)
    assert main(["list"]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line == (
    "cawe: error: standard output cannot be written (No space left on device)"
  )


def test_closed_standard_streams(explain_all, tmp_path, monkeypatch):
  monkeypatch.setattr(sys, "stdout", None)  # as Python has it after `>&-`
  monkeypatch.setattr(sys, "stderr", None)
  assert explain_all() == 0
  assert names_in(tmp_path / "out") == THREE


@pytest.mark.parametrize("stem", ["φωτο", "\udcff\udcfe"])
def test_names_that_the_encoding_lacks(stem, num_searches, tmp_path, monkeypatch):
  """Greek on a Western European terminal; bytes that are no text at all."""
  photo = str(write_photo(tmp_path / f"{stem}.png", 0))
  out, printed = tmp_path / "out", tmp_path / "printed"
  with printed.open("w", encoding="cp1252") as stream:
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["explain", photo, *QUICK, "--quiet", "--out", str(out)]) == 0
  assert len(num_searches) == 1
  assert names_in(out) == [f"{stem}.{suffix}" for suffix in ("json", "npz", "png")]
  name = stem.encode("cp1252", "backslashreplace").decode()
  assert printed.read_text() == f"{out}/{name}.png\n"


@pytest.fixture
def small_files(monkeypatch):
  """A disk on which no file of results has room."""
  write = results.write

  def write_little(*arguments):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
      write(*arguments)
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, before)

  monkeypatch.setattr(results, "write", write_little)


def test_a_full_disk_is_found_once(
  explain_all, small_files, num_searches, tmp_path, capsys
):
  out = tmp_path / "out"
  assert explain_all("--batch-size=2", "--quiet") == 2
  assert len(num_searches) == 1
  assert names_in(out) == []
  captured = capsys.readouterr()
  assert captured.out == ""
  assert captured.err.splitlines() == [
    *(
      f"cawe: error: image '{tmp_path / name}.png': the results {out / name}.* "
      "cannot be written (File too large)"
      for name in "ab"
    ),
    f"cawe: error: --out {str(out)!r}: the remaining images are not explained",
  ]


def test_a_figure_that_fails_is_not_a_search_that_fails(
  explain_all, num_searches, monkeypatch, capsys
):
  def draw(*arguments):
    raise ValueError("a font is missing")

  monkeypatch.setattr(results, "draw", draw)
  assert explain_all("--quiet") == 2
  assert len(num_searches) == 1
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 3
  assert all("a font is missing" in line for line in lines)


def test_what_is_written_is_whole_where_nothing_can_be_printed(
  explain_all, tmp_path, monkeypatch, capsys, real_figures
):
  assert explain_all("--quiet") == 0
  saved = next((tmp_path / "out").glob("*.npz"))
  figure = tmp_path / "again.png"
  with open("/dev/full", "w") as full:
    monkeypatch.setattr(sys, "stdout", full)
    assert main(["figure", str(saved), "--out", str(figure)]) == 2
  assert figure.exists()
  (line,) = capsys.readouterr().err.splitlines()[-1:]
  assert line == (
    "cawe: error: standard output cannot be written (No space left on device); the "
    f"file {str(figure)!r} is whole"
  )
