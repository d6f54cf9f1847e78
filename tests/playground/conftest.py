"""A playground with a network of two layers and two smooth images."""

import pytest
from starlette.testclient import TestClient
from visits import ORIGIN, Page, connect, tiny_settings

from cawe_jax.playground.app import create_app


@pytest.fixture(scope="session")
def make_settings():
  """Settings with a recipe of as many steps as asked for, two draws each."""
  return tiny_settings


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
