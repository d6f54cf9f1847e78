"""The command: its address, its port, and its end."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from websockets.sync.client import connect

from cawe_jax.cli import main
from cawe_jax.playground import serve
from cawe_jax.playground.settings import _installed
from cawe_jax.samples import sample_names

# A playground of the tiny kind, served by the real code.
SERVER = """
import sys, time
import jax.numpy as jnp, numpy as np
from cawe_jax import Classifier, recipes
from cawe_jax.playground.serve import serve
from cawe_jax.playground.settings import Settings

def apply(weights, images):
  return images.reshape(len(images), -1) @ weights

def make():
  weights = jnp.asarray(np.random.default_rng(0).normal(size=(768, 3)), "float32")
  image = np.random.default_rng(1).uniform(size=(16, 16, 3)).astype("float32")
  recipe = recipes.fast()._replace(num_steps=10**6)
  classifier = Classifier(apply, weights, 16)
  return Settings(classifier, {"noise": image}, recipe, shipped=None)

serve(make, port=int(sys.argv[1]), say=lambda line: print(line, flush=True))
print("ended", flush=True)
"""


@pytest.fixture
def server():
  process = subprocess.Popen(
    [sys.executable, "-c", SERVER, "0"],
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  lines = []
  while not lines or "is at" not in lines[-1]:
    line = process.stdout.readline()
    assert line, process.stderr.read()
    lines.append(line.strip())
  address = lines[-1].split()[4]
  yield process, address
  process.kill()
  process.communicate()


EXPLAIN = {
  "type": "explain",
  "id": 1,
  "image": {"sample": "noise"},
  "method": "pixel-rde",
}


@pytest.mark.slow
@pytest.mark.parametrize("awaited", [None, "queued", "progress"])
def test_ctrl_c_ends_it_within_two_seconds(server, awaited):
  """Idle, while it compiles, and while it optimises."""
  process, address = server
  assert urllib.request.urlopen(address).status == 200
  host = address.removeprefix("http://").removesuffix("/")
  with connect(f"ws://{host}/ws", origin=f"http://{host}") as websocket:
    if awaited:
      websocket.send(json.dumps(EXPLAIN))
      while json.loads(websocket.recv())["type"] != awaited:
        pass
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    # On a quiet machine; this one may run other tests as well.
    assert time.monotonic() - start < 2 + 2
  assert process.returncode == 0
  assert err == ""
  # The port is free again.
  with socket.socket() as again:
    again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    again.bind(("127.0.0.1", int(host.rpartition(":")[2])))


def test_a_port_that_is_taken_is_one_line(capsys):
  with socket.create_server(("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]
    start = time.monotonic()
    assert main(["playground", "--port", str(port)]) == 2
    # Before anything is loaded.
    assert time.monotonic() - start < 5
  captured = capsys.readouterr()
  assert captured.err == (
    f"cawe: error: port {port} is taken; end the other program or choose another with "
    "--port\n"
  )
  assert captured.out == ""


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--port", "70000"], "port is 70000; allowed is 0 to 65535"),
    (["--host", "no such host"], "host is 'no such host', which is no address here"),
    (["--preset", "slow", "--port", "0"], "preset 'slow' is unknown"),
    (["--classifier", "lenet", "--port", "0"], "lenet"),
    (["--allowed-host", "https://box.local/"], "allowed host is 'https://box.local/'"),
    (["--allowed-host", ""], "allowed host is ''; write it as a browser shows it"),
    (["--root-path", "playground"], "root path is 'playground'; it must be"),
    (["--root-path", "/a?b"], "root path is '/a?b'; it must be"),
  ],
)
def test_bad_options_are_one_line(capsys, arguments, message):
  assert main(["playground", *arguments]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert message in line


def test_what_is_missing_is_named(capsys, monkeypatch):
  find = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util, "find_spec", lambda n: None if n == "uvicorn" else find(n)
  )
  assert main(["playground"]) == 2
  assert "pip install 'cawe-jax[playground]'" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("host", "warned"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)]
)
def test_other_addresses_are_warned_of(host, warned):
  said = []

  class Enough(Exception):
    pass

  def make():
    raise Enough

  with pytest.raises(Enough):
    serve.serve(make, host=host, port=0, say=said.append)
  assert any(line.startswith("warning: everybody") for line in said) == warned


def test_the_default_settings_have_all_installed_samples():
  assert _installed() == list(sample_names())
