"""`cawe explain --metric`: numbers that judge what was found."""

import math
import sys

import jax
import numpy as np
import pytest
from shell_runs import QUICK, report_of

import cawe_jax as cawe
from cawe_jax import distortions
from cawe_jax.cli import main
from cawe_jax.metrics import METRICS, confidence_bounds, retained

pytestmark = pytest.mark.usefixtures("tiny_network", "quick_figures")

OWN = """
import jax


def kept(judged):
  return {"kept": sum(leaf.sum((1, 2, 3, 4)) for leaf in judged.relevance)}


def noise(judged):
  return {"noise": [float(jax.random.normal(judged.key))] * len(judged.images)}


def unknown(judged):
  return {"unknown": [float("nan")] * len(judged.images)}


def broken(judged):
  raise RuntimeError("no luck")
"""


@pytest.fixture
def run(photo, tmp_path, monkeypatch, capsys):
  (tmp_path / "own_metrics.py").write_text(OWN)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", [p for p in sys.path if p])

  def explain(*metrics, options=()):
    monkeypatch.delitem(sys.modules, "own_metrics", raising=False)
    wanted = ["--metric", *metrics] if metrics else []
    code = main(["explain", "photo.png", "--out=out", *QUICK, *options, *wanted])
    return code, capsys.readouterr().err

  return explain


def test_numbers_are_in_the_json_and_on_the_line(run, tmp_path):
  code, said = run("agreement", "own_metrics:kept", "own_metrics:unknown")
  assert code == 0
  numbers = report_of(tmp_path / "out")["metrics"]
  explanation = cawe.load(tmp_path / "out" / "photo.npz")
  mask = sum(float(leaf.sum()) for leaf in explanation.mask)
  np.testing.assert_allclose(numbers["kept"], mask, rtol=1e-5)
  assert numbers["unknown"] is None
  assert set(numbers) == {
    "retained_agreement",
    "explanation_agreement",
    "kept",
    "unknown",
  }
  assert f"kept {numbers['kept']:.4g}" in said


def test_a_metric_sees_what_explain_assessed(run, tmp_path, tiny_network):
  run("agreement")
  numbers = report_of(tmp_path / "out")["metrics"]
  one = cawe.load(tmp_path / "out" / "photo.npz")
  method = cawe.cartoonx(wavelet="haar", levels=2)
  found = retained(
    cawe.load_classifier("efficientnet-lite0"),
    one.input_image[None],
    [leaf[None] for leaf in one.mask],
    method.representation,
    key=jax.random.key(0),
    targets=int(one.target),
  )
  assert numbers["retained_agreement"] == float(found.retained_agreement[0])


def test_the_seed_is_that_of_the_metrics_noise_too(run, tmp_path):
  found = []
  for seed in (0, 7):
    run("own_metrics:noise", options=[f"--seed={seed}"])
    found.append(report_of(tmp_path / "out")["metrics"]["noise"])
  expected = [float(jax.random.normal(jax.random.key(seed))) for seed in (0, 7)]
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_other_metrics_are_another_request(run):
  assert run()[0] == 0
  assert "finished before" in run()[1]
  assert "finished before" not in run("agreement")[1]
  assert "finished before" in run("agreement")[1]


def test_what_was_found_is_kept_where_a_metric_fails(run, tmp_path):
  code, said = run("own_metrics:broken")
  assert code == 2
  assert "metric 'own_metrics:broken' failed with RuntimeError: no luck" in said
  assert "metrics" not in report_of(tmp_path / "out")
  assert "finished before" in run()[1]  # without metrics there is nothing to add
  assert "finished before" not in run("own_metrics:broken")[1]


def test_what_is_bounded_is_the_distortion_of_the_search(run, tmp_path, tiny_network):
  assert run(options=["--confidence=0.9", "--distortion=squared-l2"])[0] == 0
  found = report_of(tmp_path / "out")["metrics"]
  one = cawe.load(tmp_path / "out" / "photo.npz")
  method = cawe.cartoonx(wavelet="haar", levels=2, distortion=distortions.squared_l2)
  expected = confidence_bounds(
    cawe.load_classifier("efficientnet-lite0"),
    one.input_image,
    one.mask,
    method,
    key=jax.random.key(0),
    confidence=0.9,
    targets=int(one.target),
  )
  assert found["distortion_bound"] == float(expected.distortion)


def test_bounds_have_the_confidence_asked_for(run, tmp_path):
  found = {}
  for confidence in (0.5, 0.99):
    code, said = run(options=[f"--confidence={confidence}"])
    assert code == 0
    report = report_of(tmp_path / "out")
    assert report["confidence"] == confidence
    found[confidence] = report["metrics"]["retained_agreement_bound"]
    percent = math.floor(100 * found[confidence])
    assert f"with {100 * confidence:g} % confidence, at least" in said
    assert f"at least {percent} % of draws keep the class" in said
    assert "_bound" not in said  # not once more as numbers
  assert found[0.5] > found[0.99]
  assert "finished before" in run(options=["--confidence=0.99"])[1]
  assert "finished before" not in run(options=["--confidence=0.5"])[1]


@pytest.mark.parametrize(
  ("metric", "message"),
  [
    (
      "beauty",
      f"metric 'beauty' is unknown; allowed: {', '.join(METRICS)}, or MODULE:FUNCTION",
    ),
    ("own_metrics:nothing", "has no 'nothing'"),
    ("builtins:isinstance", "must be a function of judged"),
  ],
)
def test_no_metric_is_refused_before_anything_is_done(run, tmp_path, metric, message):
  code, said = run(metric)
  assert code == 2
  assert message in said
  assert not (tmp_path / "out").exists()
