"""A playground with a network of two layers and two smooth images."""

import numpy as np
import pytest
from starlette.testclient import TestClient
from visits import ORIGIN, SHAPE, Page, connect

from cawe_jax import recipes
from cawe_jax.playground.app import create_app
from cawe_jax.playground.settings import Settings


@pytest.fixture(scope="session")
def make_settings(make_tiny_classifier):
  """Settings with a recipe of as many steps as asked for, two draws each."""

  def make(num_steps=4, **changes):
    rng = np.random.default_rng(0)
    # Smooth images, so that masks have something to find.
    coarse = rng.uniform(size=(2, 4, 4, 3)).astype(np.float32)
    images = coarse.repeat(8, axis=1).repeat(8, axis=2)
    recipe = recipes.fast()._replace(num_steps=num_steps)
    settings = Settings(
      make_tiny_classifier((*SHAPE, 3)),
      {"first": images[0], "second": images[1]},
      recipe,
      shipped=None,
    )
    return settings._replace(**changes)

  return make


@pytest.fixture(scope="module")
def settings(make_settings):
  return make_settings()


@pytest.fixture(scope="module")
def client(settings):
  with TestClient(create_app(settings), base_url=ORIGIN) as client:
    client.headers["origin"] = ORIGIN
    yield client


@pytest.fixture
def page(client):
  with connect(client) as websocket:
    yield Page(websocket)
