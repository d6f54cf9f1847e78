"""The commands `figure` and `list`, and what `cawe` says of itself."""

import itertools
import re

import jax
import numpy as np
import pytest
from PIL import Image
from processes import run_python
from shell_runs import SIZE

import cawe_jax
from cawe_jax.cli import main
from cawe_jax.methods import names
from cawe_jax.metrics import METRICS

pytestmark = pytest.mark.usefixtures("tiny_network", "quick_figures")


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


def test_a_figure_is_a_file(tmp_path, saved, capsys):
  cawe_jax.save(tmp_path / "mine.npz", saved)
  out = f"{tmp_path / 'mine.png'}/"
  assert main(["figure", str(tmp_path / "mine.npz"), "--out", out]) == 2
  assert "is a folder; it must be a file, NAME.png" in capsys.readouterr().err
  assert not (tmp_path / "mine.png").exists()


@pytest.mark.parametrize(
  "metadata", [None, {"target_name": 3, "method": "mine"}, {"method": {"name": "x"}}]
)
def test_figure_of_what_was_saved_in_python(metadata, tmp_path, saved, real_figures):
  cawe_jax.save(tmp_path / "mine.npz", saved, metadata)
  arguments = ["figure", str(tmp_path / "mine.npz"), "--out"]
  assert main([*arguments, str(tmp_path / "mine.png")]) == 0
  with Image.open(tmp_path / "mine.png") as figure:
    assert min(figure.size) > 300


def test_bands_of_a_figure(tmp_path, saved, capsys, real_figures):
  many = saved._replace(
    input_image=np.repeat(saved.input_image, 3, -1),
    masked_image=np.repeat(saved.masked_image, 3, -1),
    obfuscated_image=np.repeat(saved.obfuscated_image, 3, -1),
  )
  cawe_jax.save(tmp_path / "many.npz", many)
  arguments = ["figure", str(tmp_path / "many.npz"), "--out"]
  assert main([*arguments, str(tmp_path / "mean.png")]) == 0
  assert main([*arguments, str(tmp_path / "bands.png"), "--bands", "8,4,0"]) == 0
  pictures = [(tmp_path / name).read_bytes() for name in ("mean.png", "bands.png")]
  assert pictures[0] != pictures[1]
  capsys.readouterr()
  assert main([*arguments, str(tmp_path / "x.png"), "--bands", "9,4,0"]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert "bands is (9, 4, 0)" in line
  assert "from 0 to 8" in line
  with pytest.raises(SystemExit) as error:
    main([*arguments, str(tmp_path / "x.png"), "--bands", "red"])
  assert error.value.code == 2
  assert "--bands: 'red' is not three channels" in capsys.readouterr().err
  assert not (tmp_path / "x.png").exists()


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
  tables = (
    names.METHODS,
    names.RECIPES,
    names.REPRESENTATIONS,
    names.PERTURBATIONS,
    names.DISTORTIONS,
    names.INITIAL_MASKS,
    METRICS,
    ("efficientnet-lite0", "sample:imagenet-13"),
  )
  for name in itertools.chain(*tables):
    assert name in text.replace(",", " ").split()


def test_version_and_help_do_not_wait_for_jax():
  code = (
    "import sys\n"
    "from cawe_jax.cli import main\n"
    "try:\n"
    "  main([sys.argv[1]])\n"
    "finally:\n"
    "  assert not {'jax', 'numpy', 'matplotlib', 'rich'} & set(sys.modules)\n"
  )
  for argument in ("--version", "--help"):
    ended = run_python(code, argument)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_version_and_help(capsys):
  for argument, expected in (
    ("--version", cawe_jax.__version__),
    ("--help", "explain images"),
  ):
    with pytest.raises(SystemExit) as error:
      main([argument])
    assert error.value.code == 0
    assert expected in capsys.readouterr().out
