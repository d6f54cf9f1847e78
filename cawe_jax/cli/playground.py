"""``cawe playground``: the interactive article on this machine."""

from __future__ import annotations

import argparse
import functools
import importlib.util

from cawe_jax.compilation import use_compilation_cache

_NEEDED = ("jaxwt", "msgspec", "starlette", "uvicorn", "websockets")


def run_playground(options: argparse.Namespace) -> int:
  """Serve until Ctrl-C; that is how it ends, so the exit code is 0.

  Raises:
    ValueError: A package or a sample is missing, or the address cannot be bound.
  """
  missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
  if missing:
    raise ValueError(
      f"the playground needs {', '.join(missing)}: pip install 'cawe-jax[playground]'"
    )
  from cawe_jax.playground.serve import serve
  from cawe_jax.playground.settings import make_settings

  use_compilation_cache()
  serve(
    lambda: make_settings(options.classifier, options.preset),
    host=options.host,
    port=options.port,
    open_page=options.open,
    say=functools.partial(print, flush=True),
  )
  return 0
