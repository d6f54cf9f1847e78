"""Code in a process of its own, for what one process cannot show of itself."""

import os
import subprocess
import sys


def run_python(code, *arguments, cwd=None, timeout=300, **environment):
  """Run code that finds the same modules; its exit code, its output, its errors.

  Args:
    code: What `python -c` gets.
    arguments: Its `sys.argv[1:]`.
    cwd: The folder it runs in.
    timeout: Seconds after which it is ended, and the test with it.
    environment: Variables beside this process's own.
  """
  return subprocess.run(
    [sys.executable, "-c", code, *map(str, arguments)],
    env={
      **os.environ,
      "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
      **environment,
    },
    cwd=cwd,
    capture_output=True,
    text=True,
    timeout=timeout,
  )


def with_devices(count):
  """XLA's flags of this process, and so many devices of its CPU."""
  flags = os.environ.get("XLA_FLAGS", "")
  return f"{flags} --xla_force_host_platform_device_count={count}"
