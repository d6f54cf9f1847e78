"""Every config loads in every variant, and names only what exists."""

import importlib
import re
from pathlib import Path

import pytest

from cawe_jax import classifier_names
from cawe_jax.attribution import grad_cam
from cawe_jax.metrics import METRICS
from configs import common
from experiments.axes import expand
from experiments.building import make_methods
from experiments.rankings import RANKINGS, parse_ranking
from experiments.report import check_report
from experiments.tasks import CURVES, TASKS

FOLDER = Path(common.__file__).parent
REFERENCE = FOLDER.parent / "docs" / "reference" / "configs.md"
NAMES = sorted(
  p.stem for p in FOLDER.glob("*.py") if p.stem not in ("__init__", "common")
)
# Of the paper's figures and tables; others may stand beside them.
PUBLISHED = ["fig7a", "fig7b", "fig7c", "fig8a", "fig8b", "fig8c", "fig8d"]
PUBLISHED += ["runtime", "misclassified", "model_agnosticism", "holds"]


def module(name):
  return importlib.import_module(f"configs.{name}")


def test_every_figure_and_table_has_a_config():
  assert set(PUBLISHED) <= set(NAMES)


@pytest.mark.parametrize(
  ("key", "table"), [("metrics", METRICS), ("ranking", RANKINGS)]
)
def test_the_reference_lists_all_names(key, table):
  (line,) = re.findall(rf"^\| `{key}` \|.*$", REFERENCE.read_text(), re.MULTILINE)
  listed = re.findall(r"`([\w-]+)`", line.split("|")[3])
  # And words such as the setting's own.
  assert {name for name in listed if name != "explain"} >= set(table)


@pytest.mark.parametrize("variant", common.VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_all_that_it_names_exists(name, variant):
  config = module(name).get_config(variant)
  assert config.name == name
  assert config.task in TASKS
  check_report(config)
  if config.task == "curves":
    assert config.curve.mask in CURVES
  jobs = expand(config)
  for job in jobs:
    assert job.settings["classifier"] in classifier_names()
    if job.settings["ranking"] is not None:
      parse_ranking(job.settings["ranking"])
    else:
      assert len(make_methods(job)) == len(job.grid)


@pytest.mark.parametrize("name", NAMES)
def test_no_variant_is_the_default(name):
  get_config = module(name).get_config
  assert get_config().to_dict() == get_config("default").to_dict()
  with pytest.raises(ValueError, match="variant is 'quick'; allowed: default, smoke"):
    get_config("quick")


@pytest.mark.parametrize("name", PUBLISHED)
def test_smoke_is_small_and_paper_is_published(name):
  get_config = module(name).get_config
  smoke, paper = get_config("smoke"), get_config("paper")
  # Of the six, two are misclassified.
  assert smoke.limit == (6 if name == "misclassified" else 2)
  assert len(expand(smoke)) <= 4
  for job in expand(smoke):
    if job.settings["ranking"] is None:
      assert all(method.recipe.num_steps <= 24 for method in make_methods(job))
  for job in expand(paper):
    assert job.settings["image_size"] == 256
    if job.settings["ranking"] is None:
      for method in make_methods(job):
        recipe = method.recipe
        draws = 16 if name == "runtime" else 64
        assert (recipe.num_steps, recipe.num_draws) == (2000, draws)
        assert recipe.solver.name.startswith("adam(")


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_header_states_command_time_and_the_papers_setting(name):
  header = module(name).__doc__
  assert f"python -m experiments.run --config=configs/{name}.py --workdir=DIR" in header
  for part in ("Run time: ", "Paper: ", "Here"):
    assert part in header


def test_every_factory_of_attributions_can_be_named():
  from cawe_jax import attribution

  factories = {
    name.replace("_", "-")
    for name in attribution.__all__
    if name not in ("Attribution", "Relevance", "completeness", "random_ranking")
  }
  assert factories | {"random-pixels", "random-wavelets"} == RANKINGS.keys()


def test_a_ranking_that_does_not_fit_is_one_line():
  assert "num_samples=7" in parse_ranking("lime:num_samples=7").name
  with pytest.raises(ValueError, match="ranking 'lemon' is unknown; allowed: grad-cam"):
    parse_ranking("lemon")
  for text in ("lime:samples=7", "lime:num_samples", "lime:num_samples=many"):
    with pytest.raises(ValueError, match=f"ranking '{text}' does not fit"):
      parse_ranking(text)


def test_a_ranking_may_name_a_layer():
  assert parse_ranking("grad-cam:layer=block2/conv") == grad_cam(layer="block2/conv")
  with pytest.raises(ValueError, match="'lime:num_samples=few' does not fit"):
    parse_ranking("lime:num_samples=few")
