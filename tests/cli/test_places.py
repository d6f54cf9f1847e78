"""No file of the user's is replaced, and no results of another image."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from shell_runs import names_in, report_of, write_figure, write_photo

import cawe_jax
from cawe_jax.cli import main, results

pytestmark = pytest.mark.usefixtures("tiny_network", "quick_figures")


def bytes_of(save):
  file = io.BytesIO()
  save(file)
  return file.getvalue()


MASK = bytes_of(lambda file: Image.new("L", (20, 20)).save(file, "PNG"))
COCO = {"images": [{"id": 1, "file_name": "photo.jpg"}], "request": {"by": "me"}}
# What lies beside photographs: the name's suffix and the content.
FOREIGN = {
  "annotation": (".json", json.dumps(COCO).encode()),
  "list": (".json", b"[1, 2]"),
  "no JSON": (".json", b"\xff\xfe{"),
  "deep": (".json", b"[" * 100_000),
  "empty": (".json", b""),
  "arrays": (".npz", bytes_of(lambda file: np.savez(file, label=np.ones(2)))),
  "no zip": (".npz", b"features"),
  "mask": (".png", MASK),
  "no PNG": (".png", b"MZ"),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_files_of_the_user_are_not_replaced(kind, force, explain, tmp_path):
  photo = write_photo(tmp_path / "photo.jpg", 0)
  suffix, content = FOREIGN[kind]
  photo.with_suffix(suffix).write_bytes(content)
  before = names_in(tmp_path)
  code, printed, (line,) = explain(photo, "--quiet", *force, out=tmp_path)
  assert (code, printed) == (2, [])
  path = str(photo.with_suffix(suffix))
  assert line.endswith(
    f"image {str(photo)!r}: {path!r} was not written by this command and is not "
    "replaced; give another --out"
  )
  assert photo.with_suffix(suffix).read_bytes() == content
  assert names_in(tmp_path) == before


def test_what_is_saved_in_python_is_the_users_too(explain, photo, tmp_path):
  out = tmp_path / "out"
  assert explain(photo)[0] == 0
  explanation = cawe_jax.load(out / "photo.npz")
  for path in out.iterdir():
    path.unlink()
  cawe_jax.save(out / "photo.npz", explanation, {"note": "the good one"})
  before = (out / "photo.npz").read_bytes()
  code, _, (line,) = explain(photo)
  assert code == 2
  assert "photo.npz' was not written by this command" in line
  assert (out / "photo.npz").read_bytes() == before


@pytest.mark.parametrize("suffix", [".json", ".npz", ".png"])
def test_a_users_mask_beside_results_of_ours(suffix, explain, photo, tmp_path):
  out = tmp_path / "out"
  assert explain(photo)[0] == 0
  (out / f"photo{suffix}").write_bytes(b"mine")
  code, _, (line,) = explain(photo, "--seed=1")
  assert code == 2
  assert f"photo{suffix}' was not written by this command" in line
  assert (out / f"photo{suffix}").read_bytes() == b"mine"
  assert report_of(out)["seed"] == 0 if suffix != ".json" else True


def test_folders_and_links_are_not_replaced(explain, photo, tmp_path):
  out = tmp_path / "out"
  out.mkdir()
  (out / "photo.json").mkdir()
  (out / "photo-1.npz").symlink_to(tmp_path / "nowhere")
  for arguments in ([], ["--target", "1", "2"]):
    code, printed, (line,) = explain(photo, *arguments)
    assert code == 2
    assert "was not written by this command" in line
  assert [path.rsplit("/", 1)[1] for path in printed] == ["photo-2.png"]
  assert (out / "photo-1.npz").is_symlink()
  assert (out / "photo.json").is_dir()


def test_the_results_of_another_image_are_not_replaced(explain, tmp_path):
  photos = []
  for seed, name in enumerate("ab"):
    (tmp_path / name).mkdir()
    photos.append(write_photo(tmp_path / name / "0001.png", seed))
  assert explain(photos[0])[0] == 0
  before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
  for options in (["--quiet"], ["--force"], ["--seed=1"]):
    code, printed, (line,) = explain(photos[1], *options)
    assert (code, printed) == (2, [])
    assert f"image {str(photos[1])!r}: " in line
    assert f"has the results of another image of that name ({photos[0]})" in line
  assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("left", [".json", ".npz"])
def test_one_file_is_enough_to_tell_whose_results_they_are(left, explain, photo):
  out = photo.parent / "out"
  assert explain(photo)[0] == 0
  for path in list(out.iterdir()):
    if path.suffix != left:
      path.unlink()
  assert explain(write_photo(photo, 1))[0] == 2
  assert names_in(out) == [f"photo{left}"]
  assert explain(write_photo(photo, 0))[0] == 0
  assert len(names_in(out)) == 3


def test_a_figure_alone_is_kept(explain, photo, tmp_path):
  (tmp_path / "out").mkdir()
  write_figure(None, None, tmp_path / "out" / "photo.png")
  code, _, (line,) = explain(photo)
  assert code == 2
  assert "photo.png' was not written by this command" in line


def test_the_same_image_is_known_wherever_it_lies(explain, photo, tmp_path):
  moved = tmp_path / "elsewhere" / "photo.bmp"
  moved.parent.mkdir()
  assert explain(photo)[0] == 0
  # The same bytes under another name, and the same pixels in another file.
  shutil.copy(photo, moved.with_suffix(".png"))
  assert explain(moved.with_suffix(".png")) == (0, [], [])
  with Image.open(photo) as image:
    image.save(moved)
  code, printed, _ = explain(moved, "--seed=1")
  assert (code, len(printed)) == (0, 1)


def test_results_for_another_network_are_replaced(explain, photo, monkeypatch):
  """They have other pixels, and so another id, but the file is the same."""
  assert explain(photo)[0] == 0
  first = report_of(photo.parent / "out")
  small = cawe_jax.Classifier(
    lambda w, x: x.mean((1, 2)) @ w, np.eye(3, dtype=np.float32), 16, name="small"
  )
  monkeypatch.setattr(cawe_jax, "load_classifier", lambda *arguments, **options: small)
  assert explain(photo)[0] == 0
  second = report_of(photo.parent / "out")
  assert first["request"]["image_id"] != second["request"]["image_id"]
  assert first["image_sha256"] == second["image_sha256"]


def test_what_appears_during_the_run_is_kept(explain, photo, tmp_path, monkeypatch):
  """As when two calls write to one folder."""
  out, solve = tmp_path / "out", cawe_jax.explain

  def explain_slowly(*arguments, **options):
    (out / "photo.json").write_text("mine")
    return solve(*arguments, **options)

  monkeypatch.setattr(cawe_jax, "explain", explain_slowly)
  code, _, (line,) = explain(photo)
  assert code == 2
  assert "photo.json' was not written by this command" in line
  assert (out / "photo.json").read_text() == "mine"
  assert names_in(out) == ["photo.json"]


def test_a_target_twice_is_one_target(explain, photo):
  code, printed, _ = explain(photo, "--target", "bee", "1")
  assert (code, len(printed)) == (0, 1)
  assert printed[0].endswith("photo.png")


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_figure_replaces_figures_alone(suffix, explain, photo, tmp_path, monkeypatch):
  assert explain(photo)[0] == 0
  monkeypatch.undo()  # the real figure
  command = ["figure", str(tmp_path / "out" / "photo.npz"), "--out"]
  path = tmp_path / f"mine{suffix}"
  path.write_bytes(MASK)
  assert main([*command, str(path)]) == 2
  assert path.read_bytes() == MASK
  path.unlink()
  for _ in range(2):
    assert main([*command, str(path)]) == 0
  # `explain` knows it, too.
  assert results.is_figure(path)
