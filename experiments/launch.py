"""Where a sweep runs: on this machine, as an array of jobs, on many hosts at once.

**A Slurm cluster.** ``--launcher=slurm`` submits one array task for each job of the
sweep; ``--config.launch.slurm_partition=gpu`` and the like go to Slurm. The tasks write
to the working folder, which all nodes must see, and the last one writes the report.
``--launcher=local`` does the same with processes on this machine.

**Several hosts**, for instance a slice of a TPU pod: start the same command on each,

::

  gcloud compute tpus tpu-vm ssh NAME --worker=all --command='cd cawe_jax &&
    python -m experiments.run --config=configs/fig7c.py --workdir=/shared/fig7c
    --distributed'

with a working folder that all hosts see (NFS, or a bucket mounted with gcsfuse). JAX
finds the hosts by itself on TPUs and under Slurm. Elsewhere say where process 0
listens, ``--coordinator=HOST:PORT --num_processes=N --process_id=I``, or set
``JAX_COORDINATOR_ADDRESS``, ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID``. Each process
takes every N-th batch and splits it over its own devices. Beforehand, ``--dry_run
--hosts=4 --devices=4`` prints what each would do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict
from rich.console import Console

from cawe_jax.files.compilation import enable_compilation_cache
from cawe_jax.numerics.devices import check_platform
from experiments.axes import Job
from experiments.batches import partition
from experiments.progress import Progress
from experiments.sweep import Process, Sweep, finish, open_sweep, run_jobs

CLUSTERS = ("local", "slurm")


# A process that is done waits for the others before it leaves, since the first to leave
# takes the others with it.
_LONGEST_WAIT_SECONDS = 7 * 24 * 3600


class Pod(NamedTuple):
  """Hosts, and devices of each."""

  hosts: int
  devices: int


def join_processes(
  coordinator: str | None,
  num_processes: int | None,
  process_id: int | None,
  *,
  find: bool,
) -> Process:
  """Which of the processes this is; alone where nothing is given.

  Args:
    coordinator: ``HOST:PORT`` where process 0 listens.
    num_processes: How many there are.
    process_id: Which this is.
    find: Let JAX find out all three, on TPUs and under Slurm.

  Raises:
    ValueError: Only some of the three are given, or JAX finds no device.
  """
  given = coordinator, num_processes, process_id
  if 0 < sum(value is not None for value in given) < 3:
    raise ValueError(
      f"coordinator, num_processes, process_id are {', '.join(map(str, given))}; give "
      "all three or none"
    )
  if find or coordinator is not None:
    jax.distributed.initialize(*given, shutdown_timeout_seconds=_LONGEST_WAIT_SECONDS)
  check_platform()
  return Process(jax.process_index(), jax.process_count())


def describe_plan(
  config: ConfigDict, jobs: Sequence[Job], num_photographs: int, pod: Pod
) -> str:
  """What each host of a pod would do, one line for each job and host.

  Raises:
    ValueError: Fewer than one host or device.
  """
  if min(pod) < 1:
    raise ValueError(f"hosts, devices are {pod.hosts}, {pod.devices}; each at least 1")
  batches = partition(num_photographs, config.batch_size)
  lines = [
    f"{config.name}: {len(jobs)} jobs, {num_photographs} photographs in "
    f"{len(batches)} batches of {config.batch_size}"
  ]
  for host in range(pod.hosts):
    share = Process(host, pod.hosts).share(batches)
    images = sum(len(batch) for _, batch in share)
    lines.append(f"host {host}: {pod.devices} device(s), {images} photographs")
    for job in jobs:
      rows = max((len(batch) for _, batch in share), default=0) * len(job.grid)
      lines.append(
        f"  {job.name}: {len(share)} batches, {images} x {len(job.grid)} explanations, "
        f"at most {-(-rows // pod.devices)} at once on a device"
      )
  return "\n".join(lines)


def submit(sweep: Sweep, cluster: str, console: Console) -> None:
  """Hand each job of a sweep to submitit; waits only for the local ones.

  Raises:
    ValueError: submitit is not installed, or a job failed.
  """
  try:
    import submitit
  except ImportError:
    raise ValueError(
      "launcher needs the package submitit: pip install 'cawe-jax[sweep]'"
    ) from None
  folder = sweep.store.folder
  executor = submitit.AutoExecutor(folder=folder / "launcher", cluster=cluster)
  executor.update_parameters(name=sweep.config.name, **_parameters(sweep.config))
  text, names = sweep.config.to_json(), [job.name for job in sweep.jobs]
  count = len(names)
  submitted = executor.map_array(run_one, [text] * count, [str(folder)] * count, names)
  for name, job in zip(names, submitted, strict=True):
    console.print(f"{cluster} job {job.job_id}: {name}", markup=False)
  if cluster == "local":
    for name, job in zip(names, submitted, strict=True):
      error = job.exception()
      if error is not None:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"job {name!r} failed: {reason}; see {job.paths.stderr}")


def run_one(config_json: str, workdir: str, job_name: str) -> None:
  """One job of a sweep, in a process of its own; the last one writes the report."""
  enable_compilation_cache()
  sweep = open_sweep(ConfigDict(json.loads(config_json)), workdir)
  console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
  (job,) = (job for job in sweep.jobs if job.name == job_name)
  run_jobs(sweep, [job], Process(0, 1), Progress(console, job_name))
  finish(sweep, console)


def _parameters(config: ConfigDict) -> dict[str, Any]:
  """What the config says to submitit; None is its default."""
  given = config.launch.to_dict()
  return {name: value for name, value in given.items() if value is not None}
