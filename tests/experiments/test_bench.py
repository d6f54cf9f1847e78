"""The benchmark's own arithmetic, and that results stored once are compared fairly."""

import itertools
import json
from contextlib import nullcontext
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import tiny
from PIL import Image
from scipy import stats

import cawe_jax as cawe
from cawe_jax import perturbations, recipes
from cawe_jax.files.compilation import Clock
from experiments.bench import accelerator, pairs, published, quality, runs
from experiments.bench.networks import DEFAULT, Network
from experiments.bench.runs import Photograph, Score


class SmallSetting(runs.Setting):
  """A setting whose wavelets fit 16 x 16 pixels."""

  def method(self, recipe):
    haar = cawe.representations.wavelet("haar", levels=2)
    return super().method(recipe)._replace(representation=haar)


@pytest.fixture
def classifier():
  return tiny.make_classifier()


@pytest.fixture
def network(classifier):
  return Network(DEFAULT, classifier, [])


@pytest.fixture
def setting(monkeypatch, tmp_path):
  """One small setting, a short published recipe, a store of its own."""
  small = SmallSetting(1.0, "gaussian", perturbations.adaptive_gaussian())
  monkeypatch.setitem(runs.SETTINGS, "gaussian-20", small)
  short = recipes.cvpr2023()._replace(num_steps=30, num_draws=4)
  monkeypatch.setattr(recipes, "cvpr2023", lambda: short)
  monkeypatch.setattr(published, "CURVES", tmp_path / "curves")
  return "gaussian-20"


@pytest.fixture
def folder(tmp_path):
  """Twelve noisy images; of the tiny network some are sure and some are not."""
  rng = np.random.default_rng(0)
  images = tmp_path / "images"
  images.mkdir()
  for number in range(12):
    pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(images / f"{number:02d}.png")
  return images


def run_published(monkeypatch, folder, setting, count=2, seeds=1):
  arguments = ["published", "--images", str(folder), "--count", str(count)]
  arguments += ["--seeds", str(seeds), "--settings", setting]
  monkeypatch.setattr("sys.argv", arguments)
  monkeypatch.setattr(cawe, "load_classifier", lambda name: tiny.make_classifier())
  published.main()


def _objective(result):
  return result.score.objective


def test_a_difference_has_the_standard_error_of_pairs():
  rng = np.random.default_rng(0)
  ours, theirs = rng.random((2, runs.NUM_GROUPS))
  difference, error = Score(list(ours), 0.3).minus(Score(list(theirs), 0.1))
  test = stats.ttest_rel(ours, theirs)
  assert difference == pytest.approx(np.mean(ours - theirs) + 0.2)
  # The t statistic is the mean over its standard error.
  assert error == pytest.approx(np.mean(ours - theirs) / test.statistic)


@pytest.mark.parametrize(
  ("ratio", "worse"), [(1.059, False), (1.061, True), (0.1, False)]
)
def test_worse_is_beyond_two_per_cent_and_two_errors(ratio, worse):
  # 2 % and twice 2 % make 6 %.
  assert quality.Result(ratio, 0.02, 400, 1.0, 1.0).is_worse == worse


def test_the_first_that_reaches_it_is_not_adam():
  adam, *results = (quality.Result(r, 0, 1, 1, 1) for r in (0.9, 1.01, 1.0, 0.8))
  row = quality.Row([], results, [], adam)
  assert row.first is results[1]
  assert row._replace(results=results[:1]).first is None


def test_only_sure_photographs_count(classifier, folder):
  every = [
    cawe.load_image(path, size=16) for path in sorted(folder.iterdir())
  ]  # in the same order
  logits = np.asarray(classifier(np.stack(every)), np.float64)
  top = (np.exp(logits - logits.max(1, keepdims=True))).sum(1) ** -1
  wanted = [f"{i:02d}" for i in np.flatnonzero(top >= runs.MINIMUM_PROBABILITY)]
  assert 0 < len(wanted) < 12
  found = runs.sure_photographs(folder, classifier, 12)
  assert [photograph.name for photograph in found] == wanted
  assert len(runs.sure_photographs(folder, classifier, 1)) == 1


def test_a_search_returns_the_empty_mask_where_explain_does(
  classifier, setting, folder
):
  photograph = runs.sure_photographs(folder, classifier, 1)[0]
  method = runs.SETTINGS[setting].method(recipes.cvpr2023()._replace(num_steps=3))
  (run,) = runs.search(classifier, photograph, method._replace(lagrange_multiplier=1e4))
  # Three steps of 0.1 leave 0.7 of each entry.
  assert max(leaf.max() for leaf in run.mask) == 0
  assert run.score.weighted_rate == 0


def test_a_folder_without_sure_photographs_is_refused(classifier, tmp_path):
  with pytest.raises(SystemExit, match="no photograph that the network is sure of"):
    runs.sure_photographs(tmp_path, classifier, 3)


def test_a_score_is_the_objective_that_explain_reports(classifier, setting, folder):
  photograph = runs.sure_photographs(folder, classifier, 1)[0]
  recipe = recipes.cvpr2023()._replace(contrast=(0.1, 0.8))
  method = runs.SETTINGS[setting].method(recipe)
  (run,) = runs.search(classifier, photograph, method)
  explained = cawe.explain(classifier, photograph.image, method, key=jax.random.key(0))
  for found, expected in zip(run.mask, explained.mask, strict=True):
    np.testing.assert_array_equal(found[0], expected)
  assessed = runs.open_session(classifier, photograph, method).assess(run.mask)
  # 256 draws against 64 others, whose error is twice as large: sqrt(1 + 4) = 2.24
  # errors of the difference, of which three.
  distances = np.array(run.score.distortions)
  error = distances.std(ddof=1) / len(distances) ** 0.5
  assert abs(run.score.objective - float(assessed.objective[0])) < 3 * 2.24 * error
  assert run.evaluations == 30 * 4
  assert len(run.history) == 30


def test_published_results_are_kept_and_not_run_again(
  monkeypatch, classifier, folder, setting, capsys
):
  run_published(monkeypatch, folder, setting)
  curves = published.CURVES / DEFAULT
  first = {p.name: p.read_bytes() for p in curves.iterdir()}
  assert len(first) == 2
  record = json.loads(next(iter(first.values())))
  assert {"photograph", "date", "versions", "seconds"} < record.keys()
  printed = capsys.readouterr().out

  def never(*arguments):
    raise AssertionError("it was run again")

  monkeypatch.setattr(published, "_with_library", never)
  run_published(monkeypatch, folder, setting)
  assert {p.name: p.read_bytes() for p in curves.iterdir()} == first
  assert capsys.readouterr().out == printed


def test_what_is_stored_is_what_was_found(
  monkeypatch, classifier, network, folder, setting
):
  run_published(monkeypatch, folder, setting, count=1)
  photograph = runs.sure_photographs(folder, classifier, 1)[0]
  stored = published.load(network, setting, photograph)
  assert stored == published._with_library(network, setting, photograph, [0])
  other = Photograph("other", 1 - photograph.image)
  assert published.load(network, setting, other) == []
  assert published.load(network._replace(name="another"), setting, photograph) == []


def test_seeds_are_added_and_each_is_what_it_is_alone(
  monkeypatch, classifier, network, folder, setting, capsys
):
  run_published(monkeypatch, folder, setting, count=1)
  photograph = runs.sure_photographs(folder, classifier, 1)[0]
  (alone,) = published.load(network, setting, photograph)
  run_published(monkeypatch, folder, setting, count=1, seeds=3)
  first, *others = published.load(network, setting, photograph)
  assert first == alone
  histories = {tuple(result.history) for result in (first, *others)}
  assert len(histories) == 3
  (second,) = published._with_library(network, setting, photograph, [1])
  # Sums of a batch are added up in another order, and Adam's normalised steps let that
  # grow; another seed is a thousand times as far away.
  in_batch, another = (
    np.abs(np.subtract(second.score.distortions, result.score.distortions)).mean()
    for result in others
  )
  assert in_batch < 0.01 * another
  printed = capsys.readouterr().out.splitlines()[-1].split()[2:]
  assert printed == [f"{result.score.objective:.5f}" for result in (first, *others)]


def test_the_typical_run_has_the_median_objective():
  results = [
    published.Published(Score([distortion], 0.1), [], 1)
    for distortion in (0.5, 0.1, 0.3, 0.4, 0.2)
  ]
  assert published.typical(results) is results[2]
  assert published.typical(results[:4]) is results[2]


def test_the_quality_table_compares_with_what_is_stored(
  monkeypatch, classifier, network, folder, setting, capsys
):
  run_published(monkeypatch, folder, setting, count=1, seeds=3)
  capsys.readouterr()
  photographs = runs.sure_photographs(folder, classifier, 2)
  results = published.load(network, setting, photographs[0])
  usual = max(results, key=_objective)

  monkeypatch.setattr(quality, "typical", lambda results: usual)
  same = recipes.cvpr2023()
  monkeypatch.setattr(quality, "ADAM", same)
  tuned = [same._replace(num_steps=1), same]
  quality.report(network, setting, photographs, 1.0, tuned, seeds=1, adam=True)
  out = capsys.readouterr().out
  head, row, median, worst, worse = out.splitlines()[2:]
  assert head.split()[-7:] == ["4", "120", "gain", "reached", "with", "s", "x"]
  # The second photograph has no stored result, hence one row. The same recipe finds the
  # mask of the first seed; one step leaves a mask of ones, which no tenth of the run is
  # as bad as.
  cells = row.split()
  name, published_, seeds, early, adam, first, second, gain, losses, *tail = cells
  reached, _, speed_up = tail
  assert name == photographs[0].name
  assert float(published_) == pytest.approx(_objective(usual), abs=1e-5)
  least = min(map(_objective, results)) / _objective(usual)
  assert seeds == f"{least:.2f}-1.00"
  early_steps = np.mean(usual.history[1:6]) / _objective(usual)
  # Half of the last digit that is printed, and the sum of two of them.
  assert float(early) == pytest.approx(early_steps, abs=0.005)
  ratio, error = adam.split("+-")
  assert float(ratio) == pytest.approx(
    _objective(results[0]) / _objective(usual), abs=5e-4
  )
  _, standard_error = results[0].score.minus(usual.score)
  # As above.
  assert float(error) == pytest.approx(standard_error / _objective(usual), abs=5e-4)
  assert second == adam
  assert first.endswith("!")
  assert reached == "120"
  assert median.split()[:4] == ["median", early, ratio, first.partition("+")[0]]
  assert float(worst.split()[-1]) == float(median.split()[-1]) == float(speed_up)
  assert worse.split() == ["worse", "(!),", "of", "1", "0", "1", "0", "0/1"]
  few = float(first.partition("+")[0])
  # As above.
  assert float(gain) == pytest.approx(few - float(ratio), abs=2e-3)
  assert losses == "0/1"


def test_the_speed_up_is_of_wall_time_without_compilation(
  monkeypatch, classifier, network, folder, setting
):
  run_published(monkeypatch, folder, setting, count=1)
  photograph = runs.sure_photographs(folder, classifier, 1)[0]
  stored = published.load(network, setting, photograph)
  method = runs.SETTINGS[setting].method
  # Clocks that say seven seconds, four of them for compiling, however busy the machine.
  ticks = itertools.count(0.0, 7.0)
  monkeypatch.setattr(runs, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
  monkeypatch.setattr(runs, "compile_clock", lambda: nullcontext(Clock(4.0)))
  recipe = recipes.cvpr2023()
  row = quality.measure(network, method, photograph, stored, 50.0, [recipe], 1)
  (result,) = row.results
  assert result.seconds == pytest.approx(3.0)
  assert result.speed_up == pytest.approx(120 * 0.05 / 3.0)


def test_of_several_seeds_the_median_one_counts(monkeypatch, network):
  def found(classifier, photograph, method, seeds):
    values = [0.3, 0.1, 0.2, 0.9, 0.05][: len(seeds)]
    return [runs.Run((), Score([v, v], 0.0), 1.0, 10, []) for v in values]

  monkeypatch.setattr(quality, "search", found)
  stored = [published.Published(Score([0.1, 0.1], 0.0), [], 100)]

  def ratio(seeds):
    recipe = recipes.default()
    method = runs.SETTINGS["uniform-1"].method
    row = quality.measure(network, method, None, stored, 1.0, [recipe], seeds)
    return row.results[0].ratio

  assert ratio(1) == pytest.approx(3)
  assert ratio(3) == ratio(5) == pytest.approx(2)
  assert ratio(4) == pytest.approx(3)


def test_more_evaluations_that_end_higher_are_counted():
  # Gains with standard errors of 0.1; two errors are needed.
  row = quality.Row([], [], [(0.5, 0.1), (-0.15, 0.1), (-0.25, 0.1)])
  assert row.losses == 1
  assert row.gain == "0.033 1/3"


def test_a_table_says_when_nothing_is_stored(
  classifier, network, folder, setting, capsys
):
  photographs = runs.sure_photographs(folder, classifier, 1)
  quality.report(network, setting, photographs, 1.0, [recipes.cvpr2023()], 1)
  assert "no published result is stored" in capsys.readouterr().out


def test_every_seed_is_scored_on_the_same_draws(classifier, setting, folder):
  photograph = runs.sure_photographs(folder, classifier, 1)[0]
  method = runs.SETTINGS[setting].method(recipes.cvpr2023())
  (run,) = runs.search(classifier, photograph, method, [1])
  first, again = runs.score(
    classifier, photograph, method, tuple(np.concatenate([x, x]) for x in run.mask)
  )
  assert first == again
  own, other = (
    runs.open_session(classifier, photograph, method, [seed]).estimate(
      run.mask, 2**31, runs.GROUP_DRAWS
    )
    for seed in (0, 1)
  )
  assert run.score.distortions[0] == pytest.approx(float(own.distortion[0]), abs=1e-8)
  # Those of the seed itself are others.
  assert abs(float(other.distortion[0] - own.distortion[0])) > 1e-5


def test_photographs_evaluations_and_seeds_can_be_chosen(
  monkeypatch, classifier, folder, setting, capsys
):
  names = [p.name for p in runs.sure_photographs(folder, classifier, 2)]
  stored = published.Published(Score([0.1, 0.2], 0.3), [1.0] * 10, 120)
  monkeypatch.setattr(quality, "load", lambda network, setting, photograph: [stored])
  monkeypatch.setattr(cawe, "load_classifier", lambda name: classifier)
  measured = pairs.Pairs([50.0], [10.0], [10.0])
  monkeypatch.setattr(pairs, "measure", lambda count: measured)

  def run(*arguments):
    command = ["quality", "--images", str(folder), "--settings", setting, *arguments]
    monkeypatch.setattr("sys.argv", command)
    quality.main()
    return capsys.readouterr().out

  def search(classifier, photograph, method, seeds):
    evaluations = method.recipe.num_steps * method.recipe.num_draws
    asked.append((evaluations, list(seeds)))
    return [runs.Run((), stored.score, 1.0, evaluations, []) for _ in seeds]

  asked: list[tuple[int, list[int]]] = []
  monkeypatch.setattr(quality, "search", search)
  out = run("--count", "2", "--only", names[1], "--evaluations", "8", "4")
  head, *rows = out.splitlines()[4:]
  assert head.split()[-7:-4] == ["4", "8", "gain"]
  assert [row.split()[0] for row in rows] == [names[1], "median", "worst", "worse"]
  assert asked == [(4, [0]), (8, [0])]
  run("--count", "1", "--evaluations", "4", "--seeds", "2", "--adam")
  assert asked[2:] == [(4, [0, 1]), (1000, [0])]
  with pytest.raises(SystemExit, match="--only cat: in no name of 2 photographs"):
    run("--count", "2", "--only", "cat")
  for bad in ("0", "-1", "2.5", "many"):
    with pytest.raises(SystemExit):
      run("--evaluations", bad)
    assert "is not an integer of at least 1" in capsys.readouterr().err


def test_explanations_of_a_folder_are_timed(monkeypatch, classifier, setting, capsys):
  monkeypatch.setattr(
    recipes, "default", lambda: recipes.cvpr2023()._replace(num_steps=2)
  )
  images = np.random.default_rng(0).random((3, 16, 16, 3), np.float32)
  accelerator.report_explanations(classifier, images)
  *_, first, second = capsys.readouterr().out.splitlines()
  name, seconds, rate = first.split()[:3]
  assert name == classifier.name
  # Both are printed with rounding: 0.05 s, and 0.005 a second.
  assert float(rate) > 3 / (float(seconds) + 0.05) - 0.005
  assert second.startswith(f"{classifier.name} (bfloat16)")
