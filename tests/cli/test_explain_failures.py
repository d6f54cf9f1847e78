"""What goes wrong is one line; what was finished is kept."""

import dataclasses
import re
import struct
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from shell_runs import QUICK, names_in, write_photo

import cawe_jax
from cawe_jax.cli import main

pytestmark = pytest.mark.usefixtures(
  "quick_compilation", "tiny_network", "quick_figures"
)


def huge_png(path):
  """A header that promises 10^10 pixels."""
  header = struct.pack(">IIBBBBB", 10**5, 10**5, 8, 2, 0, 0, 0)

  def chunk(kind, data):
    return (
      struct.pack(">I", len(data))
      + kind
      + data
      + struct.pack(">I", zlib.crc32(kind + data))
    )

  path.write_bytes(
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", header)
    + chunk(b"IDAT", b"")
    + chunk(b"IEND", b"")
  )


def truncated_jpeg(path):
  write_photo(path, 0)
  path.write_bytes(path.read_bytes()[:700])


BAD_FILES = {
  "missing.png": lambda path: None,
  "folder.png": lambda path: path.mkdir(),
  "text.jpg": lambda path: path.write_text("not a photograph"),
  "truncated.jpg": truncated_jpeg,
  "small.png": lambda path: Image.new("RGB", (1, 1)).save(path),
  "huge.png": huge_png,
  "empty.png": lambda path: path.write_bytes(b""),
}


def test_bad_files_are_one_line_each_and_the_others_are_done(explain, photo, tmp_path):
  bad = [tmp_path / name for name in BAD_FILES]
  for path in bad:
    BAD_FILES[path.name](path)
  code, printed, errors = explain(*bad[:3], photo, *bad[3:], "sample:nobody")
  assert code == 2
  assert printed == [str(tmp_path / "out" / "photo.png")]
  assert len(errors) == len(bad) + 1
  for line, name in zip(errors, [*BAD_FILES, "'nobody'"], strict=True):
    assert name in line
  assert names_in(tmp_path / "out") == ["photo.json", "photo.npz", "photo.png"]


def test_two_images_of_one_name_are_not_mixed_up(explain, photo, tmp_path):
  (tmp_path / "other").mkdir()
  other = write_photo(tmp_path / "other" / "photo.jpg", 1)
  code, printed, errors = explain(photo, other)
  assert code == 2
  assert len(printed) == len(errors) == 1
  assert "would overwrite" in errors[0]


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--target", "unicorn"], "'unicorn' is no class"),
    (["--target", "5"], "target is 5; allowed are 0 to 4"),
    (["--classifier", "resnet"], "classifier 'resnet' is unknown; allowed: "),
    (["--wavelet", "db333"], "wavelet 'db333'"),
    (["--levels", "9"], "levels is 9; .* allows 1 to 5"),
    (["--preset", "best"], "preset 'best' is unknown; allowed: "),
    (["--method", "shapley"], "method 'shapley' is unknown; allowed: "),
    (["--lagrange-multiplier=-1"], "lagrange_multiplier is -1.0"),
    (["--lagrange-multiplier=nan"], "lagrange_multiplier is nan"),
    (["--steps=0"], "--steps is 0"),
    (["--draws=0"], "--draws is 0"),
  ],
)
def test_bad_options_are_one_line(arguments, message, photo, tmp_path, capsys):
  second = write_photo(tmp_path / "second.png", 1)
  out = str(tmp_path / "out")
  code = main(["explain", str(photo), str(second), *QUICK, *arguments, "--out", out])
  captured = capsys.readouterr()
  assert code == 2
  assert captured.out == ""
  (line,) = captured.err.splitlines()
  assert line.startswith("cawe: error: ")
  assert re.search(message, line)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (["--budget=1024"], "budget is 1024; it must be an integer from 1 to 1023"),
    (["--perturbation=scaled-gaussian:1,1"], "factors has 2 entries"),
  ],
)
def test_what_only_the_run_finds_is_one_line(options, message, photo, tmp_path, capsys):
  out = str(tmp_path / "out")
  shape = ["--wavelet=haar", "--levels=2"]
  assert main(["explain", str(photo), *shape, *options, "--out", out, "--quiet"]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("cawe: error: ")
  assert message in line


@pytest.mark.parametrize(
  "way", [lambda path: path, lambda path: path / ".." / path.name]
)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_no_photograph_is_overwritten_with_a_figure(suffix, way, photo, explain):
  # Its own, or that of another file of the same name.
  before = photo.read_bytes()
  given = photo.with_suffix(suffix)
  given.write_bytes(before)
  code, _, (line,) = explain(given, "--force", out=way(photo.parent))
  assert code == 2
  assert f"image {str(given)!r}: its figure would overwrite " in line
  assert photo.read_bytes() == before
  assert not photo.with_suffix(".npz").exists()


def test_a_figure_that_is_an_input_is_not_overwritten(explain, photo, tmp_path):
  figure = tmp_path / "out" / "photo.png"
  assert explain(photo)[0] == 0
  figure.write_bytes(photo.read_bytes())
  code, _, (line,) = explain(figure, "--seed=1")
  assert code == 2
  assert f"its figure would overwrite {str(figure)!r}" in line


def test_a_folder_that_cannot_be_made(explain, photo, tmp_path):
  for out in (photo, photo / "below"):
    code, printed, errors = explain(photo, out=out)
    assert (code, printed) == (2, [])
    assert len(errors) == 1
    assert str(out) in errors[0]


@pytest.mark.parametrize("failure", ["nan", "out of memory"])
def test_a_network_that_fails_is_one_line_per_image(
  failure, explain, photo, tmp_path, monkeypatch, tiny
):
  second = write_photo(tmp_path / "second.png", 1)
  if failure == "nan":
    params = jax.tree.map(lambda w: w * jnp.nan, tiny.params)
    broken = dataclasses.replace(tiny, params=params)
    monkeypatch.setattr(cawe_jax, "load_classifier", lambda *arguments: broken)
  else:

    def explain_with_too_little(*arguments, **options):
      raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of\nmemory")

    monkeypatch.setattr(cawe_jax, "explain", explain_with_too_little)
  code, printed, errors = explain(photo, second)
  assert (code, printed) == (2, [])
  assert len(errors) == 2
  for line, name in zip(errors, ("photo.png", "second.png"), strict=True):
    assert name in line
    assert ("NaN" if failure == "nan" else "out of memory") in line


def test_ctrl_c_keeps_what_is_finished(photo, tmp_path, monkeypatch, capsys):
  second, third = (write_photo(tmp_path / f"{i}.png", i) for i in (1, 2))
  original, calls = cawe_jax.explain, []

  def interrupted(*arguments, callback, **options):
    calls.append(1)

    def watch(progress):
      if len(calls) == 2:
        raise KeyboardInterrupt
      return callback(progress)

    return original(*arguments, callback=watch, **options)

  monkeypatch.setattr(cawe_jax, "explain", interrupted)
  images, out = map(str, (photo, second, third)), tmp_path / "out"
  arguments = ["explain", *images, *QUICK, "--batch-size=1", "--out", str(out)]
  assert main(arguments) == 130
  assert len(calls) == 2
  assert "Traceback" not in capsys.readouterr().err
  assert names_in(out) == ["photo.json", "photo.npz", "photo.png"]
  # The same call goes on where it stopped.
  assert main(arguments) == 0
  assert len(calls) == 4
  assert len(names_in(out)) == 9


def test_ctrl_c_while_writing_leaves_no_half_file(photo, tmp_path, monkeypatch):
  def interrupted(*arguments, **options):
    raise KeyboardInterrupt

  monkeypatch.setattr(np, "savez_compressed", interrupted)
  out = tmp_path / "out"
  assert main(["explain", str(photo), *QUICK, "--out", str(out)]) == 130
  assert names_in(out) == []
