"""What other people's pages, paths, frames and files cannot do."""

import io
import re
import struct
import zlib

import pytest
from PIL import Image
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from visits import ORIGIN, Page, connect, draw

from cawe_jax.playground import messages
from cawe_jax.playground.app import create_app
from cawe_jax.playground.uploads import MAX_CONCURRENT_UPLOADS


@pytest.mark.parametrize(
  "headers",
  [
    {"host": "evil.example", "origin": "http://evil.example"},  # DNS rebinding
    {"host": "localhost.evil.example", "origin": "http://localhost.evil.example"},
    {"host": "", "origin": ORIGIN},
    {"host": "localhost", "origin": "http://evil.example"},
    {"host": "localhost", "origin": "null"},
    {"host": "localhost:8000", "origin": "http://localhost:9000"},
    {"host": "localhost", "origin": "file://localhost"},
    {"host": "localhost", "origin": "http://["},
    {"host": "localhost", "origin": "http://[::1"},
    {"host": "localhost", "origin": "http://]localhost["},
    {"host": "localhost"},  # A browser always says where a socket comes from.
  ],
)
def test_other_hosts_and_origins_get_no_socket(client, headers):
  # The client's own origin would be sent otherwise.
  given = {"origin": "", **headers}
  with (
    pytest.raises(WebSocketDisconnect),
    client.websocket_connect("/ws", headers=given),
  ):
    pass
  if headers.get("host") != "localhost" or "origin" in headers:
    for path in ("/", "/catalogue.json", "/samples/first.webp"):
      assert client.get(path, headers=headers).status_code == 403
    answer = client.post("/uploads", content=b"x", headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "192.168.0.7"])
def test_its_own_names_and_addresses_are_served(client, host):
  for name in (host, f"{host}:8000"):
    headers = {"host": name, "origin": f"http://{name}"}
    assert client.get("/catalogue.json", headers=headers).status_code == 200
    with client.websocket_connect("/ws", headers=headers) as websocket:
      assert Page(websocket).ask(draw(draws=0))[-1]["type"] == "error"


def test_a_host_can_be_allowed(settings):
  named = settings._replace(hosts=("my-machine",))
  with TestClient(create_app(named), base_url="http://my-machine") as client:
    assert client.get("/").status_code == 200
    assert client.get("/", headers={"host": "localhost"}).status_code == 403


@pytest.mark.parametrize(
  ("path", "status"), [("/", 200), ("/catalogue.json", 200), ("/nowhere", 404)]
)
def test_every_answer_has_the_headers(client, path, status):
  answer = client.get(path)
  assert answer.status_code == status
  policy = dict(
    part.strip().split(" ", 1)
    for part in answer.headers["content-security-policy"].split(";")
  )
  assert policy["default-src"] == "'none'"
  assert policy["script-src"] == policy["style-src"] == "'self'"
  assert policy["img-src"] == "'self' data: blob:"
  assert policy["connect-src"] == "'self'"
  assert "unsafe" not in answer.headers["content-security-policy"]
  assert "http" not in answer.headers["content-security-policy"]
  assert answer.headers["x-content-type-options"] == "nosniff"
  assert answer.headers["x-frame-options"] == "DENY"
  assert answer.headers["referrer-policy"] == "no-referrer"
  assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("route", ["/static", "/samples", "/uploads", "/results"])
@pytest.mark.parametrize(
  "name",
  [
    "../app.py",
    "%2e%2e/app.py",
    "..%2fapp.py",
    "..%5capp.py",
    "....//app.py",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "../../../../../../etc/passwd",
    "%00",
    "first.webp/../../app.py",
    "",
    ".",
    "index.html%00.png",
  ],
)
def test_no_path_reaches_the_file_system(client, route, name):
  for suffix in ("", ".webp", ".npz"):
    # As it is: httpx would take out the dots.
    url = f"{route}/{name}{suffix}"
    answer = client.get(client.base_url.copy_with(raw_path=url.encode()))
    assert answer.status_code in (404, 405), url
    assert b"root:" not in answer.content


def test_the_pages_own_files_are_served(client):
  page = client.get("/")
  assert page.headers["content-type"].startswith("text/html")
  script = client.get("/static/main.js")
  assert script.headers["content-type"].startswith("text/javascript")
  assert "<script>" not in page.text
  assert not re.search(r"\sstyle=", page.text)


def image_bytes(size, kind="PNG"):
  file = io.BytesIO()
  Image.new("RGB", size, (200, 30, 30)).save(file, kind)
  return file.getvalue()


def bomb():
  """A PNG of a few hundred bytes that says it is 60,000 pixels wide and high."""

  def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

  header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
  packed = zlib.compress(bytes(10**6))
  return (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", header)
    + chunk(b"IDAT", packed)
    + chunk(b"IEND", b"")
  )


@pytest.mark.parametrize(
  ("content", "status"),
  [
    (b"", 400),
    (b"not an image at all", 415),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n", 415),
    (b"\x89PNG\r\n\x1a\n", 415),
    (image_bytes((64, 64))[:100], 415),
    (image_bytes((3, 8)), 415),
    (bomb(), 415),
    (bytes(2**24 + 1), 413),
  ],
)
def test_uploads_that_are_refused(client, content, status):
  answer = client.post("/uploads", content=content)
  assert answer.status_code == status
  (line,) = answer.json().values()
  assert line
  assert "\n" not in line
  assert client.post("/uploads", content=image_bytes((64, 48))).status_code == 200


def test_the_size_is_counted_while_reading(client):
  """Neither a body of unknown length nor a false announcement gets more in."""
  read = 0

  def endless():
    nonlocal read
    while read < 2**26:
      read += 2**20
      yield bytes(2**20)

  assert client.post("/uploads", content=endless()).status_code == 413


def test_only_so_many_uploads_are_kept(settings):
  with TestClient(create_app(settings), base_url=ORIGIN) as client:
    content = image_bytes((32, 32))
    urls = [client.post("/uploads", content=content).json()["url"] for _ in range(66)]
    kept = [client.get(url).status_code for url in urls]
    assert kept == [404] * 2 + [200] * 64


def malformed():
  """A hundred frames that are no message."""
  yield from ["", " ", "{", "[]", "null", "1", '"predict"', "{}", "\x00", "[" * 5000]
  yield from ['{"type": "predict"}', '{"type": "shutdown", "id": 1}', '{"id": 1}']
  yield from [f'{{"type": "cancel", "id": {i}}}' for i in ("-1", "1.5", '"1"', "1e400")]
  yield from [f'{{"type": "cancel", "id": {i}}}' for i in ("null", "[]", "2" * 400)]
  yield '{"type": "cancel", "id": 1, "more": 2}'
  yield '{"type": "cancel", "type": "cancel", "id": {}}'
  valid = draw(mask="AAAA")
  text = messages.msgspec.json.encode(valid).decode()
  yield from (text[:end] for end in range(5, len(text), 10))
  wrong = (None, [], {}, -(10**400), 1.5, True, "x" * 70, ["a"])
  for field in ("image", "mask", "filling", "draws", "seed"):
    for value in wrong:
      fits = isinstance(value, str) and field in ("mask",)
      if not fits and not (field in ("image",) and value == {}):
        yield messages.msgspec.json.encode(valid | {field: value}).decode()
  for name in ("sample", "upload"):
    for value in (1, [], {}, "x" * 65):
      yield messages.msgspec.json.encode(valid | {"image": {name: value}}).decode()
  for samples in ([None], ["1"], [[1]], {"0": 1}, [0] * 1025):
    yield messages.msgspec.json.encode(
      {"type": "signal", "id": 1, "samples": samples}
    ).decode()
  explain = {"type": "explain", "id": 1, "image": {}, "method": "cartoonx"}
  for field in (
    "lagrange_multiplier",
    "levels",
    "target",
    "budget",
    "fresh",
    "wavelet",
  ):
    for value in ([], {}, "x" * 65):
      yield messages.msgspec.json.encode(explain | {field: value}).decode()


MALFORMED = list(malformed())


def test_a_malformed_frame_closes_its_connection_alone(client):
  assert len(MALFORMED) >= 100
  with connect(client) as bystander:
    for frame in MALFORMED:
      with connect(client) as websocket:
        websocket.send_text(frame)
        answer = websocket.receive_json()
        assert (answer["type"], answer["id"]) == ("error", None), frame
        assert "\n" not in answer["message"]
        assert websocket.receive()["code"] == 1008
    assert Page(bystander).ask(draw())[-1]["type"] == "prediction"


@pytest.mark.parametrize(
  ("send", "code"),
  [
    (lambda w: w.send_bytes(b'{"type": "cancel", "id": 1}'), 1008),
    (lambda w: w.send_text(" " * (2**16 + 1)), 1009),
    (lambda w: w.send_text("é" * 2**15 + " "), 1008),  # Too many bytes, not characters.
  ],
)
def test_binary_and_long_frames_close(client, send, code):
  with connect(client) as websocket:
    send(websocket)
    assert websocket.receive_json()["id"] is None
    assert websocket.receive()["code"] == code


def test_an_id_may_not_be_used_twice_at_once(client):
  with connect(client) as websocket:
    websocket.send_json(draw(1))
    websocket.send_json(draw(1))
    kinds = []
    while (message := websocket.receive())["type"] == "websocket.send":
      kinds.append(message["text"])
    assert message["code"] == 1008
    assert "still open" in kinds[-1]


def test_unhandled_errors_tell_nothing(client, monkeypatch, capsys):
  def fail(*arguments):
    raise KeyError("a secret")

  monkeypatch.setattr("cawe_jax.playground.tasks.predict", fail)
  with connect(client) as websocket:
    answer = Page(websocket).ask(draw())[-1]
  assert answer["type"] == "error"
  assert "secret" not in answer["message"]
  assert "a secret" in capsys.readouterr().err


def test_what_fails_unexpectedly_has_the_headers_too(settings, monkeypatch):
  monkeypatch.setattr("cawe_jax.playground.app._static_response", lambda *given: 1 / 0)
  with TestClient(
    create_app(settings), base_url=ORIGIN, raise_server_exceptions=False
  ) as client:
    answer = client.get("/")
  assert answer.status_code == 500
  assert "division" not in answer.text
  assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_a_full_disk_is_said(client, monkeypatch):
  async def full(*given):
    raise OSError(28, "No space left on device", "/tmp/secret")

  monkeypatch.setattr("cawe_jax.playground.answers.Answers.file", full)
  answer = client.get("/results/token.png")
  assert answer.status_code == 507
  assert answer.json() == {"error": "the file cannot be made (No space left on device)"}


def test_an_upload_is_stored_nowhere(client):
  url = client.post("/uploads", content=image_bytes((32, 32))).json()["url"]
  assert client.get(url).headers["cache-control"] == "no-store"


def test_limits_are_what_they_are_said_to_be(client):
  limits = client.get("/catalogue.json").json()["limits"]
  assert limits["upload_bytes"] == 16 * 2**20
  assert MAX_CONCURRENT_UPLOADS * limits["upload_bytes"] == 128 * 2**20
