"""``cawe playground``: the interactive article on this machine."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import warnings

from cawe_jax.explaining.emptiness import EmptyMaskWarning
from cawe_jax.files.compilation import enable_compilation_cache
from cawe_jax.numerics.ambient import own_rules
from cawe_jax.numerics.devices import check_platform

_NEEDED = ("jaxwt", "msgspec", "starlette", "uvicorn", "websockets")


@own_rules()
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

  # The page shows how much a mask keeps.
  warnings.simplefilter("ignore", EmptyMaskWarning)
  check_platform()
  enable_compilation_cache()
  serve(
    lambda: make_settings(options.classifier, options.preset),
    host=options.host,
    port=options.port,
    open_page=options.open,
    allowed_hosts=options.allowed_host,
    root_path=options.root_path,
    say=functools.partial(print, flush=True),
  )
  return 0
