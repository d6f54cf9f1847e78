"""Images split over the devices of a process, in calls that fit into their memory.

No device talks to another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

T = TypeVar("T")

EVERYWHERE, SPLIT = PartitionSpec(), PartitionSpec("images")


def check_platform() -> None:
  """Try whether JAX finds a device at all, where ``JAX_PLATFORMS`` may name none.

  Raises:
    ValueError: It does not. JAX itself raises anything, also an empty AssertionError.

  Example:
    >>> check_platform()
  """
  try:
    jax.devices()
  except Exception as error:
    wanted = jax.config.values["jax_platforms"]
    reason = str(error) or f"there is no {wanted} device"
    raise ValueError(
      f"JAX cannot start with JAX_PLATFORMS={wanted}: {reason}; without this variable "
      "it takes what there is"
    ) from None


def local_mesh() -> Mesh:
  """All devices of this process: where there are several processes, each has its own.

  Example:
    >>> local_mesh().axis_names
    ('images',)
  """
  return Mesh(np.array(jax.local_devices()), ("images",))


def split_images(program: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
  """Run a program on every device, with its share of the last argument.

  Args:
    program: ``(*replicated, batched) -> batched``; the leading axis of every leaf of
      ``batched`` is that of the images.
    mesh: The devices, as :func:`local_mesh` has them; the images must divide among
      them.
  """

  def run(*arguments: Any) -> Any:
    return jax.shard_map(
      program,
      mesh=mesh,
      in_specs=(*[EVERYWHERE] * (len(arguments) - 1), SPLIT),
      out_specs=SPLIT,
      check_vma=False,
    )(*arguments)

  return run


def halve_rows(run: Callable[[int], T], rows: int) -> tuple[T, int]:
  """Run a program, with half of the rows as long as memory does not suffice.

  Args:
    run: Gets the rows of one network call.
    rows: How many to try first, at least 1.

  Returns:
    What ``run`` returned, computed to its end, and the rows that it got.

  Raises:
    jax.errors.JaxRuntimeError: One row does not fit either, or something else failed.

  Example:
    >>> def run(rows):
    ...   if rows > 4:
    ...     raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    ...   return "done"
    >>> halve_rows(run, 16)
    ('done', 4)
  """
  while True:
    try:
      return jax.block_until_ready(run(rows)), rows
    except jax.errors.JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" not in str(error) or rows == 1:
        raise
    rows //= 2
