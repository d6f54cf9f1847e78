"""Explanations that come with the page: made, found again, and only where they fit."""

import json

import jax
import numpy as np
import pytest
from starlette.testclient import TestClient
from visits import ORIGIN, Page, connect, explain

import cawe_jax as cawe
from cawe_jax.playground import catalogue, messages, paths
from cawe_jax.playground.app import create_app
from cawe_jax.playground.catalogue import look
from cawe_jax.playground.settings import SHIPPED_PATHS, make_settings
from cawe_jax.samples import sample_names

MULTIPLIERS = (0.5, 2.0)
ENDINGS = [f"-{method}" for method in paths.METHODS]
ALL = set(sample_names())


@pytest.fixture(scope="module")
def folder(settings, tmp_path_factory):
  folder = tmp_path_factory.mktemp("shipped")
  paths.make(settings, "first", "pixel-rde", folder, MULTIPLIERS)
  return folder


@pytest.fixture(scope="module")
def shipping(settings, folder):
  return settings._replace(shipped=folder)


@pytest.fixture
def page(shipping):
  with (
    TestClient(create_app(shipping), base_url=ORIGIN) as client,
    connect(client) as websocket,
  ):
    yield Page(websocket)


def test_a_shipped_explanation_is_the_librarys(page, settings):
  (found,) = page.ask(explain(lagrange_multiplier=2.0))
  assert found["cached"]
  assert found["result"] is None
  method = cawe.pixel_rde(2.0, recipe=settings.recipe)
  image = settings.samples["first"]
  expected = cawe.explain(settings.classifier, image, method, key=jax.random.key(0))
  for field in ("rate", "distortion", "retained_probability", "score_with_noise"):
    # Two multipliers in a batch add up in another order, over all steps of a run.
    np.testing.assert_allclose(found[field], getattr(expected, field), rtol=1e-3)
  assert found["target"]["index"] == expected.target
  # What is asked afresh is computed, and has files.
  *_, fresh = page.ask(explain(2, lagrange_multiplier=2.0, fresh=True))
  assert fresh["result"] is not None
  # 256 levels of the mask.
  assert abs(fresh["rate"] - found["rate"]) < 1 / 255


def test_a_mask_is_kept_to_half_a_level(shipping, settings):
  samples = {n: look(settings.classifier, x) for n, x in settings.samples.items()}
  known = paths.read(shipping, samples)
  assert len(known) == len(MULTIPLIERS)
  method = cawe.pixel_rde(recipe=settings.recipe)
  image = settings.samples["first"]
  key = jax.random.key(0)
  path = cawe.explain_path(settings.classifier, image, method, MULTIPLIERS, key=key)
  for (name, wish), shipped in known.items():
    assert name == "first"
    i = MULTIPLIERS.index(wish.lagrange_multiplier)
    (mask,) = paths.read_mask(shipped)
    # Half of one of 255 levels.
    np.testing.assert_allclose(mask, path.mask[0][i], atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(
  "change",
  [
    {"image": {"sample": "second"}},
    {"lagrange_multiplier": 2.1},
    {"seed": 1},
    {"perturbation": "mean"},
  ],
)
def test_other_wishes_are_not_answered_by_it(shipping, settings, change):
  samples = {n: look(settings.classifier, x) for n, x in settings.samples.items()}
  known = paths.read(shipping, samples)
  asked = explain(lagrange_multiplier=2.0)

  def shipped(asked):
    request = messages.decode(json.dumps(asked))
    wish = catalogue.complete(request, shipping)
    return known.get((request.image.sample, wish))

  assert shipped(asked) is not None
  assert shipped(asked | change) is None


@pytest.mark.parametrize("what", ["pixels", "steps", "network", "sample"])
def test_paths_of_something_else_are_not_used(shipping, settings, what):
  samples = {n: look(settings.classifier, x) for n, x in settings.samples.items()}
  if what == "pixels":
    samples["first"] = samples["second"]
  elif what == "sample":
    del samples["first"]
  elif what == "steps":
    longer = settings.recipe._replace(num_steps=settings.recipe.num_steps + 1)
    shipping = shipping._replace(recipe=longer)
  else:
    other = cawe.Classifier(
      settings.classifier.apply, settings.classifier.params, 32, name="other"
    )
    shipping = shipping._replace(classifier=other)
  assert paths.read(shipping, samples) == {}


SHIPPED = sorted(SHIPPED_PATHS.glob("*.npz"))


def test_what_comes_with_the_package_is_used_by_the_default_playground():
  first = {f"{name}-{m}" for name in paths.SAMPLES[:3] for m in paths.METHODS}
  assert first <= {f.stem for f in SHIPPED}
  names = sorted({file.stem.removesuffix(m) for file in SHIPPED for m in ENDINGS} & ALL)
  settings = make_settings(samples=names)
  samples = {n: look(settings.classifier, x) for n, x in settings.samples.items()}
  known = paths.read(settings, samples)
  assert {shipped.file for shipped in known.values()} == set(SHIPPED)
  assert len(known) == len(SHIPPED) * len(catalogue.SLIDER)
  assert paths.offer(known)["samples"] == names
  assert sum(file.stat().st_size for file in SHIPPED) < 1.5e6
  for (name, _), shipped in known.items():
    assert shipped.target == samples[name].predicted
    assert 0 <= shipped.numbers["rate"] <= 1
