"""The command from the shell's side: files, messages, exit codes."""

import dataclasses
import json
import re
import struct
import sys
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import cawe_jax
from cawe_jax.cli import main, results

pytestmark = pytest.mark.usefixtures(
  "quick_compilation", "tiny_network", "quick_figures"
)

NAMES = ("ant", "bee", "cat", "dog", "eel")
SIZE = 32
# So small a multiplier that it is better to keep something than nothing.
QUICK = [
  "--wavelet=haar",
  "--levels=2",
  "--steps=4",
  "--draws=2",
  "--lagrange-multiplier=0.01",
]


@pytest.fixture(scope="module")
def tiny(make_tiny_classifier):
  return dataclasses.replace(make_tiny_classifier((SIZE, SIZE, 3)), class_names=NAMES)


@pytest.fixture
def tiny_network(monkeypatch, tiny):
  """A small network in the place of the default one; other names as they are."""
  original = cawe_jax.load_classifier
  monkeypatch.setattr(
    cawe_jax,
    "load_classifier",
    lambda name, weights=None: (
      tiny if name == "efficientnet-lite0" else original(name, weights)
    ),
  )
  folder = jax.config.jax_compilation_cache_dir
  yield
  jax.config.update("jax_compilation_cache_dir", folder)


@pytest.fixture
def quick_figures(monkeypatch, request):
  """No figure where no test looks at one."""
  if "real_figures" in request.fixturenames:
    return

  def draw(explanation, report, path):
    path.write_bytes(b"a figure")

  monkeypatch.setattr(results, "draw", draw)


@pytest.fixture
def real_figures():
  """Asked for by name; see above."""


@pytest.fixture
def photo(tmp_path):
  return write_photo(tmp_path / "photo.png", 0)


def write_photo(path, seed):
  pixels = np.random.default_rng(seed).integers(0, 256, (40, 36, 3), np.uint8)
  Image.fromarray(pixels).save(path)
  return path


@pytest.fixture
def explain(tmp_path, capsys):
  """Runs ``cawe explain ... --out out``; exit code, standard output, errors."""

  def call(*arguments, out=tmp_path / "out"):
    code = main(["explain", *QUICK, *map(str, arguments), "--out", str(out)])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    errors = [x for x in captured.err.splitlines() if x.startswith("cawe: error: ")]
    return code, captured.out.splitlines(), errors

  return call


def names_in(folder):
  return sorted(path.name for path in folder.iterdir())


def report_of(folder, stem="photo"):
  return json.loads((folder / f"{stem}.json").read_text())


# ---- Results ----

KEYS = [
  "target",
  "target_name",
  "probability",
  "distortion",
  "distortion_standard_error",
  "retained_probability",
  "explanation_probability",
  "rate_l1",
  "rate_l0",
  "objective",
  "model_evaluations",
  "seconds",
  "compile_seconds",
  "method",
  "seed",
  "versions",
]


def test_three_files_that_agree(explain, photo, tmp_path, tiny, real_figures):
  code, printed, errors = explain(photo)
  out = tmp_path / "out"
  assert (code, errors) == (0, [])
  assert printed == [str(out / "photo.png")]
  assert names_in(out) == ["photo.json", "photo.npz", "photo.png"]
  report = report_of(out)
  assert set(KEYS) <= set(report)
  explanation = cawe_jax.load(out / "photo.npz")
  assert cawe_jax.load_metadata(out / "photo.npz") == report
  image = cawe_jax.load_image(photo, size=SIZE)
  logits = tiny(jnp.asarray(image)[None])[0]
  target = int(np.argmax(logits))
  assert report["target"] == int(explanation.target) == target
  assert report["target_name"] == NAMES[target]
  # 32-bit rounding of a softmax in two programs.
  assert report["probability"] == pytest.approx(
    float(jax.nn.softmax(logits)[target]), rel=1e-4
  )
  fields = {
    "rate_l1": "rate",
    "rate_l0": "rate_l0",
    "distortion": "distortion",
    "distortion_standard_error": "distortion_standard_error",
    "retained_probability": "retained_probability",
    "explanation_probability": "explanation_probability",
    "objective": "objective",
    "model_evaluations": "model_evaluations",
  }
  for key, field in fields.items():
    assert report[key] == float(getattr(explanation, field)), key
  assert 0 < report["rate_l1"] < 1
  assert report["model_evaluations"] == 4 * 2
  assert report["seed"] == 0
  assert report["seconds"] > 0
  assert report["compile_seconds"] > 0
  assert report["method"]["lagrange_multiplier"] == 0.01
  assert report["method"]["representation"].startswith("wavelet('haar', levels=2")
  assert report["method"]["recipe"]["num_steps"] == 4
  assert report["versions"]["jax"] == jax.__version__
  with Image.open(out / "photo.png") as figure:
    assert min(figure.size) > 300
  # The figure of the .npz is the one that explain drew.
  again = tmp_path / "again.png"
  assert main(["figure", str(out / "photo.npz"), "--out", str(again)]) == 0
  assert again.read_bytes() == (out / "photo.png").read_bytes()


def test_a_finished_image_is_not_done_again(explain, photo, tmp_path):
  def stamps():
    return [
      (p.name, p.stat().st_mtime_ns) for p in sorted((tmp_path / "out").iterdir())
    ]

  explain(photo)
  first = stamps()
  assert explain(photo) == (0, [], [])
  assert stamps() == first
  arguments = [photo]
  # Each call differs from the one before by one option.
  for another in (
    "--force",
    "--seed=1",
    "--steps=5",
    "--lagrange-multiplier=0.02",
    "--target=cat",
    "--step-size=0.07",
  ):
    assert explain(*arguments, another)[0] == 0
    assert all(a != b for a, b in zip(stamps(), first, strict=True)), another
    first = stamps()
    arguments += [another] * (another != "--force")
  assert explain(*arguments) == (0, [], [])
  # One of three files is missing, or another image has the same name.
  (tmp_path / "out" / "photo.png").unlink()
  explain(*arguments)
  assert names_in(tmp_path / "out") == ["photo.json", "photo.npz", "photo.png"]
  write_photo(photo, 1)
  assert len(explain(*arguments)[1]) == 1


OWN_PARTS = """
import jax.numpy as jnp

from cawe_jax import representations
from cawe_jax.types import Perturbation, Transform


def fog():
  def init(image, representation):
    return representation.analysis(jnp.full_like(image, 0.5))

  def sample(key, state, mask, kept):
    return tuple(s + k - m * s for s, m, k in zip(state, mask, kept))

  return Perturbation("fog()", init, sample, is_random=False)


def mist():
  return fog()


def gap(clean_logits, logits, target):
  return jnp.square(clean_logits[target] - logits[target])


def nothing():
  return Transform("nothing", lambda image_shape: None)


def failing():
  return Transform("failing", lambda image_shape: 1 / 0)


def haar():
  return Transform("my haar", representations.wavelet("haar", levels=2).bind)
"""


def test_parts_of_ones_own(photo, tmp_path, capsys, monkeypatch):
  (tmp_path / "own_parts.py").write_text(OWN_PARTS)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
  quick = ["explain", "photo.png", "--out=out", "--steps=4", "--draws=2"]
  original, found = cawe_jax.explain, []

  def explain_once(*arguments, **options):
    # What the later calls would find is not looked at.
    if not found:
      found.append(original(*arguments, **options))
    return found[0]

  monkeypatch.setattr(cawe_jax, "explain", explain_once)

  def explained(perturbation):
    """Whether it was done now, and not before."""
    monkeypatch.delitem(sys.modules, "own_parts", raising=False)
    code = main(
      [
        *quick,
        f"--perturbation=own_parts:{perturbation}",
        "--distortion=own_parts:gap",
        "--representation=own_parts:haar",
      ]
    )
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out != ""

  assert explained("fog")
  report = report_of(tmp_path / "out")
  method = report["method"]
  assert method["perturbation"] == "fog()"
  assert method["distortion"] == "gap"
  assert method["representation"] == "my haar"
  parts = report["request"]["own_parts"]
  assert [parts[x]["function"] for x in ("perturbation", "distortion")] == [
    "own_parts:fog",
    "own_parts:gap",
  ]
  assert not explained("fog")
  # Another function, though its perturbation has the same name; another file.
  assert explained("mist")
  assert not explained("mist")
  (tmp_path / "own_parts.py").write_text(OWN_PARTS + "\n# changed\n")
  assert explained("mist")
  # Without parts of one's own, the request is as it always was.
  assert main([*quick, "--wavelet=haar", "--levels=2"]) == 0
  assert "own_parts" not in report_of(tmp_path / "out")["request"]


@pytest.mark.parametrize(
  ("function", "message"),
  [
    ("nothing", "representation 'nothing', made for images of .*, is None; it must be"),
    (
      "failing",
      r"'failing', made for images of shape \(32, 32, 3\), failed with ZeroDiv",
    ),
  ],
)
def test_representations_that_are_none(
  function, message, photo, tmp_path, capsys, monkeypatch
):
  (tmp_path / "none_of_mine.py").write_text(OWN_PARTS)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
  assert (
    main(["explain", "photo.png", f"--representation=none_of_mine:{function}"]) == 2
  )
  (line,) = capsys.readouterr().err.splitlines()
  assert re.search(message, line)


def test_the_seed_decides_the_mask(explain, photo, tmp_path):
  masks = []
  for i, seed in enumerate([3, 3, 4]):
    explain(photo, f"--seed={seed}", out=tmp_path / str(i))
    mask = cawe_jax.load(tmp_path / str(i) / "photo.npz").mask
    masks.append(np.concatenate([np.ravel(leaf) for leaf in mask]))
  np.testing.assert_array_equal(masks[0], masks[1])
  assert np.any(masks[0] != masks[2])
  assert np.ptp(masks[0]) > 0


def test_several_targets(explain, photo, tmp_path):
  code, printed, _ = explain(photo, "--target", "bee", "4")
  assert code == 0
  assert len(printed) == 2
  out = tmp_path / "out"
  reports = [report_of(out, f"photo-{target}") for target in (1, 4)]
  assert [r["target"] for r in reports] == [1, 4]
  assert [r["target_name"] for r in reports] == ["bee", "eel"]
  assert len(names_in(out)) == 6
  # Together in a batch or not: the noise is the image's.
  explain(photo, "--target", "eel", out=tmp_path / "alone")
  alone = report_of(tmp_path / "alone")
  assert alone["objective"] == pytest.approx(reports[1]["objective"], rel=1e-3)


def test_retain(explain, photo, tmp_path, capsys):
  options = [x for x in QUICK if not x.startswith("--lagrange")]
  for retain in (0.001, 1.0):
    out = tmp_path / str(retain)
    code = main(
      ["explain", str(photo), *options, f"--retain={retain}", "--out", str(out)]
    )
    assert code == 0
    report = report_of(out)
    reached = report["retained_probability"] >= retain
    assert report["retain_reached"] is reached
    assert report["retain"] == retain
    assert reached is (retain < 0.5)
    # All of the path, or two multipliers that fail.
    assert report["method"]["lagrange_multiplier"] == (640 if reached else 2.5)
  assert report["model_evaluations"] == 2 * (4 + 1)


def test_budget(explain, photo, tmp_path):
  options = [x for x in QUICK if not x.startswith("--lagrange")]
  out = tmp_path / "hard"
  arguments = ["explain", str(photo), *options, "--budget=20", "--out", str(out)]
  assert main(arguments) == 0
  assert report_of(out)["budget"] == 20
  mask = np.concatenate([x.ravel() for x in cawe_jax.load(out / "photo.npz").mask])
  assert sorted(set(mask.tolist())) == [0, 1]
  assert mask.sum() == 20


def test_a_photograph_by_name(explain, tmp_path):
  code, printed, _ = explain("sample:chelsea")
  assert code == 0
  assert printed == [str(tmp_path / "out" / "chelsea.png")]
  assert report_of(tmp_path / "out", "chelsea")["image"] == "sample:chelsea"


def test_quiet_says_nothing_and_else_what_was_found(photo, tmp_path, capsys):
  arguments = ["explain", str(photo), *QUICK, "--out", str(tmp_path / "out")]
  assert main([*arguments, "--quiet"]) == 0
  assert capsys.readouterr().err == ""
  assert main([*arguments, "--force"]) == 0
  said = capsys.readouterr().err
  report = report_of(tmp_path / "out")
  assert "8 model evaluations" in said
  assert f"{report['target_name']} (p = {report['probability']:.2f})" in said
  assert f"rate {100 * report['rate_l1']:.2f} %" in said


# ---- What is wrong with an image ----


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
    (["--budget=1024"], "budget is 1024; it must be from 1 to 1023"),
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


# ---- Interruption ----


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


# ---- The other commands ----


@pytest.fixture(scope="module")
def saved(tiny):
  """What a user of Python has: one image's explanation."""
  method = cawe_jax.pixel_rde(recipe=cawe_jax.recipes.fast()._replace(num_steps=3))
  image = np.random.default_rng(0).random((SIZE, SIZE, 3), np.float32)
  return cawe_jax.explain(tiny, image, method, key=jax.random.key(0))


def test_figure_of_what_is_none(photo, tmp_path, capsys):
  np.savez(tmp_path / "other.npz", image=np.zeros((2, 2)))
  for source in (photo, tmp_path / "missing.npz", tmp_path / "other.npz"):
    assert main(["figure", str(source), "--out", str(tmp_path / "x.png")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cawe: error: ")
  assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
  "metadata", [None, {"target_name": 3, "method": "mine"}, {"method": {"name": "x"}}]
)
def test_figure_of_what_was_saved_in_python(metadata, tmp_path, saved, real_figures):
  cawe_jax.save(tmp_path / "mine.npz", saved, metadata)
  arguments = ["figure", str(tmp_path / "mine.npz"), "--out"]
  assert main([*arguments, str(tmp_path / "mine.png")]) == 0
  with Image.open(tmp_path / "mine.png") as figure:
    assert min(figure.size) > 300


def test_figure_of_a_saved_batch_is_refused(tmp_path, saved, capsys):
  batch = jax.tree.map(lambda leaf: np.asarray(leaf)[None], saved)
  cawe_jax.save(tmp_path / "batch.npz", batch)
  arguments = ["figure", str(tmp_path / "batch.npz"), "--out"]
  assert main([*arguments, str(tmp_path / "x.png")]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert re.search(r"error: .*batch\.npz.* holds a batch; allowed is one image", line)
  assert not (tmp_path / "x.png").exists()


def test_list_names_all_there_is(capsys):
  assert main(["list"]) == 0
  text = capsys.readouterr().out
  for name in (
    "efficientnet-lite0",
    "cartoonx",
    "cvpr2023",
    "adaptive-gaussian",
    "label-squared-error",
    "sample:imagenet-13",
  ):
    assert name in text


def test_version_and_help(capsys):
  for argument, expected in (
    ("--version", cawe_jax.__version__),
    ("--help", "explain images"),
  ):
    with pytest.raises(SystemExit) as error:
      main([argument])
    assert error.value.code == 0
    assert expected in capsys.readouterr().out
