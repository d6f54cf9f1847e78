"""Curves and rankings of a sweep are those of the library, image by image."""

import io

import jax
import numpy as np
import pytest
from rich.console import Console
from tiny import get_config, make_classifier

import cawe_jax as cawe
from cawe_jax import attribution, distortions, metrics
from cawe_jax.files.images import image_id
from cawe_jax.methods.presets import preset
from cawe_jax.representations import pixel
from cawe_jax.samples import sample_path
from experiments.building import noise_ids
from experiments.progress import Progress
from experiments.report.summary import describe, summarise
from experiments.sweep import Process, open_sweep, plan, run_jobs

FRACTIONS = (0.0, 0.1, 0.5, 1.0)


def make_config(task):
  config = get_config()
  config.task, config.limit, config.axes = task, 2, {"seed": (0, 1)}
  config.settings.steps, config.settings.lagrange_multiplier = 6, 0.05
  config.methods = {
    "mask": {"method": "pixel-rde"},
    "product": {"ranking": "gradient-x-input"},
    "random": {"ranking": "random-pixels"},
  }
  config.curve = {
    "mask": "randomise",
    "distortion": "squared-l2",
    "num_draws": 3,
    "fractions": FRACTIONS,
  }
  return config


def run(config, workdir):
  sweep = open_sweep(config, workdir)
  console = Console(file=io.StringIO())
  run_jobs(sweep, sweep.jobs, Process(0, 1), Progress(console, "tiny"))
  assert sweep.num_left == 0
  return sweep.store


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
  return run(make_config("rank"), tmp_path_factory.mktemp("rank"))


@pytest.fixture(scope="module")
def curves(tmp_path_factory):
  return run(make_config("curves"), tmp_path_factory.mktemp("curves"))


@pytest.fixture(scope="module")
def photographs():
  names = ("imagenet-00", "imagenet-01")
  return np.stack([cawe.load_image(sample_path(name), size=16) for name in names])


def test_a_ranking_is_the_attribution_of_the_predicted_class(ranked, photographs):
  classifier = make_classifier()
  targets = np.asarray(classifier(photographs)).argmax(1)
  expected = attribution.gradient_x_input()(
    classifier, photographs, targets, jax.random.key(0)
  )
  for row, result in enumerate(ranked.read_results("product")):
    for point in range(2):  # without randomness, the seed changes nothing
      np.testing.assert_allclose(
        result["relevance/0"][point], expected[0][row], rtol=1e-4, atol=1e-6
      )


def test_seeds_make_other_rankings_and_other_masks(ranked):
  for job in ("random", "mask"):
    for result in ranked.read_results(job):
      first, second = result["relevance/0"]
      assert not np.array_equal(first, second)


@pytest.mark.parametrize("job", ["mask", "product", "random"])
def test_curves_are_those_of_the_ranking(job, curves, ranked, photographs):
  relevance = np.stack(
    [result["relevance/0"][0] for result in ranked.read_results(job)]
  )
  expected = metrics.rate_distortion_curve(
    make_classifier(),
    photographs,
    (relevance,),
    pixel(),
    key=jax.random.key(0),
    mask_fn=metrics.randomise,
    distortion=distortions.squared_l2,
    fractions=FRACTIONS,
    num_draws=3,
  )
  for row, result in enumerate(curves.read_results(job)):
    np.testing.assert_array_equal(result["fraction"], FRACTIONS)
    for name in ("distortion", "standard_error", "score", "energy", "bits"):
      np.testing.assert_allclose(
        result[name][0], getattr(expected, name)[row], rtol=1e-4, atol=1e-6
      )
    area = np.trapezoid(result["distortion"][0], FRACTIONS)
    np.testing.assert_allclose(result["area"][0], area, rtol=1e-5)


def test_all_rankings_see_the_same_noise(curves):
  """With everything replaced, nothing of the ranking is left."""
  last = [
    [result["distortion"][:, -1] for result in curves.read_results(job)]
    for job in ("mask", "product", "random")
  ]
  np.testing.assert_allclose(last[0], last[1], rtol=1e-5)
  np.testing.assert_allclose(last[0], last[2], rtol=1e-5)
  assert np.ptp(np.array(last[0])[0]) > 0  # of two seeds


def test_a_multiplier_does_not_apply_to_a_ranking(tmp_path):
  config = make_config("rank")
  config.axes = {"lagrange_multiplier": (1.0, 2.0)}
  with pytest.raises(ValueError, match="lagrange_multiplier does not apply to a rank"):
    open_sweep(config, tmp_path / "new")


@pytest.mark.parametrize("task", ["explain", "rank"])
def test_metrics_judge_every_grid_point(task, tmp_path, photographs):
  config = make_config(task)
  config.metrics = ("rate-distortion",)
  config.methods = {"mask": {"method": "pixel-rde"}}
  entries = {"explain": "mask/0", "rank": "relevance/0"}[task]
  for row, result in enumerate(run(config, tmp_path).read_results("mask")):
    for point, seed in enumerate((0, 1)):
      curve = metrics.rate_distortion_curve(
        make_classifier(),
        photographs[row : row + 1],
        (result[entries][point][None],),
        pixel(),
        key=jax.random.key(0),
        perturbation=preset("pixel-rde", "cvpr2023").perturbation,
        targets=result["prediction"].item(),
        image_ids=noise_ids(np.array([image_id(photographs[row])]), [seed]),
      )
      np.testing.assert_allclose(
        result["metrics/kept_area"][point],
        metrics.area_under_curve(curve.fraction, curve.distortion)[0],
        rtol=1e-4,
      )


def test_metrics_know_the_distortion_of_the_search(tmp_path, photographs):
  config = make_config("explain")
  config.metrics = ("bounds",)
  config.methods = {"mask": {"method": "pixel-rde", "distortion": "squared-l2"}}
  result = run(config, tmp_path).read_results("mask")[0]
  expected = metrics.confidence_bounds(
    make_classifier(),
    photographs[:1],
    (result["mask/0"][0][None],),
    preset("pixel-rde", "cvpr2023")._replace(distortion=distortions.squared_l2),
    key=jax.random.key(0),
    targets=result["prediction"].item(),
    image_ids=noise_ids(np.array([image_id(photographs[0])]), [0]),
  )
  np.testing.assert_allclose(
    result["metrics/distortion_bound"][0], expected.distortion[0], rtol=1e-5
  )


def test_the_table_has_the_means_of_metrics(tmp_path):
  config = make_config("rank")
  config.metrics = ("rate-distortion",)
  sweep = open_sweep(config, tmp_path)
  store = run(config, tmp_path)
  for row in summarise(sweep.jobs, store):
    values = [r["metrics/kept_area"][row.point] for r in store.read_results(row.job)]
    flat = describe(row)
    np.testing.assert_allclose(flat["metrics.kept_area"], np.mean(values))
    assert flat["metrics.kept_area_count"] == 2


def test_an_edited_metric_of_ones_own_is_refused(tmp_path, monkeypatch):
  source = "def score(judged):\n  return {'score': [1.0] * len(judged.images)}\n"
  (tmp_path / "my_metric.py").write_text(source)
  monkeypatch.syspath_prepend(tmp_path)
  config = make_config("explain")
  config.metrics = ("my_metric:score",)
  open_sweep(config, tmp_path / "run")
  open_sweep(config, tmp_path / "run")
  (tmp_path / "my_metric.py").write_text(source.replace("1.0", "2.0"))
  with pytest.raises(ValueError, match="my_metric:score"):
    open_sweep(config, tmp_path / "run")


@pytest.mark.parametrize(
  ("task", "names", "message"),
  [
    ("explain", ("beauty",), "metric 'beauty' is unknown"),
    ("explain", "agreement", "it must be a tuple of names"),
    ("curves", ("agreement",), "task 'curves' keeps no masks to judge"),
  ],
)
def test_metrics_that_do_not_fit_are_refused(task, names, message):
  config = make_config(task)
  with config.unlocked():
    config.metrics = ()
  with config.ignore_type():
    config.metrics = names
  with pytest.raises(ValueError, match=message):
    plan(config)
