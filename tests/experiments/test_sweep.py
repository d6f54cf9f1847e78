"""Runs of a tiny sweep: nothing is lost, nothing is done twice, nothing is mixed."""

import io
import re
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from tiny import get_config, make_classifier

import cawe_jax as cawe
from cawe_jax.files.images import image_id
from cawe_jax.methods.presets import preset
from cawe_jax.samples import sample_path
from configs import common
from experiments import sweep as sweep_
from experiments.axes import expand
from experiments.building import noise_ids
from experiments.progress import Progress
from experiments.sweep import Process, open_sweep, plan, run_jobs

ALONE = Process(0, 1)


def run(workdir, process=ALONE, config=None):
  sweep = open_sweep(config or get_config(), workdir)
  lines = io.StringIO()
  run_jobs(sweep, sweep.jobs, process, Progress(Console(file=lines), "tiny"))
  return sweep, lines.getvalue()


def contents(sweep):
  """Bytes of every result, by name."""
  folder = sweep.store.folder / "results"
  paths = [path for path in folder.rglob("*") if path.is_file()]
  return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  sweep, lines = run(tmp_path_factory.mktemp("finished"))
  return sweep, contents(sweep), lines


def test_every_image_of_every_job_has_a_result(finished):
  sweep, found, lines = finished
  assert len(found) == 2 * 4
  assert sweep.num_left == 0
  assert len(re.findall(r"batch \d of 2: \d+ s(?:, about|$)", lines, re.M)) == 4
  assert "left" in lines


@pytest.mark.filterwarnings("ignore::cawe_jax.EmptyMaskWarning")
def test_results_are_those_of_the_library(finished):
  sweep, _, _ = finished
  names = ["imagenet-02", "imagenet-03"]
  images = np.stack([cawe.load_image(sample_path(name), size=16) for name in names])
  method = preset("pixel-rde", "cvpr2023")
  recipe = method.recipe._replace(num_steps=12, num_draws=2)
  expected = cawe.explain(
    make_classifier(), images, method._replace(recipe=recipe), key=jax.random.key(0)
  )
  (job,) = (job for job in sweep.jobs if job.name == "pixel_rde")
  assert (job.grid[2]["lagrange_multiplier"], job.grid[2]["seed"]) == (1.0, 0)
  results = sweep.store.read_results("pixel_rde")[2:]
  for found, name, i in zip(results, names, range(2), strict=True):
    assert str(found["id"]) == name
    # Another batch, hence other rounding, which twelve steps of Adam enlarge.
    np.testing.assert_allclose(found["mask/0"][2], expected.mask[0][i], atol=1e-3)
    np.testing.assert_allclose(
      found["distortion"][2], expected.distortion[i], rtol=1e-2
    )
    np.testing.assert_array_equal(found["target"], [expected.target[i]] * 4)
    # Half a level of eight bits, and the mask's rounding.
    np.testing.assert_allclose(
      found["explanation"][2] / 255, expected.image[i, ..., 0], atol=3e-3
    )


def test_an_array_axis_equals_separate_runs(finished, tmp_path):
  sweep, _, _ = finished
  config = get_config()
  del config.methods.cartoonx
  config.axes = {}
  config.settings.lagrange_multiplier, config.settings.seed = 0.1, 1
  alone, _ = run(tmp_path, config=config)
  together = sweep.store.read_results("pixel_rde")
  for a, b in zip(together, alone.store.read_results("pixel_rde"), strict=True):
    # Rounding, as above.
    np.testing.assert_allclose(a["mask/0"][1], b["mask/0"][0], atol=1e-3)
    np.testing.assert_allclose(a["distortion"][1], b["distortion"][0], rtol=1e-2)
    assert np.abs(a["mask/0"][0] - b["mask/0"][0]).max() > 0.01


def test_results_hold_their_multipliers(finished):
  sweep, _, _ = finished
  for result in sweep.store.read_results("cartoonx"):
    np.testing.assert_array_equal(
      result["lagrange_multiplier"], np.float32([0.1, 0.1, 1, 1])
    )


def test_masks_that_keep_nothing_are_a_line(tmp_path):
  config = get_config()
  del config.methods.cartoonx
  config.limit, config.axes = 2, {"lagrange_multiplier": (0.1, 1e3)}
  _, lines = run(tmp_path, config=config)
  # Perhaps those of the small multiplier, too; the last is of the large one.
  assert re.search(r"pixel_rde, batch 1 of 1: the masks [0-2, ]*3 of 4 \(", lines)


def test_seeds_differ_and_multipliers_order_the_rates(finished):
  sweep, _, _ = finished
  for result in sweep.store.read_results("cartoonx"):
    assert not np.array_equal(result["mask/0"][0], result["mask/0"][1])
    assert result["rate"][2:].mean() < result["rate"][:2].mean()


def test_a_finished_run_is_not_redone(finished, monkeypatch):
  sweep, before, _ = finished
  monkeypatch.setattr(sweep_, "_run_batch", lambda *arguments: pytest.fail("redone"))
  times = {path: path.stat().st_mtime_ns for path in sweep.store.folder.rglob("*.npz")}
  again, lines = run(sweep.store.folder)
  assert contents(again) == before
  assert times == {path: path.stat().st_mtime_ns for path in times}
  assert "4 done before" in lines


@pytest.mark.parametrize("moment", [3, 6])
def test_an_interrupted_run_goes_on_to_the_same_bytes(
  finished, tmp_path, monkeypatch, moment
):
  """Stopped before the result number ``moment``, in the middle of a batch or not."""
  _, expected, _ = finished
  original, written = sweep_.Store.write_result, []

  def interrupted(self, job, image, arrays):
    if len(written) == moment:
      raise KeyboardInterrupt
    written.append(image)
    original(self, job, image, arrays)

  monkeypatch.setattr(sweep_.Store, "write_result", interrupted)
  with pytest.raises(KeyboardInterrupt):
    run(tmp_path)
  monkeypatch.undo()
  unfinished = open_sweep(get_config(), tmp_path)
  assert unfinished.num_left == 8 - moment
  assert contents(unfinished).items() <= expected.items()
  sweep, _ = run(tmp_path)
  assert contents(sweep) == expected


def test_what_is_killed_by_default_keeps_every_finished_photograph(
  tmp_path, monkeypatch
):
  config = get_config()
  config.batch_size = common.base("tiny", "default").batch_size
  original, calls = sweep_.TASKS["explain"], []

  def killed(*arguments):
    calls.append(arguments)
    if len(calls) == 3:
      raise KeyboardInterrupt
    return original(*arguments)

  monkeypatch.setitem(sweep_.TASKS, "explain", killed)
  with pytest.raises(KeyboardInterrupt):
    run(tmp_path, config=config)
  unfinished = open_sweep(config, tmp_path)
  assert [bool(unfinished.store.is_done("cartoonx", i)) for i in range(4)] == [
    True,
    True,
    False,
    False,
  ]


def test_processes_share_the_work_and_agree_with_one(finished, tmp_path):
  _, expected, _ = finished
  first, _ = run(tmp_path, Process(0, 2))
  assert 0 < first.num_left < 8
  second, _ = run(tmp_path, Process(1, 2))
  assert second.num_left == 0
  assert contents(second) == expected


def test_another_config_is_refused_and_run_only_keys_are_not(finished):
  sweep, _, _ = finished
  config = get_config()
  config.launch.timeout_min = 7
  open_sweep(config, sweep.store.folder)
  config.settings.steps = 13
  with pytest.raises(ValueError, match=r"config\.settings\.steps: 12 there, 13 now"):
    open_sweep(config, sweep.store.folder)


def write_photographs(folder, names):
  folder.mkdir()
  rng = np.random.default_rng(0)
  for name in names:
    pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f"{name}.png")
  return folder


def test_results_of_another_file_of_the_same_name_are_not_mixed(tmp_path):
  folder = write_photographs(tmp_path / "photographs", "ab")
  config = get_config()
  config.data = str(folder)
  del config.methods.cartoonx
  sweep, _ = run(tmp_path / "run", config=config)
  before = (folder / "b.png").read_bytes()
  shutil.copyfile(folder / "a.png", folder / "b.png")
  with pytest.raises(ValueError, match="results of other files of the photographs 'b'"):
    run(tmp_path / "run", config=config)
  # Where nothing was found yet, there is nothing to mix.
  sweep.store.result_path("pixel_rde", 1).unlink()
  run(tmp_path / "run", config=config)
  a, b = sweep.store.read_results("pixel_rde")
  np.testing.assert_array_equal(a["input_image"], b["input_image"])
  sweep.store.result_path("pixel_rde", 1).unlink()
  (folder / "b.png").write_bytes(before)
  run(tmp_path / "run", config=config)


def test_photographs_that_cannot_be_decoded_are_listed(tmp_path):
  folder = write_photographs(tmp_path / "photographs", "abcd")
  whole = (folder / "c.png").read_bytes()
  for name in "cd":
    (folder / f"{name}.png").write_bytes(whole[: len(whole) // 2])
  config = get_config()
  config.data = str(folder)
  del config.methods.cartoonx
  sweep, lines = run(tmp_path / "run", config=config)
  assert [error["id"] for error in sweep.store.read_errors()] == ["c", "d"]
  assert "'c' is left out" in lines
  assert sweep.num_left == 0
  ids = [str(result["id"]) for result in sweep.store.read_results("pixel_rde")]
  assert ids == ["a", "b"]
  for name in "cd":
    (folder / f"{name}.png").write_bytes(whole)
  sweep, _ = run(tmp_path / "run", config=config)
  assert sweep.store.read_errors() == []
  assert len(sweep.store.read_results("pixel_rde")) == 4


def test_only_wrong_predictions_are_explained_with_the_true_class(tmp_path):
  config = get_config()
  config.select, config.axes = "wrong", {}
  config.methods = {"true": {"target": "label"}, "own": {}}
  config.settings.method = "pixel-rde"
  # One photograph's label becomes what the network says, so that one is right.
  _, photographs = plan(config)
  image = cawe.load_image(sample_path("imagenet-01"), size=16)
  right = int(make_classifier()(image[None])[0].argmax())
  relabelled = [
    p._replace(label=right) if p.id == "imagenet-01" else p for p in photographs
  ]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sweep_, "load", lambda *arguments: relabelled)
    sweep, _ = run(tmp_path, config=config)
  for job, key in (("true", "label"), ("own", "prediction")):
    results = sweep.store.read_results(job)
    selected = [bool(result["selected"]) for result in results]
    assert selected == [True, False, True, True]
    assert "rate" not in results[1]
    for result in results[2:]:
      assert result["label"] != result["prediction"]
      assert result["target"][0] == result[key]


def test_noise_ids_of_seed_0_are_the_images_own():
  ids = np.array([image_id(np.zeros((2, 2, 3))), 2**32 - 1])
  found = noise_ids(ids, [0, 5, 6]).reshape(2, 3)
  np.testing.assert_array_equal(found[:, 0], ids)
  assert len(set(found.ravel().tolist())) == 6


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"task": "explane"}, "task is 'explane'; allowed: explain"),
    ({"select": "right"}, "select is 'right'; allowed: all, wrong"),
    ({"data": "nowhere"}, "nowhere"),
    ({"report": {"figures": ("pie",)}}, "report.figures has 'pie'; allowed: curves"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"settings": {"target": "best"}}, "job 'cartoonx': target is 'best'"),
    ({"settings": {"classifier": "tiny:none"}}, "'tiny:none': module 'tiny' has no"),
    ({"settings": {"wavelet": "haar"}}, "'pixel_rde': option --wavelet does not apply"),
    ({"settings": {"steps": 0}}, "num_steps is 0|steps is 0"),
  ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(tmp_path, change, message):
  config = get_config()
  settings = config.settings.to_dict() | change.pop("settings", {})
  config.update(change)
  config.settings = settings
  with pytest.raises(ValueError, match=message):
    open_sweep(config, tmp_path / "new")
  assert not (tmp_path / "new").exists()


def test_a_sweep_over_true_classes_needs_them(tmp_path):
  Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
  config = get_config()
  config.data = str(tmp_path)
  plan(config)
  config.select = "wrong"
  with pytest.raises(ValueError, match="the class of 'a' is not known"):
    plan(config)


def test_jobs_of_the_tiny_sweep():
  assert [job.name for job in expand(get_config())] == ["cartoonx", "pixel_rde"]


def test_a_network_of_other_classes_is_not_compared_with_imagenets(tmp_path):
  """Class 5 of a network of six is not ImageNet's class 5."""
  config = get_config()
  config.axes, config.limit = {}, 2
  config.methods = {"pixel_rde": {"method": "pixel-rde"}}
  config.settings.classifier = "tiny:make_classifier_of_six"
  sweep, _ = run(tmp_path / "other", config=config)
  for result in sweep.store.read_results("pixel_rde"):
    assert (result["label"], result["label_name"]) == (-1, "")
  config.settings.target = "label"
  with pytest.raises(ValueError, match="'tiny:make_classifier_of_six' has 6 outputs"):
    run(tmp_path / "labels", config=config)


def test_what_a_job_refuses_names_the_job(tmp_path, monkeypatch):
  def refuse(*arguments):
    raise ValueError("this network has no such layer")

  monkeypatch.setitem(sweep_.TASKS, "explain", refuse)
  with pytest.raises(ValueError, match=r"^job 'cartoonx': this network has no such"):
    run(tmp_path)
