"""The command from the shell's side: files, messages, exit codes."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from shell_runs import NAMES, QUICK, SIZE, names_in, report_of, write_photo

import cawe_jax
from cawe_jax.cli import explain as explain_command
from cawe_jax.cli import jobs, main
from cawe_jax.explaining.path import LOWER_MULTIPLIERS

pytestmark = pytest.mark.usefixtures("tiny_network", "quick_figures")


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
  "should_go",
  "should_return",
  "gap_standard_error",
  "model_evaluations",
  "seconds",
  "compile_seconds",
  "method",
  "seed",
  "versions",
]


def test_three_files_that_agree(explain, photo, tmp_path, tiny, real_figures):
  # Other levels than the other tests', whose programs may be compiled already.
  code, printed, errors = explain(photo, "--levels=1")
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
  assert report["method"]["representation"].startswith("wavelet('haar', levels=1")
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
  # One of three files is missing, or is of another run.
  (tmp_path / "out" / "photo.png").unlink()
  explain(*arguments)
  assert names_in(tmp_path / "out") == ["photo.json", "photo.npz", "photo.png"]
  before = (tmp_path / "out" / "photo.npz").read_bytes()
  explain(*arguments, "--seed=2")
  (tmp_path / "out" / "photo.npz").write_bytes(before)
  assert len(explain(*arguments, "--seed=2")[1]) == 1


def test_other_code_of_the_library_finds_nothing_done(explain, photo, monkeypatch):
  explain(photo)
  assert explain(photo) == (0, [], [])
  monkeypatch.setattr(jobs, "code_version", lambda: "0.1.0, code 0")
  code, printed, errors = explain(photo)
  assert (code, len(printed), errors) == (0, 1, [])


def test_the_seed_decides_the_mask(explain, photo, tmp_path):
  masks = []
  for i, seed in enumerate([3, 3, 4]):
    explain(photo, f"--seed={seed}", "--steps=40", out=tmp_path / str(i))
    mask = cawe_jax.load(tmp_path / str(i) / "photo.npz").mask
    masks.append(np.concatenate([np.ravel(leaf) for leaf in mask]))
  np.testing.assert_array_equal(masks[0], masks[1])
  assert np.any(masks[0] != masks[2])
  assert np.ptp(masks[0]) > 0


def test_several_targets(explain, photo, tmp_path):
  code, printed, _ = explain(photo, "--target", "bee", "4", "--batch-size=2")
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
    said = f"less than the {retain:.1%} asked for" in capsys.readouterr().err
    assert said is not reached
    multiplier = report["method"]["lagrange_multiplier"]
    # All of the path; or two multipliers that fail, and smaller ones.
    assert multiplier == 640 if retain < 0.5 else multiplier in LOWER_MULTIPLIERS
  assert report["model_evaluations"] >= 2 * (4 + 1 + 4)


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


@pytest.mark.parametrize(("few", "is_estimated"), [(7, True), (8, False)])
def test_only_a_long_run_is_estimated(
  photo, tmp_path, capsys, monkeypatch, few, is_estimated
):
  monkeypatch.setattr(explain_command, "_FEW_EVALUATIONS", few)
  monkeypatch.setattr(explain_command, "estimate_seconds", lambda *arguments: 90.0)
  assert main(["explain", str(photo), *QUICK, "--out", str(tmp_path / "out")]) == 0
  said = capsys.readouterr().err
  assert "8 model evaluations" in said
  assert ("8 model evaluations, about 90 s" in said) == is_estimated


def test_it_is_said_before_results_are_replaced(photo, tmp_path, capsys):
  arguments = ["explain", str(photo), *QUICK, "--out", str(tmp_path / "out")]
  said = []
  for options in ([], [], ["--seed=1"], ["--seed=1", "--force"], ["--wavelet=db2"]):
    assert main([*arguments, *options]) == 0
    lines = capsys.readouterr().err.splitlines()
    said.append([x.partition("replaced")[2] for x in lines if "be replaced" in x])
  assert said == [
    [],
    [],
    [" (another seed)"],
    [""],
    [" (another representation, seed)"],
  ]


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


def test_garbage_is_collected_rarely_while_a_program_is_traced(explain, photo):
  gc.set_threshold(1000)  # about Python's own, whatever ran before
  assert explain(photo)[0] == 0
  assert gc.get_threshold()[0] > 10_000


def test_images_are_read_when_their_turn_comes(photo, tmp_path, monkeypatch):
  """However many there are, the pixels of two batches are held at most."""
  photos = [str(write_photo(tmp_path / f"{i}.png", i)) for i in range(4)]
  read, solve, events, held = jobs.Reader.read, cawe_jax.explain, [], []

  def read_one(reader, photograph):
    events.append("read")
    gc.collect()
    assert sum(pixels() is not None for pixels in held) <= 2
    image = read(reader, photograph)
    held.append(weakref.ref(image.pixels))
    return image

  def solve_one(*arguments, **options):
    events.append("explain")
    return solve(*arguments, **options)

  monkeypatch.setattr(jobs.Reader, "read", read_one)
  monkeypatch.setattr(cawe_jax, "explain", solve_one)
  call = ["explain", *photos, *QUICK, "--batch-size=1", "--out", str(tmp_path / "out")]
  assert main(call) == 0
  assert events == ["read", "explain"] * 4
  # What is finished is known without reading it.
  assert main(call) == 0
  assert len(events) == 8
  # One image for two targets is read once.
  arguments = ["--target", "ant", "bee", "--out", str(tmp_path / "two")]
  assert main([*call, *arguments]) == 0
  assert events[8:] == ["read", "explain", "explain"] * 4


def test_an_image_that_cannot_be_read_leaves_no_gap_in_its_batch(
  explain, photo, tmp_path, monkeypatch
):
  (tmp_path / "bad.png").write_text("no image")
  second = write_photo(tmp_path / "second.png", 1)
  shapes, solve = [], cawe_jax.explain

  def solve_batch(classifier, images, *arguments, **options):
    shapes.append(images.shape[0])
    return solve(classifier, images, *arguments, **options)

  monkeypatch.setattr(cawe_jax, "explain", solve_batch)
  code, printed, errors = explain(photo, tmp_path / "bad.png", second, "--batch-size=2")
  assert (code, len(printed), len(errors), shapes) == (2, 2, 1, [2])
