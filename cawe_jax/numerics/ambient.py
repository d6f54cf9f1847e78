"""JAX's own settings as the library needs them, whatever its caller has set.

JAX keeps settings for all code of a thread, such as the mesh that arrays are placed on,
or rules against implicit conversions. A caller sets them for code of their own; they
must neither stop the library nor change what it computes. Every public function that
runs programs does so under :func:`own_rules`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import jax
import numpy as np


@contextmanager
def promotion() -> Iterator[None]:
  """Let arrays of two types or of two ranks meet, as they may by JAX's defaults.

  It is for what others have written: a network that is handed over, an optimiser of
  optax. The library's own code does without.
  """
  with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
    yield


promotion_inside = promotion
"""What public functions run under. The tests put a context without effect here, so that
the library's own code is held to the strict rules."""


@contextmanager
def own_rules() -> Iterator[None]:
  """Run a block, or as a decorator a function, under the library's settings of JAX.

  - *Mesh*: none. The library splits images over the devices by itself.
  - *Promotion of types and of ranks*: JAX's defaults, see :func:`promotion`.
  - *Transfers*: allowed, since images come from the host and results go there.
  - *Stops at NaN or infinity*: off. The library checks its results and says which part
    returned NaN; JAX's search for the place recurses for ever in programs that are
    split over devices.

  All other settings stay the caller's: 64 bits, precision of products, devices, no
  compilation, leaks, generators of random numbers.

  Raises:
    ValueError: The caller is being traced, by `jit`, `vmap` or `grad`.

  Example:
    >>> with jax.numpy_dtype_promotion("strict"), own_rules():
    ...   total = jax.numpy.int32(1) + jax.numpy.float32(0.5)
    >>> float(total)
    1.5
  """
  with (
    _no_mesh(),
    promotion_inside(),
    jax.transfer_guard("allow"),
    jax.debug_nans(False),
    jax.debug_infs(False),
  ):
    yield


def _no_mesh() -> AbstractContextManager[object]:
  try:
    return jax.set_mesh(jax.sharding.Mesh(np.empty((), object), ()))
  except ValueError:
    raise ValueError(
      "this function runs compiled programs by itself and cannot be a part of one; "
      "call it with arrays, outside of jax.jit, jax.vmap and jax.grad"
    ) from None
