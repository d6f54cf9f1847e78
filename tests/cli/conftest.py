"""A small network in the place of the real one, and `cawe explain` as a function."""

import dataclasses
import gc

import jax
import pytest
import safetensors.numpy
from shell_runs import NAMES, QUICK, SIZE, write_figure, write_photo
from tiny_checkpoint import TENSORS, TINY

import cawe_jax
from cawe_jax.classifiers import registry
from cawe_jax.cli import main, results


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
    lambda name, weights=None, **options: (
      tiny if name == "efficientnet-lite0" else original(name, weights, **options)
    ),
  )
  folder, thresholds = jax.config.jax_compilation_cache_dir, gc.get_threshold()
  yield
  gc.set_threshold(*thresholds)
  jax.config.update("jax_compilation_cache_dir", folder)


@pytest.fixture
def quick_figures(monkeypatch, request):
  """No figure where no test looks at one."""
  if "real_figures" in request.fixturenames:
    return

  monkeypatch.setattr(results, "draw", write_figure)


@pytest.fixture
def real_figures():
  """Asked for by name; see above."""


@pytest.fixture
def photo(tmp_path):
  return write_photo(tmp_path / "photo.png", 0)


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


@pytest.fixture
def tiny_architecture(monkeypatch):
  """``tiny`` among the networks of the registry, and no real figures."""
  monkeypatch.setitem(registry._INFO, "tiny", TINY)
  monkeypatch.setattr(results, "draw", write_figure)
  folder = jax.config.jax_compilation_cache_dir
  yield
  jax.config.update("jax_compilation_cache_dir", folder)


@pytest.fixture
def weights(tmp_path):
  path = tmp_path / "weights.safetensors"
  safetensors.numpy.save_file(TENSORS, path)
  return path


@pytest.fixture
def run(capsys):
  """Exit code, lines of the output, lines of the errors."""

  def call(*arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out.splitlines(), captured.err.splitlines()

  return call
