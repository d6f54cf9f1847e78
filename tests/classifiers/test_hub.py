"""Downloads: once, checked by nobody else, and quickly refused without a network."""

import hashlib
import http.server
import socket
import sys
import threading
import types

import pytest
from processes import run_python

from cawe_jax.classifiers import hub
from cawe_jax.files.checksums import sha256

CONTENT = b"weights" * 1000
BY_HAND = (
  r"download model.safetensors yourself and give it as weights \(--weights FILE\)$"
)


class Hub(http.server.BaseHTTPRequestHandler):
  """As much of the hub's interface as one download needs."""

  asked: list[str]

  def do_HEAD(self):
    self.answer()

  def do_GET(self):
    self.answer()
    if self.path.endswith("/owner/net/resolve/main/model.safetensors"):
      self.wfile.write(CONTENT)

  def answer(self):
    self.asked.append(f"{self.command} {self.path}")
    found = self.path.endswith("/owner/net/resolve/main/model.safetensors")
    self.send_response(200 if found else 404)
    self.send_header("Content-Length", str(len(CONTENT) if found else 0))
    if found:
      self.send_header("ETag", f'"{hashlib.sha256(CONTENT).hexdigest()}"')
      self.send_header("X-Repo-Commit", "0" * 40)
    else:
      self.send_header("X-Error-Code", "RepoNotFound")
    self.end_headers()

  def log_message(self, *arguments):
    pass


@pytest.fixture
def server():
  handler = type("Handler", (Hub,), {"asked": []})
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
    thread = threading.Thread(target=running.serve_forever, args=(0.05,))
    thread.start()
    yield types.SimpleNamespace(
      address=f"http://127.0.0.1:{running.server_port}", asked=handler.asked
    )
    running.shutdown()
    thread.join()


@pytest.fixture
def library(monkeypatch, tmp_path, server):
  """A library that finds on disk what it has downloaded."""
  path = tmp_path / "model.safetensors"
  calls = []

  def hf_hub_download(
    repository, name, *, revision, token=None, local_files_only=False
  ):
    assert (repository, name, revision) == ("owner/net", "model.safetensors", "main")
    assert local_files_only or token is False
    if local_files_only and not path.exists():
      raise FileNotFoundError("not in the cache")
    if not local_files_only:
      calls.append(repository)
      path.write_bytes(CONTENT)
    return str(path)

  constants = types.SimpleNamespace(ENDPOINT=server.address, HF_HUB_OFFLINE=False)
  fake = types.ModuleType("huggingface_hub")
  fake.constants, fake.hf_hub_download, fake.calls = constants, hf_hub_download, calls
  monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
  return fake


def refusal(match):
  with pytest.raises(ValueError, match=match) as error:
    hub.download("owner/net")
  message = str(error.value)
  assert "\n" not in message
  assert error.value.__cause__ is None
  return message


def test_a_file_is_downloaded_once(library, server):
  assert hub.downloaded("owner/net") is None
  path = hub.download("owner/net")
  assert path.read_bytes() == CONTENT
  assert sha256(path) == hashlib.sha256(CONTENT).hexdigest()
  assert (library.calls, server.asked) == (["owner/net"], ["HEAD /"])
  assert hub.download("owner/net") == path
  assert hub.downloaded("owner/net") == path
  assert (library.calls, server.asked) == (["owner/net"], ["HEAD /"])


def test_without_the_library(monkeypatch):
  monkeypatch.setitem(sys.modules, "huggingface_hub", None)
  message = refusal(BY_HAND)
  assert "https://huggingface.co/owner/net needs the package huggingface_hub" in message
  assert "pip install 'cawe-jax[hub]'" in message
  assert hub.downloaded("owner/net") is None


def test_without_a_network(library):
  with socket.socket() as unused:
    unused.bind(("127.0.0.1", 0))  # not listening: refused at once
    library.constants.ENDPOINT = f"http://127.0.0.1:{unused.getsockname()[1]}"
    message = refusal(BY_HAND)
  assert "/owner/net cannot be reached (Connection refused); " in message
  # A name that is nobody's (RFC 2606).
  library.constants.ENDPOINT = "https://hub.invalid"
  message = refusal(BY_HAND)
  assert message.startswith("https://hub.invalid/owner/net cannot be reached (")
  assert library.calls == []


def test_a_network_that_swallows_everything(library, monkeypatch):
  monkeypatch.setattr(hub, "_PROBE_SECONDS", 0.2)
  with socket.socket() as silent:
    silent.bind(("127.0.0.1", 0))
    silent.listen()
    library.constants.ENDPOINT = f"http://127.0.0.1:{silent.getsockname()[1]}"
    refusal(r"cannot be reached \((no answer within 0.2 s|timed out)\); ")


def test_offline_by_wish(library, server):
  library.constants.HF_HUB_OFFLINE = True
  message = refusal(BY_HAND)
  assert "is not asked (HF_HUB_OFFLINE is set)" in message
  assert (library.calls, server.asked) == ([], [])


def test_the_librarys_errors_are_one_line(library, monkeypatch):
  def fail(*arguments, local_files_only=False, **options):
    raise FileNotFoundError if local_files_only else RuntimeError("404\n\nnot here")

  monkeypatch.setattr(library, "hf_hub_download", fail)
  message = refusal(BY_HAND)
  assert "model.safetensors cannot be downloaded (404 not here); " in message


# ---- With the library itself ----

SCRIPT = """
from cawe_jax.classifiers.hub import download
for _ in range(2):
  print(download("owner/net").read_bytes().hex())
try:
  download("owner/other")
except ValueError as error:
  print(error)
"""


def run_script(script, tmp_path, **variables):
  done = run_python(script, HF_HOME=str(tmp_path), **variables)
  assert done.returncode == 0, done.stderr
  return done


@pytest.mark.slow
def test_the_library_downloads(server, tmp_path):
  pytest.importorskip("huggingface_hub")
  done = run_script(SCRIPT, tmp_path, HF_ENDPOINT=server.address, NO_PROXY="127.0.0.1")
  asked = server.asked
  first, second, error = done.stdout.splitlines()
  assert first == second == CONTENT.hex()
  assert sum(x == "GET /owner/net/resolve/main/model.safetensors" for x in asked) == 1
  assert f"{server.address}/owner/other: model.safetensors cannot be" in error


@pytest.mark.slow
def test_the_library_is_not_asked_without_a_network(tmp_path):
  pytest.importorskip("huggingface_hub")
  script = SCRIPT.replace("for _ in range(2):", "if False:")
  done = run_script(script, tmp_path, HF_ENDPOINT="https://hub.invalid")
  assert "https://hub.invalid/owner/other cannot be reached (" in done.stdout
  # The library would try for 23 s and say so.
  assert "Retry" not in done.stderr


def test_a_user_without_a_home_folder_is_told_what_to_set(monkeypatch):
  class Homeless:
    def find_spec(self, name, path=None, target=None):
      if name.startswith("huggingface_hub"):
        raise RuntimeError("Could not determine home directory.")

  for name in [name for name in sys.modules if name.startswith("huggingface_hub")]:
    monkeypatch.delitem(sys.modules, name)
  monkeypatch.setattr(sys, "meta_path", [Homeless(), *sys.meta_path])
  assert hub.downloaded("timm/resnet18.tv_in1k") is None
  with pytest.raises(ValueError, match=r"no home folder .* set HF_HOME to a folder"):
    hub.download("timm/resnet18.tv_in1k")
