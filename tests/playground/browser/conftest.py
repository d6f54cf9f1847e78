"""One server with the real network and one browser for all tests of the page.

Masks are searched with few steps: these tests ask whether the page shows what the
library computes, not whether it is good. Every page is watched: a request to another
host, a message on the console or a violation of the content security policy fails the
test that caused it.

``CAWE_SCREENSHOTS=FOLDER`` writes pictures of the figures there, with a full search.
"""

import contextlib
import os
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from cawe_jax import load_classifier, load_image, recipes
from cawe_jax.samples import sample_path

SAMPLES = ("chelsea", "coffee", "rocket")
NUM_STEPS = 60  # the fewest after which the cup's explanation is not empty
SCREENSHOTS = os.environ.get("CAWE_SCREENSHOTS")

_VIOLATIONS = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""


def pytest_collection_modifyitems(items):
  for item in items:
    if Path(__file__).parent in item.path.parents:
      item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def playground_settings():
  """The settings that the page under test is served with."""
  from cawe_jax.playground.settings import Settings

  classifier = load_classifier("efficientnet-lite0")
  samples = {n: load_image(sample_path(n), classifier.input_size) for n in SAMPLES}
  recipe = recipes.fast()
  if not SCREENSHOTS:
    recipe = recipe._replace(num_steps=NUM_STEPS)
  # Everything is computed here and now, not read from what comes with the package.
  return Settings(classifier, samples, recipe, shipped=None)


@pytest.fixture(scope="session")
def run_server():
  """``with run_server(settings) as address`` runs a playground."""
  from cawe_jax.playground.app import create_app
  from cawe_jax.playground.serve import make_server

  @contextlib.contextmanager
  def run_server(settings):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    running = make_server(create_app(settings))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    while not running.started:
      assert thread.is_alive(), "the server did not start"
      time.sleep(0.05)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    running.should_exit = True
    thread.join(30)

  return run_server


@pytest.fixture(scope="session")
def server(run_server, playground_settings):
  """The address of a running playground."""
  with run_server(playground_settings) as address:
    yield address


@pytest.fixture(scope="session")
def free_port():
  """``free_port()`` is a port that nobody listens on."""

  def free_port():
    with socket.socket() as listener:
      listener.bind(("127.0.0.1", 0))
      return listener.getsockname()[1]

  return free_port


@pytest.fixture(scope="session")
def browser():
  """A headless Chromium."""
  from playwright.sync_api import sync_playwright

  chromium = shutil.which("chromium") or shutil.which("chromium-browser")
  if chromium is None:
    pytest.fail("no chromium on the PATH (Debian: apt-get install chromium)")
  with sync_playwright() as playwright:
    # The sandbox needs rights that containers do not have.
    browser = playwright.chromium.launch(
      executable_path=chromium, args=["--no-sandbox"]
    )
    yield browser
    browser.close()


@pytest.fixture
def open_page(browser, server):
  """Opens watched pages: ``open_page(path="/", width=1280, **context_options)``.

  They are of the given server, and opened once ``ready`` is there.
  """
  own = server
  opened, complaints = [], []

  def open_page(
    path="/",
    width=1280,
    height=900,
    server=own,
    ready="html[data-ready]",
    **options,
  ):
    context = browser.new_context(
      viewport={"width": width, "height": height}, **options
    )
    # A session lives as long as the tests; a page that hangs shall not.
    context.set_default_timeout(180_000)
    page = context.new_page()
    page.add_init_script(_VIOLATIONS)
    page.on("console", lambda m: complaints.append(_console(m)))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("request", lambda request: _note_foreign(request.url, server, complaints))
    page.on("websocket", lambda socket: _note_foreign(socket.url, server, complaints))
    opened.append((context, page))
    page.goto(server + path)
    page.wait_for_selector(ready)
    return page

  # A test that provokes an error removes it from here after looking at it.
  open_page.complaints = complaints
  yield open_page
  for context, page in opened:
    complaints += [f"policy: {v}" for v in page.evaluate("window.violations")]
    context.close()
  assert complaints == []


@pytest.fixture
def page(open_page):
  """The page at a desktop's width."""
  return open_page()


@pytest.fixture
def screenshot():
  """``screenshot(page, figure)`` keeps a picture of a figure if that is wanted.

  ``screenshot.wanted`` says whether it is.
  """

  def screenshot(page, figure):
    if not SCREENSHOTS:
      return
    folder = Path(SCREENSHOTS)
    folder.mkdir(parents=True, exist_ok=True)
    # Neither focus nor brush belongs to a figure's picture.
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement?.blur()")
    page.locator(f"#{figure} .figure").screenshot(path=folder / f"{figure}.png")

  screenshot.wanted = bool(SCREENSHOTS)
  return screenshot


def _note_foreign(url, server, complaints):
  own = server.removeprefix("http://")
  local = (f"http://{own}/", f"ws://{own}/", "data:", "blob:")
  if not url.startswith(local):
    complaints.append(f"request to {url}")


def _console(message):
  return f"console {message.type}: {message.text} ({message.location.get('url')})"
