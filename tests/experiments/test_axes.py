"""A config becomes the jobs that one would have listed by hand."""

import itertools

import pytest
from ml_collections import ConfigDict

from experiments.axes import ARRAY_SETTINGS, SETTINGS, expand


def make_config(**parts):
  config = ConfigDict({"settings": {}, "axes": {}, "methods": {"a": {"label": "A"}}})
  return ConfigDict(config.to_dict() | parts)


def test_every_combination_comes_once_and_in_order():
  axes = {
    "wavelet": ("haar", "db3"),
    "classifier": ("c1", "c2", "c3"),
    "seed": (0, 1),
    "lagrange_multiplier": (5.0, 1.0),
  }
  methods = {"b": {"label": "B"}, "a": {"label": "A", "steps": 7}}
  jobs = expand(make_config(axes=axes, methods=methods, settings={"draws": 3}))
  structural = [
    (job.label, job.settings["classifier"], job.settings["wavelet"]) for job in jobs
  ]
  assert structural == list(
    itertools.product("AB", axes["classifier"], axes["wavelet"])
  )
  for job in jobs:
    points = [(p["lagrange_multiplier"], p["seed"]) for p in job.grid]
    assert points == [(5.0, 0), (5.0, 1), (1.0, 0), (1.0, 1)]
    assert job.settings["steps"] == (7 if job.label == "A" else None)
    assert job.settings["draws"] == 3
    assert not job.settings.keys() & set(ARRAY_SETTINGS)
    assert job.point_settings(2).keys() == SETTINGS.keys()
  assert jobs[0].name == "a,classifier=c1,wavelet=haar"
  first = "A, classifier c1, wavelet haar"
  assert jobs[0].full_label == first
  assert jobs[0].point_label(1) == f"{first}, lagrange multiplier 5, seed 1"


def test_a_sweep_without_axes_is_one_job_of_one_point():
  (job,) = expand(make_config(settings={"lagrange_multiplier": 3.0}))
  assert (job.name, job.axes, job.grid_axes) == ("a", {}, ())
  assert [p["lagrange_multiplier"] for p in job.grid] == [3.0]
  assert job.point_label(0) == "A"


def test_names_of_folders_are_legal_short_and_distinct():
  values = ("m=/a/b.pth", "m=/a_b.pth", "x" * 200)
  jobs = expand(make_config(axes={"classifier": values}))
  names = [job.name for job in jobs]
  assert len(set(names)) == 3
  assert all("/" not in name and len(name) < 100 for name in names)


@pytest.mark.parametrize(
  ("parts", "message"),
  [
    ({"settings": {"stepps": 3}}, "settings.stepps is no setting"),
    ({"axes": {"lambda": (1,)}}, "axes.lambda is no setting"),
    ({"axes": {"seed": ()}}, r"axes.seed is \(\)"),
    ({"axes": {"seed": 3}}, "axes.seed is 3"),
    ({"axes": {"wavelet": ("haar", "haar")}}, "lists a value twice"),
    ({"axes": {"levels": (4, "5")}}, "axes.levels is '5'; it must be an integer"),
    ({"settings": {"stop": "soon"}}, "settings.stop is 'soon'; it must be a number"),
    ({"settings": {"steps": 2.5}}, "settings.steps is 2.5; it must be an integer"),
    ({"methods": {"a": {"wavelet": 3}}}, "methods.a.wavelet is 3; it must be a text"),
    ({"methods": {}}, "methods is empty"),
    (
      {"axes": {"seed": (0,)}, "methods": {"a": {"seed": 1}}},
      "seed is an axis and a setting of methods.a",
    ),
  ],
)
def test_what_makes_no_sense_is_refused(parts, message):
  with pytest.raises(ValueError, match=message):
    expand(make_config(**parts))
