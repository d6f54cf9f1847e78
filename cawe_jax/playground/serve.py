"""Starting and stopping the playground's server.

The socket is bound before anything is loaded, so that a port that is taken is said at
once. Ctrl-C closes it: pages are told, jobs are asked to stop, and where the machine is
in the middle of compiling a program, which nothing can interrupt, the process leaves
without waiting, because nothing of it is on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence

import uvicorn
from starlette.applications import Starlette

from cawe_jax.playground.app import create_app
from cawe_jax.playground.connections import Page, Request
from cawe_jax.playground.messages import MAX_FRAME_BYTES
from cawe_jax.playground.settings import Settings
from cawe_jax.playground.visitors import STALL_SECONDS

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
  make: Callable[[], Settings],
  *,
  host: str = "127.0.0.1",
  port: int = 8000,
  open_page: bool = False,
  allowed_hosts: Sequence[str] = (),
  root_path: str = "",
  say: Callable[[str], None] = print,
) -> None:
  """Serve a playground until Ctrl-C.

  Args:
    make: Makes the settings, after the port was found to be free.
    host: Address to bind. Anything but this machine's own lets others in, and there is
      no password.
    port: From 0 to 65535; 0 takes a free one.
    open_page: Open the page in a browser.
    allowed_hosts: Further names under which the server may be addressed, with the port
      if a browser shows one: ``box.local``, ``example.org:8443``.
    root_path: Beginning of the path under which a proxy passes requests on as they
      are, such as ``/playground``. One that takes it off needs nothing here.
    say: Prints a line.

  Raises:
    ValueError: The address cannot be bound, or a name or the path is none.
  """
  names = tuple(_checked_name(name) for name in allowed_hosts)
  path = _checked_path(root_path)
  listener = _bind(host, port)
  with listener:
    address = _address(host, listener.getsockname()[1])
    if host not in _LOOPBACK:
      say(f"warning: everybody who reaches {host} can use this playground")
    say("loading the network ...")
    settings = make()
    own = (host.lower(), socket.gethostname().lower())
    settings = settings._replace(
      hosts=(*settings.hosts, *own), allowed_hosts=names, root_path=path
    )
    server = make_server(create_app(settings))
    say(f"The playground is at {address} (Ctrl-C ends it)")
    if open_page:
      webbrowser.open(address)
    # After a clean end uvicorn raises the signal again.
    with contextlib.suppress(KeyboardInterrupt):
      server.run(sockets=[listener])
  _leave()


def make_server(app: Starlette) -> uvicorn.Server:
  """The server of an application, with the limits of `playground.connections`."""
  return uvicorn.Server(
    uvicorn.Config(
      app,
      # Whoever sends nonsense could fill a log with warnings.
      log_level="error",
      # Chosen here, so that other installed packages change nothing.
      loop="asyncio",
      http=Request,
      ws=Page,
      # A frame that is somewhat too long is answered before the connection closes.
      ws_max_size=2 * MAX_FRAME_BYTES,
      ws_per_message_deflate=False,
      # So many are accepted before the first of them is looked at.
      backlog=64,
      timeout_graceful_shutdown=1,
      server_header=False,
    )
  )


def _checked_name(name: str) -> str:
  if not re.fullmatch(r"([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?", name):
    raise ValueError(
      f"allowed host is {name!r}; write it as a browser shows it, with the port if it "
      "shows one, e.g. box.local or example.org:8443"
    )
  return name.lower()


def _checked_path(path: str) -> str:
  if not re.fullmatch(r"(/[\w.~-]+)*/?", path):
    raise ValueError(
      f"root path is {path!r}; it must be the beginning of a path as a browser shows "
      "it, e.g. /playground"
    )
  return path.rstrip("/")


def _bind(host: str, port: int) -> socket.socket:
  if not 0 <= port <= 65535:
    raise ValueError(f"port is {port}; allowed is 0 to 65535")
  try:
    family, kind, protocol, _, address = socket.getaddrinfo(
      host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
  except (OSError, UnicodeError) as error:
    raise ValueError(f"host is {host!r}, which is no address here ({error})") from None
  listener = socket.socket(family, kind, protocol)
  try:
    if os.name == "posix":
      listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
      # Closing waits until a client has read what was written. One that never reads is
      # given up by the system, which connections inherit from this socket.
      limit = int(1000 * STALL_SECONDS)
      listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)
    listener.bind(address)
    listener.listen(64)
  except OSError as error:
    listener.close()
    if error.errno == errno.EADDRINUSE:
      raise ValueError(
        f"port {port} is taken; end the other program or choose another with --port"
      ) from None
    raise ValueError(f"cannot serve at {host}:{port}: {error.strerror}") from None
  return listener


def _address(host: str, port: int) -> str:
  name = f"[{host}]" if ":" in host else host
  return f"http://{name}:{port}/"


def _leave() -> None:
  """End the process at once if a thread is still inside a compiler or a program."""
  busy = [t for t in threading.enumerate() if t.name.startswith("cawe-playground")]
  for thread in busy:
    thread.join(0.3)
  if any(thread.is_alive() for thread in busy):
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
