"""What goes wrong is one line; what was finished is kept."""

import dataclasses
import re
import struct
import zlib

import hostile_images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from processes import run_python
from shell_runs import QUICK, names_in, write_photo

import cawe_jax
from cawe_jax.cli import explain as explain_command
from cawe_jax.cli import main
from cawe_jax.files.decoding import Decoder

pytestmark = pytest.mark.usefixtures("tiny_network", "quick_figures")


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
  # What needs no decoding is said first, before anything is explained.
  unopened = ["missing.png", "folder.png", "empty.png", "'nobody'"]
  decoded = [name for name in BAD_FILES if name not in unopened]
  for line, name in zip(errors, [*unopened, *decoded], strict=True):
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
  assert f"image {str(given)!r}: " in line
  assert "photo.png' was not written by this command and is not replaced" in line
  assert photo.read_bytes() == before
  assert not photo.with_suffix(".npz").exists()


def test_a_figure_that_is_an_input_is_not_overwritten(explain, photo, tmp_path):
  figure = tmp_path / "out" / "photo.png"
  assert explain(photo)[0] == 0
  figure.write_bytes(photo.read_bytes())
  code, _, (line,) = explain(figure, "--seed=1")
  assert code == 2
  assert f"{str(figure)!r} was not written by this command" in line


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
    monkeypatch.setattr(
      cawe_jax, "load_classifier", lambda *arguments, **options: broken
    )
  else:

    def explain_with_too_little(*arguments, **options):
      raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of\nmemory")

    monkeypatch.setattr(cawe_jax, "explain", explain_with_too_little)
  code, printed, errors = explain(photo, second, "--batch-size=2")
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
  arguments = ["explain", *images, *QUICK, "--out", str(out)]
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


def test_a_name_too_long_for_results_is_said_first(explain, photo, tmp_path):
  # 251 letters and .png are a name, with .json they are one too many.
  long = write_photo(tmp_path / f"{'x' * 251}.png", 1)
  code, printed, (line,) = explain(long, photo)
  assert code == 2
  assert printed == [str(tmp_path / "out" / "photo.png")]
  assert f"image {str(long)!r}: the results " in line
  assert line.endswith(".* cannot be written (File name too long)")
  # With several targets shorter names are too long.
  shorter = write_photo(tmp_path / f"{'x' * 249}.png", 1)
  code, printed, errors = explain(shorter, "--target", "1", "2")
  assert (code, printed, len(errors)) == (2, [], 2)


PLATFORM = "JAX cannot start with JAX_PLATFORMS="


@pytest.mark.parametrize(
  "command",
  [
    ["explain", "photo.png"],
    ["convert", "x.pth", "--architecture=resnet18", "--out=x.safetensors"],
    ["playground", "--port=0"],
  ],
)
@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Unable to\nstart")])
def test_a_platform_that_is_not_here(command, error, tmp_path, monkeypatch, capsys):
  """JAX raises an empty AssertionError for CUDA, and a RuntimeError for others."""

  def devices():
    raise error

  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(jax, "devices", devices)
  assert main(command) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith(f"cawe: error: {PLATFORM}")
  assert line.endswith("; without this variable it takes what there is")
  assert list(tmp_path.iterdir()) == []


def test_the_real_message_of_jax(tmp_path):
  code = "import sys; from cawe_jax.cli import main; sys.exit(main(['explain', 'x']))"
  run = run_python(code, cwd=tmp_path, JAX_PLATFORMS="abacus")
  assert (run.returncode, run.stdout) == (2, "")
  (line,) = run.stderr.splitlines()
  assert line.startswith(f"cawe: error: {PLATFORM}abacus: Unable to initialize backend")


def test_a_hostile_image_is_one_line_and_the_next_is_explained(
  explain, photo, tmp_path, monkeypatch
):
  monkeypatch.setattr(explain_command, "Decoder", lambda: Decoder(1.0))
  path = tmp_path / "hostile.tif"
  path.write_bytes(hostile_images.shared_tiles())
  code, printed, errors = explain(path, photo)
  assert code == 2
  assert errors == [
    f"cawe: error: image {str(path)!r}: takes more than 1 s to decode, which is the "
    "limit"
  ]
  assert printed == [str(tmp_path / "out" / "photo.png")]


@pytest.mark.slow
def test_the_command_is_done_with_hostile_images_in_time(tmp_path):
  """With the limits that users have."""
  for make in (
    hostile_images.shared_tiles,
    hostile_images.plain_comments,
    hostile_images.jpeg_segments,
    hostile_images.jpeg_scans,
  ):
    path = tmp_path / make.__name__
    path.write_bytes(make())
    done = run_python(MEASURED, path, "--quiet", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "takes more than 5 s" in line
    kilobytes, seconds = map(float, done.stdout.split())
    assert kilobytes < 10**6
    # The decoder's processor time: what it may take, and its start.
    assert seconds < 8


MEASURED = """
import resource, sys
from cawe_jax.cli import main

code = main(["explain", *sys.argv[1:]])
decoder = resource.getrusage(resource.RUSAGE_CHILDREN)
# The largest size of a child is at least its parent's when it was made, so it is of no
# use here; the decoder has a limit of its own.
with open("/proc/self/status") as status:
  (peak,) = (line.split()[1] for line in status if line.startswith("VmHWM"))
print(peak, decoder.ru_utime + decoder.ru_stime)
sys.exit(code)
"""


def test_rules_of_the_environment_do_not_stop_it(explain, photo):
  with jax.transfer_guard("disallow"), jax.numpy_rank_promotion("raise"):
    code, lines, errors = explain(photo)
  assert (code, len(lines), errors) == (0, 1, [])
