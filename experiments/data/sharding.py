"""Each process of a run takes its own part of the photographs.

Every process makes the same list and takes every n-th photograph of it, so that nothing
has to be sent. :func:`shard` does this to a list; :func:`grain_shard` makes it a grain
dataset, to be mapped and read ahead as grain does. grain's ``DataLoader`` is not used:
where the number of photographs is no multiple of the processes', it drops the rest
(seen in grain 0.2.18), and a mean over images would quietly be another one.
"""

from __future__ import annotations

from collections.abc import Sequence

import grain

from experiments.data.photographs import Photograph


def shard(
  photographs: Sequence[Photograph], process_index: int, process_count: int
) -> Sequence[Photograph]:
  """The part of one process: every ``process_count``-th photograph.

  The parts are disjoint, together they are everything, and their lengths differ by one
  at most. Where files are sorted by class, each process gets some of every class.

  Args:
    photographs: The same sequence in every process.
    process_index: In [0, process_count).
    process_count: At least 1.

  Raises:
    ValueError: The index or the count is out of range.

  Example:
    >>> shard(range(5), 1, 2)
    range(1, 5, 2)
  """
  if not 0 <= process_index < process_count:
    raise ValueError(
      f"process_index is {process_index} of process_count {process_count}; it must be "
      "in [0, process_count)"
    )
  return photographs[process_index::process_count]


def grain_shard(
  photographs: Sequence[Photograph], options: grain.sharding.ShardOptions | None = None
) -> grain.MapDataset:
  """The same part as a grain dataset.

  Args:
    photographs: The same sequence in every process.
    options: Which part; that of this process among JAX's by default.

  Returns:
    A random-access dataset of photographs.

  Example:
    >>> from experiments.data import load
    >>> part = grain_shard(load("foolbox"), grain.sharding.ShardOptions(1, 8))
    >>> [photograph.id for photograph in part]
    ['imagenet-01', 'imagenet-09', 'imagenet-17']
  """
  options = options or grain.sharding.ShardByJaxProcess()
  part = slice(options.shard_index, None, options.shard_count)
  return grain.MapDataset.source(photographs)[part]
