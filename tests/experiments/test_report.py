"""The report says what the files hold: planted numbers come back, names do no harm."""

import csv
import re
import struct

import numpy as np
import pytest
from planted import (
  HOSTILE,
  IMAGES,
  POINTS,
  common_keys,
  explained,
  make_config,
  plant,
  plant_curves,
  plant_explanations,
)
from scipy import stats

from experiments.axes import expand
from experiments.report import write_report
from experiments.report.figures import FIGURES
from experiments.report.gallery import write_gallery
from experiments.report.summary import describe, mean, summarise
from experiments.report.tables import (
  write_csv,
  write_curves,
  write_images,
  write_markdown,
)
from experiments.store import open_store


@pytest.fixture
def explanations(tmp_path):
  return plant_explanations(tmp_path)


@pytest.fixture
def curves(tmp_path):
  return plant_curves(tmp_path)


def test_means_and_standard_errors_are_scipys(explanations):
  _, jobs, store, results = explanations
  rows = summarise(jobs, store)
  assert [(row.job, row.point) for row in rows] == [
    ("a", 0),
    ("a", 1),
    ("b", 0),
    ("b", 1),
  ]
  for row in rows:
    assert row.num_images == IMAGES
    assert row.axes == {"lagrange_multiplier": (2.0, 4.0)[row.point]}
    values = np.float64([r["rate"][row.point] for r in results[row.job]])
    found = row.numbers["rate"]
    np.testing.assert_allclose(found.value, values.mean())
    np.testing.assert_allclose(found.standard_error, stats.sem(values))
    # 8 seconds for 4 photographs at 2 points.
    assert row.seconds == 1.0
    assert row.compile_seconds == 3.0
    # The fast recipe: 200 steps of 2 draws.
    assert row.evaluations == 400
  assert rows[0].numbers["retained_probability"].value == 0.5
  assert rows[1].numbers["retained_probability"].count == 0


def test_one_photograph_has_no_standard_error():
  found = mean([2.0, np.nan])
  assert (found.value, found.count) == (2.0, 1)
  assert np.isnan(found.standard_error)
  # And says none; of no photograph there is nothing to say.
  assert str(found) == "2"
  assert str(mean([np.nan])) == ""
  assert str(mean([1.0, 3.0])) == "2 ± 1"


def test_the_csv_has_every_number(explanations):
  _, jobs, store, results = explanations
  write_csv(summarise(jobs, store), store.folder / "table.csv")
  with open(store.folder / "table.csv", newline="") as file:
    lines = list(csv.DictReader(file))
  assert len(lines) == 4
  assert lines[0]["method"] == HOSTILE
  assert float(lines[3]["axes.lagrange_multiplier"]) == 4.0
  expected = np.mean([r["distortion"][1] for r in results["b"]], dtype=np.float64)
  np.testing.assert_allclose(float(lines[3]["distortion"]), expected, rtol=1e-6)
  assert lines[1]["retained_probability"] == ""
  assert float(lines[0]["seconds_per_1000_evaluations"]) == 2.5


def test_every_photograph_has_a_line(explanations, tmp_path):
  _, jobs, store, results = explanations
  write_images(jobs, store, tmp_path / "images.csv")
  with (tmp_path / "images.csv").open(newline="") as file:
    lines = list(csv.DictReader(file))
  assert len(lines) == 2 * IMAGES * POINTS
  line = lines[-1]
  assert line["id"] == f"{HOSTILE}{IMAGES - 1}"
  assert line["axes.lagrange_multiplier"] == "4.0"
  assert line["confidence"] == "0.5"
  assert float(line["objective"]) == results["b"][-1]["objective"][1]
  assert line["retained_probability"] == ""


def test_the_table_keeps_its_columns_whatever_names_hold(explanations):
  config, jobs, store, _ = explanations
  path = store.folder / "table.md"
  write_markdown(config, summarise(jobs, store), store, path)
  text = path.read_text()
  lines = [line for line in text.splitlines() if line.startswith("|")]
  counts = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
  assert len(lines) == 2 + 4
  assert len(counts) == 1
  assert "<script" not in text
  assert "cannot be decoded: 1" in text


def test_the_gallery_escapes_everything_and_asks_nobody(explanations):
  config, jobs, store, _ = explanations
  write_gallery(config, jobs, store, store.folder / "gallery.html")
  page = (store.folder / "gallery.html").read_text()
  assert "<script" not in page
  assert "&lt;script&gt;" in page
  sources = re.findall(r"""(?:src|href|url|action)\s*[=(]\s*["']?([^"'>\s]+)""", page)
  assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
  assert "default-src 'none'" in page
  # A photograph and two points of two methods, for each that was explained.
  assert len(sources) == IMAGES * (1 + 2 * POINTS)
  assert page.count("but it is") == 1


def test_what_retains_little_is_counted_and_marked(explanations):
  config, jobs, store, results = explanations
  # Of each job's photographs one keeps just enough, the others less; one is unknown.
  retained = np.float32([0.5, 0.49, 0.0, np.nan])
  for name, job_results in results.items():
    for i, result in enumerate(job_results):
      result["retained_probability"] = np.full(POINTS, retained[i])
      store.write_result(name, i, result)
  found = summarise(jobs, store)[0].numbers["retains_enough"]
  np.testing.assert_allclose(found.value, 1 / 3)
  assert found.count == 3
  write_gallery(config, jobs, store, store.folder / "gallery.html")
  page = (store.folder / "gallery.html").read_text()
  assert page.count("retains little") == 2 * POINTS * len(jobs)


def test_a_gallery_says_of_black_pictures_that_nothing_is_kept(explanations):
  config, jobs, store, results = explanations
  first = results["a"][0]
  rates = np.full(POINTS, 0.01, np.float32)
  rates[0] = 0
  store.write_result("a", 0, first | {"rate": rates})
  write_gallery(config, jobs, store, store.folder / "gallery.html")
  assert (store.folder / "gallery.html").read_text().count("keeps nothing") == 1


def read_events(path):
  """Tag, step and value: TensorBoard's record format, read by hand."""
  from tensorboardX.proto.event_pb2 import Event

  data, found, start = path.read_bytes(), [], 0
  while start < len(data):
    (length,) = struct.unpack_from("<Q", data, start)
    event = Event.FromString(data[start + 12 : start + 12 + length])
    found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
    start += 12 + length + 4
  return found


# tensorboardX imports torch where that is installed, for seconds.
@pytest.mark.slow
def test_tensorboard_reads_means_and_histories(explanations):
  config, jobs, store, results = explanations
  for _ in range(2):  # a second report replaces the first
    write_report(config, jobs, store)
  files = sorted((store.folder / "report" / "tensorboard").rglob("events.*"))
  assert len(files) == 4
  (file,) = (f for f in files if f.parent.name.startswith("001-B"))
  found = {(tag, step): value for tag, step, value in read_events(file)}
  assert ("history/objective", 2) not in found
  assert found["history/objective", 0] == np.mean(range(IMAGES))
  expected = np.mean([r["rate"][1] for r in results["b"]])
  np.testing.assert_allclose(found["mean/rate", 0], expected, rtol=1e-6)


def test_curves_are_means_with_a_standard_error(curves):
  config, jobs, store, results = curves
  figure = FIGURES["curves"](config, jobs, store)
  whole, start, bits = figure.axes
  assert len(whole.lines) == len(start.lines) == len(bits.lines) == 4
  values = np.stack([r["distortion"][1] for r in results["b"]])
  line, band = whole.lines[3], whole.collections[3]
  np.testing.assert_allclose(line.get_xdata(), [0, 1, 10, 50, 100])
  np.testing.assert_allclose(line.get_ydata(), values.mean(0), rtol=1e-6)
  heights = band.get_paths()[0].vertices[:, 1]
  upper = values.mean(0) + stats.sem(values, axis=0)
  assert np.isclose(heights, upper.max(), rtol=1e-5).any()
  # Images whose bits differ are averaged at equal bits: here 1000 bits are the second
  # point of the first image, half as far in the second.
  read = [np.interp(1e3, r["bits"][1], r["distortion"][1]) for r in results["b"]]
  x, y = bits.lines[3].get_data()
  # Between the places that are drawn, a few per cent apart, it is a broken line.
  np.testing.assert_allclose(np.interp(1.0, x, y), np.mean(read), rtol=0.05)


def test_the_table_of_curves_has_chosen_points_and_areas(curves):
  _, jobs, store, results = curves
  row = summarise(jobs, store)[0]
  expected = np.mean([r["distortion"][0, 1] for r in results["a"]])
  np.testing.assert_allclose(row.numbers["distortion_at_1_%"].value, expected)
  assert "distortion_at_5_%" not in row.numbers
  assert "distortion" not in row.numbers
  np.testing.assert_allclose(
    row.numbers["area"].value, np.mean([r["area"][0] for r in results["a"]])
  )


def test_a_report_of_curves_has_their_numbers(curves):
  config, jobs, store, results = curves
  written = {path.name for path in write_report(config, jobs, store)}
  assert {"table.csv", "images.csv", "curves.csv", "curves.png"} <= written
  with (store.folder / "report" / "curves.csv").open() as file:
    rows = list(csv.DictReader(file))
  label = next(job.label for job in jobs if job.name == "b")
  drawn = [float(r["distortion"]) for r in rows if r["method"].startswith(label)]
  # The second point of the grid comes after the first.
  values = np.stack([r["distortion"] for r in results["b"]]).mean(0)
  np.testing.assert_allclose(drawn, values.ravel(), rtol=1e-6)


def test_an_axis_may_have_the_name_of_a_number(tmp_path):
  config = make_config("explain", axes={"distortion": ("l2", "kl")})
  jobs, store, results = plant(tmp_path, explained, config)
  row = describe(summarise(jobs, store)[1])
  assert row["axes.distortion"] == "kl"
  values = [r["distortion"][0] for r in results[jobs[1].name]]
  np.testing.assert_allclose(row["distortion"], np.mean(values))


def test_the_table_of_curves_has_every_point(curves, tmp_path):
  _, jobs, store, results = curves
  write_curves(jobs, store, tmp_path / "curves.csv")
  with (tmp_path / "curves.csv").open() as file:
    rows = list(csv.DictReader(file))
  # Two jobs of two grid points of five fractions.
  assert len(rows) == 20
  row = rows[2]
  assert float(row["fraction"]) == pytest.approx(0.1)
  for name in ("distortion", "bits"):
    values = np.float64([r[name][0, 2] for r in results["a"]])
    np.testing.assert_allclose(float(row[name]), values.mean())
    np.testing.assert_allclose(float(row[f"{name}_standard_error"]), stats.sem(values))


@pytest.mark.slow
def test_a_sweep_that_explained_nothing_has_a_report(tmp_path):
  config = make_config("explain", report={"figures": tuple(FIGURES), "num_panels": 2})
  config.report.figures = ("panels", "trade_off", "by_axis", "runtime")
  jobs = expand(config)
  store = open_store(tmp_path, {}, [("p", 3)])
  for job in jobs:
    store.write_result(job.name, 0, common_keys(0, selected=False))
  paths = write_report(config, jobs, store)
  assert [path.name for path in paths] == [
    "table.md",
    "table.csv",
    "images.csv",
    "gallery.html",
    "tensorboard",
  ]
  assert all(path.exists() for path in paths[:4])
