"""``cawe``: dispatch, and the promise that bad input is one line and exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from cawe_jax.cli import streams
from cawe_jax.cli.lines import one_line, path_line
from cawe_jax.cli.options import make_parser


def main(arguments: Sequence[str] | None = None) -> int:
  """Run a command line.

  Args:
    arguments: Without the program's name; by default those of the process.

  Returns:
    Exit code: 0, or 2 if anything failed, or 130 after Ctrl-C.
  """
  streams.accept_any_name()
  try:
    code = _run(arguments)
  finally:  # also after --help, which ends by itself
    error = streams.flush(sys.stdout)
    streams.flush(sys.stderr)
  if error is None or isinstance(error, BrokenPipeError):
    return code
  return _refuse(f"standard output cannot be written ({error.strerror})")


def _run(arguments: Sequence[str] | None) -> int:
  options = make_parser().parse_args(arguments)
  commands = {
    "explain": _explain,
    "figure": _figure,
    "list": _list,
    "classifiers": _classifiers,
    "convert": _convert,
    "playground": _playground,
  }
  try:
    return commands[options.command](options)
  except BrokenPipeError:  # whoever reads standard output has seen enough
    return 0
  except (ValueError, OSError) as error:
    return _refuse(one_line(str(error)) or type(error).__name__)
  except KeyboardInterrupt:
    said = "cawe: interrupted; finished results stay as they are"
    streams.write_line(said, sys.stderr)
    return 130


def _refuse(reason: str) -> int:
  streams.write_line(f"cawe: error: {reason}", sys.stderr)
  return 2


def _explain(options: argparse.Namespace) -> int:
  from cawe_jax.cli.explain import run_explain

  return run_explain(options)


def _figure(options: argparse.Namespace) -> int:
  from cawe_jax.cli.results import redraw

  if options.out.endswith(("/", os.sep)):
    raise ValueError(f"--out {options.out!r} is a folder; it must be a file, NAME.png")
  redraw(options.file, options.out, options.bands)
  streams.report(path_line(options.out), options.out)
  return 0


def _classifiers(options: argparse.Namespace) -> int:
  from cawe_jax.cli.classifiers import run_classifiers

  return run_classifiers(options)


def _convert(options: argparse.Namespace) -> int:
  from cawe_jax.cli.convert import run_convert

  return run_convert(options)


def _playground(options: argparse.Namespace) -> int:
  from cawe_jax.cli.playground import run_playground

  return run_playground(options)


def _list(options: argparse.Namespace) -> int:
  from cawe_jax.classifiers import classifier_names
  from cawe_jax.methods import names
  from cawe_jax.metrics import METRICS
  from cawe_jax.samples import sample_names

  del options
  rows = {
    "classifiers": classifier_names(),
    "methods": names.METHODS,
    "presets": names.RECIPES,
    "representations": names.REPRESENTATIONS,
    "perturbations": names.PERTURBATIONS,
    "distortions": names.DISTORTIONS,
    "initial masks": names.INITIAL_MASKS,
    "metrics": METRICS,
    "photographs": [f"sample:{name}" for name in sample_names()],
  }
  for title, row in rows.items():
    print(f"{title + ':':17}{', '.join(row)}")
  return 0
