"""The application: routes, and what keeps other people's pages out.

No path of a request reaches the file system: samples, uploads and results are looked up
in dictionaries, and of the page's own files there is a list. A page of another origin
can neither open the socket nor use a name that it made point to this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import mimetypes
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from cawe_jax.playground.answers import Answers
from cawe_jax.playground.catalogue import MAX_UPLOAD_BYTES
from cawe_jax.playground.pictures import to_webp
from cawe_jax.playground.settings import Settings
from cawe_jax.playground.tasks import FILE_TYPES
from cawe_jax.playground.visitors import Visitor

UPLOAD_SECONDS = 60.0
"""Time that reading an upload may take."""
MAX_CONCURRENT_UPLOADS = 8
"""Uploads that are read at once; together at most 128 MiB."""

_STATIC = Path(__file__).with_name("static")
_HEADERS = {
  "Content-Security-Policy": "; ".join(
    [
      "default-src 'none'",
      "script-src 'self'",
      "style-src 'self'",
      "img-src 'self' data: blob:",
      "connect-src 'self'",
      "form-action 'none'",
      "base-uri 'none'",
      "frame-ancestors 'none'",
    ]
  ),
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def create_app(settings: Settings) -> Starlette:
  """The playground as an ASGI application.

  Args:
    settings: Network, samples, recipe and the names under which it may be addressed.
  """
  answers = Answers(settings)
  files = _static_files()
  catalogue = msgspec.json.encode(answers.catalogue)
  reading = asyncio.Semaphore(MAX_CONCURRENT_UPLOADS)

  async def page(request: Request) -> Response:
    return _static_response(files, "index.html")

  async def static(request: Request) -> Response:
    return _static_response(files, request.path_params["path"])

  async def describe(request: Request) -> Response:
    return Response(catalogue, media_type="application/json")

  async def sample(request: Request) -> Response:
    return _webp(answers.pictures.get(request.path_params["name"]))

  async def upload(request: Request) -> Response:
    async with reading:
      data = await _body(request)
      try:
        token, photograph = await answers.upload(data)
      except ValueError as error:
        raise HTTPException(415, " ".join(str(error).split())) from None
    target = photograph.predicted
    return JSONResponse(
      {
        "upload": token,
        "url": f"/uploads/{token}.webp",
        "class": settings.classifier.class_name(target),
        "target": target,
        "probability": float(photograph.probabilities[target]),
      }
    )

  async def uploaded(request: Request) -> Response:
    image = answers.uploaded(request.path_params["token"])
    return _webp(None if image is None else to_webp(image))

  async def result(request: Request) -> Response:
    suffix = request.path_params["suffix"]
    data = None
    if suffix in FILE_TYPES:
      data = await answers.file(request.path_params["token"], suffix)
    if data is None:
      raise HTTPException(404, "there is no such result any more; compute it again")
    disposition = f'attachment; filename="explanation.{suffix}"'
    return Response(
      data,
      media_type=FILE_TYPES[suffix],
      headers={"Content-Disposition": disposition, "Cache-Control": "no-store"},
    )

  async def converse(websocket: WebSocket) -> None:
    await websocket.accept()
    await Visitor(answers, websocket).converse()

  @contextlib.asynccontextmanager
  async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with answers.open():
      yield

  app = Starlette(
    routes=[
      Route("/", page),
      Route("/static/{path:path}", static),
      Route("/catalogue.json", describe),
      Route("/samples/{name}.webp", sample),
      Route("/uploads", upload, methods=["POST"]),
      Route("/uploads/{token}.webp", uploaded),
      Route("/results/{token}.{suffix}", result),
      WebSocketRoute("/ws", converse),
    ],
    exception_handlers={HTTPException: _one_line},  # type: ignore[dict-item]
    lifespan=lifespan,
  )
  app.add_middleware(_Guard, hosts=settings.hosts)
  return app


class _Guard:
  """Refuses other hosts and origins, and sets the headers of every response."""

  def __init__(self, app: ASGIApp, hosts: tuple[str, ...]):
    self._app = app
    self._hosts = hosts

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] not in ("http", "websocket"):
      return await self._app(scope, receive, send)
    refusal = self._refusal(scope)
    if refusal is None:
      return await self._app(scope, receive, _with_headers(send))
    if scope["type"] == "websocket":
      # Before it is accepted, a close is an answer with status 403.
      await receive()
      return await send({"type": "websocket.close", "code": 1008, "reason": refusal})
    await JSONResponse({"error": refusal}, 403)(scope, receive, _with_headers(send))

  def _refusal(self, scope: Scope) -> str | None:
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    # A name that an attacker makes point to this machine is refused; numbers cannot be
    # made to point elsewhere.
    name = _without_port(host)
    if name not in self._hosts and not _is_address(name):
      return "this host name is not one of the playground's"
    origin = headers.get("origin")
    needed = scope["type"] == "websocket"
    if (origin is None and needed) or (origin is not None and not _same(origin, host)):
      return "requests from other origins are refused"
    return None


def _without_port(host: str) -> str:
  name, _, port = host.rpartition(":")
  return (name if port.isdecimal() and name else host).lower()


def _is_address(name: str) -> bool:
  try:
    ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
  except ValueError:
    return False
  return True


def _same(origin: str, host: str) -> bool:
  parts = urlsplit(origin)
  return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _with_headers(send: Send) -> Send:
  async def guarded(message: Message) -> None:
    if message["type"] == "http.response.start":
      headers = MutableHeaders(scope=message)
      for name, value in _HEADERS.items():
        headers[name] = value
      headers.setdefault("Cache-Control", "no-cache")
    await send(message)

  return guarded


async def _body(request: Request) -> bytes:
  """The whole body, refused as soon as it is too long, whatever was announced."""
  data = bytearray()
  try:
    async with asyncio.timeout(UPLOAD_SECONDS):
      async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_UPLOAD_BYTES:
          raise HTTPException(413, f"an upload may have {MAX_UPLOAD_BYTES} bytes")
  except TimeoutError:
    raise HTTPException(408, "the upload took too long") from None
  except ClientDisconnect:
    raise HTTPException(400, "the upload was not complete") from None
  if not data:
    raise HTTPException(400, "the upload is empty")
  return bytes(data)


async def _one_line(request: Request, error: HTTPException) -> Response:
  return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


def _webp(data: bytes | None) -> Response:
  if data is None:
    raise HTTPException(404, "there is no such image")
  return Response(data, media_type="image/webp")


def _static_files() -> dict[str, Path]:
  """The page's own files, by the names under which they are asked for."""
  paths = (path for path in _STATIC.rglob("*") if path.is_file())
  return {path.relative_to(_STATIC).as_posix(): path for path in paths}


def _static_response(files: dict[str, Path], name: str) -> Response:
  if name not in files:
    raise HTTPException(404, "there is no such file")
  # Read anew, so that a changed page needs no other server.
  path = files[name]
  kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
  return Response(path.read_bytes(), media_type=kind or "application/octet-stream")
