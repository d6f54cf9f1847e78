"""The page under other names, behind a proxy, and under a path."""

import contextlib
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from visits import Page, draw

from cawe_jax.cli import main
from cawe_jax.playground import app, serve
from cawe_jax.playground.app import create_app

STATIC = Path(app.__file__).with_name("static")


@pytest.fixture(scope="module")
def client(settings):
  """What ``--allowed-host box.local --allowed-host example.org:8443`` serves."""
  allowed = settings._replace(
    allowed_hosts=("box.local", "example.org:8443"), root_path="/deep/playground"
  )
  with TestClient(create_app(allowed), base_url="http://localhost") as client:
    yield client


def is_served(client, host, origin, path=""):
  """Page, upload and socket alike; anything else fails."""
  headers = {"host": host, "origin": origin}
  served = client.get(f"{path}/", headers=headers).status_code == 200
  # An empty upload is refused for being empty, which only who is let in is told.
  upload = client.post(f"{path}/uploads", headers=headers)
  assert upload.status_code == (400 if served else 403)
  opened = False
  with (
    contextlib.suppress(WebSocketDisconnect),
    client.websocket_connect(f"{path}/ws", headers=headers) as websocket,
  ):
    opened = Page(websocket).ask(draw(draws=0))[-1]["type"] == "error"
  assert opened == served
  return served


@pytest.mark.parametrize(
  ("host", "origin", "served"),
  [
    ("box.local:8000", "http://box.local:8000", True),
    ("BOX.local", "http://box.LOCAL", True),
    ("localhost:8000", "http://localhost:8000", True),
    # A proxy that keeps the name, and one that puts its own address there.
    ("example.org:8443", "https://example.org:8443", True),
    ("127.0.0.1:8000", "https://example.org:8443", True),
    ("127.0.0.1:8000", "https://box.local", True),
    # Others on the same machines, and other names.
    ("127.0.0.1:8000", "https://example.org", False),
    ("127.0.0.1:8000", "http://box.local:9000", False),
    ("127.0.0.1:8000", "http://localhost", False),
    ("127.0.0.1:8000", "https://box.local.evil.example", False),
    ("evil.example", "https://box.local", False),
    ("evil.example", "http://evil.example", False),
  ],
)
def test_allowed_names_and_no_others_are_served(client, host, origin, served):
  assert is_served(client, host, origin) == served


@pytest.mark.parametrize(
  ("host", "origin", "option"),
  [
    ("me.local:8000", "http://me.local:8000", "--allowed-host 'me.local'"),
    ("127.0.0.1:8000", "https://me.org:444", "--allowed-host 'me.org:444'"),
  ],
)
def test_a_refusal_says_which_option_allows_the_page(client, host, origin, option):
  # What the page does first, and shows where it is refused.
  answer = client.post("/catalogue.json", headers={"host": host, "origin": origin})
  assert answer.status_code == 403
  assert answer.json()["error"].endswith(option)
  # It is a script that shows it, which browsers ask for with an origin as well.
  if host.startswith("127"):
    script = client.get("/static/main.js", headers={"host": host, "origin": origin})
    assert script.status_code == 200
  assert "\n" not in answer.json()["error"]


def test_the_page_asks_with_what_says_its_origin(client):
  assert (
    'fetch("catalogue.json", { method: "POST" })' in (STATIC / "main.js").read_text()
  )
  answers = [client.request(method, "/catalogue.json") for method in ("GET", "POST")]
  assert answers[0].json() == answers[1].json()


# A proxy that takes the path off, and one that leaves it there.
@pytest.mark.parametrize("path", ["", "/deep/playground"])
def test_under_a_path(client, path):
  assert is_served(client, "localhost", "http://localhost", path)
  catalogue = client.get(f"{path}/catalogue.json").json()
  for sample in catalogue["samples"]:
    assert client.get(f"{path}/{sample['url']}").status_code == 200
  assert client.get("/deep/catalogue.json").status_code == 404


def test_no_address_of_the_page_starts_at_the_root():
  html = (STATIC / "index.html").read_text()
  assert re.findall(r'(?:href|src)="(?!#|https?:|static/)([^"]*)"', html) == []
  for path in STATIC.rglob("*.js"):
    assert not re.search(
      r"""["'`]/(static|samples|uploads|results|ws|cat)""", path.read_text()
    )
  for path in STATIC.rglob("*.css"):
    assert "url(/" not in path.read_text()


def test_the_commands_options_reach_the_application(monkeypatch):
  class Made(Exception):
    pass

  def create(settings):
    raise Made(settings.allowed_hosts, settings.root_path)

  monkeypatch.setattr(serve, "create_app", create)
  monkeypatch.setattr(
    "cawe_jax.playground.settings.make_settings",
    lambda *given: serve.Settings(classifier=None, samples={}),
  )
  arguments = ["--port", "0", "--allowed-host", "Box.local", "--root-path", "/a/"]
  with pytest.raises(Made) as made:
    main(["playground", *arguments])
  assert made.value.args == (("box.local",), "/a")


def test_a_slash_is_added_without_naming_a_host(client):
  found = client.get("/deep/playground", follow_redirects=False)
  assert found.status_code == 307
  # A proxy may have put another host and port there than the browser asked.
  assert found.headers["location"] == "playground/"
  assert client.get("/deep/playground").status_code == 200


def test_rules_of_the_environment_do_not_stop_the_server(monkeypatch):
  found = []
  monkeypatch.setattr(
    serve, "serve", lambda *given, **options: found.append(jnp.asarray(np.ones(2)) + 1)
  )
  with jax.transfer_guard("disallow_explicit"):
    assert main(["playground"]) == 0
  assert len(found) == 1
