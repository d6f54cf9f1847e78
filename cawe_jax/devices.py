"""Images split over the devices of a process; no device talks to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

EVERYWHERE, SPLIT = PartitionSpec(), PartitionSpec("images")


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
