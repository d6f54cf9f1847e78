"""Figures of a report show what the files hold, and every line has a name."""

import csv

import numpy as np
import pytest
from planted import (
  POINTS,
  curved,
  explained,
  make_config,
  plant,
  plant_explanations,
)
from scipy import stats

from experiments.report.figures import FIGURES
from experiments.report.tables import (
  write_curves,
)


@pytest.fixture
def explanations(tmp_path):
  return plant_explanations(tmp_path)


def test_the_trade_off_has_a_point_for_each_multiplier(explanations):
  config, jobs, store, results = explanations
  (axes,) = FIGURES["trade_off"](config, jobs, store).axes
  x, y = axes.lines[0].get_data()
  for point in range(POINTS):
    rate = np.mean([r["rate"][point] for r in results["a"]])
    distortion = np.mean([r["distortion"][point] for r in results["a"]])
    np.testing.assert_allclose([x[point], y[point]], [100 * rate, distortion], 1e-6)


def test_settings_have_a_mean_with_its_error_each(explanations):
  config, jobs, store, results = explanations
  panels = FIGURES["by_axis"](config, jobs, store).axes
  assert [axes.get_xlabel()[:4] for axes in panels] == ["rate", "dist", "reta"]
  names = [text.get_text() for text in panels[0].get_yticklabels()]
  assert names[2:] == ["B, lagrange multiplier 2", "B, lagrange multiplier 4"]
  (bars,) = panels[1].containers
  values = np.float64([r["distortion"][1] for r in results["b"]])
  np.testing.assert_allclose(bars.lines[0].get_xdata()[3], values.mean())
  (segments,) = bars.lines[2]
  ends = segments.get_segments()[3][:, 0]
  np.testing.assert_allclose(np.ptp(ends), 2 * stats.sem(values))


AXES = {
  "lagrange_multiplier": (2.0, 4.0),
  "perturbation": ("scaled-gaussian:1,1,1,0.5,0.5,0.25", "adaptive-gaussian"),
}
NAMES = [
  f"A, perturbation {perturbation}, lagrange multiplier {multiplier}"
  for perturbation in AXES["perturbation"]
  for multiplier in (2, 4)
]


def test_every_line_of_a_figure_has_a_name_of_its_own(tmp_path):
  """Where a structural axis makes several jobs of one method."""
  methods = {"a": {"label": "A"}}
  config = make_config("explain", axes=AXES, methods=methods)
  jobs, store, _ = plant(tmp_path / "explain", explained, config)
  (axes,) = FIGURES["trade_off"](config, jobs, store).axes
  legend = [
    text.get_text().replace("\n", " ") for text in axes.get_legend().get_texts()
  ]
  assert legend == [NAMES[0].rpartition(", ")[0], NAMES[2].rpartition(", ")[0]]
  assert [text.get_text() for text in axes.texts] == ["2", "4"] * 2
  config = make_config("curves", axes=AXES, methods=methods)
  jobs, store, _ = plant(tmp_path / "curves", curved, config)
  whole = FIGURES["curves"](config, jobs, store).axes[0]
  assert [text.get_text() for text in whole.get_legend().get_texts()] == NAMES
  write_curves(jobs, store, tmp_path / "curves.csv")
  with (tmp_path / "curves.csv").open() as file:
    rows = list(csv.DictReader(file))
  assert list(dict.fromkeys(row["method"] for row in rows)) == NAMES


def test_texts_of_panels_do_not_overlap(tmp_path):
  config = make_config("explain", axes=AXES)
  config.methods = {"a": {"label": "A method with a long name of many words"}}
  config.report.num_panels = 2
  jobs, store, _ = plant(tmp_path, explained, config)
  figure = FIGURES["panels"](config, jobs, store)
  figure.draw_without_rendering()
  boxes = [axes.title.get_window_extent() for axes in figure.axes]
  boxes += [axes.images[0].get_window_extent() for axes in figure.axes]
  assert len(boxes) == 2 * 2 * (1 + 4)
  for box in boxes:
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
    assert box.count_overlaps(boxes) == 1
  assert "kept n/a" in figure.axes[2].get_title()


def test_run_times_are_seconds_for_one_photograph(explanations):
  config, jobs, store, _ = explanations
  (axes,) = FIGURES["runtime"](config, jobs, store).axes
  # 8 seconds for 4 photographs at 2 points; both points of both methods.
  np.testing.assert_array_equal(axes.lines[0].get_xdata(), [1.0] * 4)
  assert [text.get_text() for text in axes.texts] == ["1"] * 4
  assert "seconds" in axes.get_xlabel()


def test_panels_show_the_stored_explanations(explanations):
  config, jobs, store, results = explanations
  axes = FIGURES["panels"](config, jobs, store).axes
  assert len(axes) == 2 * (1 + 2 * POINTS)
  shown = axes[1 + 2].images[0].get_array()
  np.testing.assert_array_equal(shown, results["b"][0]["explanation"][0])
