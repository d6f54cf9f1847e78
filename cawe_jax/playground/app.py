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
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from cawe_jax.playground.answers import Answers
from cawe_jax.playground.jobs import Caller
from cawe_jax.playground.pictures import to_webp
from cawe_jax.playground.settings import Settings
from cawe_jax.playground.tasks import FILE_TYPES
from cawe_jax.playground.uploads import MAX_UPLOAD_BYTES, TooLong, TooSlow, Uploads
from cawe_jax.playground.visitors import Visitor

T = TypeVar("T")

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
  uploads = Uploads()

  async def page(request: Request) -> Response:
    return _static_response(files, "index.html")

  async def static(request: Request) -> Response:
    return _static_response(files, request.path_params["path"])

  async def describe(request: Request) -> Response:
    return Response(catalogue, media_type="application/json")

  async def sample(request: Request) -> Response:
    return _webp(answers.pictures.get(request.path_params["name"]))

  async def upload(request: Request) -> Response:
    data = await _body(uploads, request)
    try:
      answer = answers.upload(data, _caller(request))
      token, photograph = await _while_connected(request, answer)
    except ValueError as error:
      raise HTTPException(415, " ".join(str(error).split())) from None
    target = photograph.predicted
    return JSONResponse(
      {
        "upload": token,
        "url": f"uploads/{token}.webp",
        "class": settings.classifier.class_name(target),
        "target": target,
        "probability": float(photograph.probabilities[target]),
      }
    )

  async def uploaded(request: Request) -> Response:
    image = answers.uploaded(request.path_params["token"])
    found = _webp(None if image is None else to_webp(image))
    # A visitor's own, which nothing shall keep.
    found.headers["Cache-Control"] = "no-store"
    return found

  async def result(request: Request) -> Response:
    suffix = request.path_params["suffix"]
    data = None
    if suffix in FILE_TYPES:
      answer = answers.file(request.path_params["token"], suffix, _caller(request))
      try:
        data = await _while_connected(request, answer)
      except ValueError as error:
        raise HTTPException(503, str(error)) from None
      except OSError as error:
        reason = f"the file cannot be made ({error.strerror})"
        raise HTTPException(507, reason) from None
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

  routes: list[BaseRoute] = [
    Route("/", page),
    Route("/static/{path:path}", static),
    Route("/catalogue.json", describe, methods=["GET", "POST"]),
    Route("/samples/{name}.webp", sample),
    Route("/uploads", upload, methods=["POST"]),
    Route("/uploads/{token}.webp", uploaded),
    Route("/results/{token}.{suffix}", result),
    WebSocketRoute("/ws", converse),
  ]
  if settings.root_path:
    # A proxy may take it off, or not.
    routes.append(Mount(settings.root_path, routes=routes.copy()))
    routes.append(Route(settings.root_path, _with_slash))
  app = Starlette(
    routes=routes,
    exception_handlers={HTTPException: _one_line, Exception: _failed},  # type: ignore[dict-item]
    lifespan=lifespan,
  )
  app.add_middleware(_Guard, settings=settings)
  return app


async def _with_slash(request: Request) -> Response:
  """To the same address with a slash at its end.

  It is relative, since only the browser knows the host and port that it asked.
  """
  return Response(
    status_code=307, headers={"location": f"{request.url.path.rpartition('/')[2]}/"}
  )


class _Guard:
  """Refuses other hosts and origins, and sets the headers of every response."""

  def __init__(self, app: ASGIApp, settings: Settings):
    self._app = app
    self._allowed_hosts = settings.allowed_hosts
    self._hosts = {*settings.hosts, *map(_without_port, settings.allowed_hosts)}
    self._root_path = settings.root_path

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
      return (
        f"this playground does not know the name {name!r:.80}; whoever serves it can "
        f"allow it with --allowed-host {name!r:.80}"
      )
    # The page's own scripts are no secret, and say what else is refused, and why.
    if scope["path"].removeprefix(self._root_path).startswith("/static/"):
      return None
    origin = headers.get("origin")
    if origin is None:
      needed = scope["type"] == "websocket"
      return "requests that do not say their origin are refused" if needed else None
    # A proxy may put another host into the place of the one that the browser shows.
    if any(_same(origin, known) for known in (host, *self._allowed_hosts)):
      return None
    shown = origin.partition("://")[2]
    return (
      f"this playground does not know pages of {origin!r:.80}; whoever serves it there "
      f"behind a proxy can allow them with --allowed-host {shown!r:.80}"
    )


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
  try:
    parts = urlsplit(origin)
  except ValueError:  # An address with half of its brackets.
    return False
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


async def _body(uploads: Uploads, request: Request) -> bytes:
  try:
    data = await uploads.read(request.stream())
  except TooLong:
    raise HTTPException(413, f"an upload may have {MAX_UPLOAD_BYTES} bytes") from None
  except TooSlow:
    raise HTTPException(408, "the upload took too long") from None
  except ClientDisconnect:
    raise HTTPException(400, "the upload was not complete") from None
  if not data:
    raise HTTPException(400, "the upload is empty")
  return data


def _caller(request: Request) -> Caller:
  """Whose turn a request takes; each is a visitor, since it has no connection."""
  return Caller(request.client and request.client.host, object())


async def _while_connected(request: Request, answer: Coroutine[Any, Any, T]) -> T:
  """An answer that is given up when nobody waits for it any more."""
  working = asyncio.ensure_future(answer)
  leaving = asyncio.ensure_future(_disconnection(request))
  try:
    await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if working.done():
      return working.result()
    raise HTTPException(400, "the client has left")
  finally:
    working.cancel()
    leaving.cancel()
    await asyncio.wait({working, leaving})


async def _disconnection(request: Request) -> None:
  while (await request.receive())["type"] != "http.disconnect":
    pass


async def _failed(request: Request, error: Exception) -> Response:
  """Outside of everything else, so that it needs the headers once more."""
  said = {"error": "the server failed here; its terminal says why"}
  return JSONResponse(said, 500, headers=_HEADERS)


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
