"""``cawe``: dispatch, and the promise that bad input is one line and exit code 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cawe_jax.cli.options import make_parser


def main(arguments: Sequence[str] | None = None) -> int:
  """Run a command line.

  Args:
    arguments: Without the program's name; by default those of the process.

  Returns:
    Exit code: 0, or 2 if anything failed, or 130 after Ctrl-C.
  """
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
  except (ValueError, OSError) as error:
    print(f"cawe: error: {_one_line(error)}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print("cawe: interrupted; finished results stay as they are", file=sys.stderr)
    return 130


def _explain(options: argparse.Namespace) -> int:
  from cawe_jax.cli.explain import run_explain

  return run_explain(options)


def _figure(options: argparse.Namespace) -> int:
  from cawe_jax.cli.results import redraw

  redraw(options.file, options.out)
  print(options.out)
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
  from cawe_jax.cli.parts import distortion_names, perturbation_names
  from cawe_jax.presets import METHODS, RECIPES
  from cawe_jax.samples import sample_names

  del options
  rows = {
    "classifiers": classifier_names(),
    "methods": METHODS,
    "presets": RECIPES,
    "perturbations": perturbation_names(),
    "distortions": distortion_names(),
    "photographs": [f"sample:{name}" for name in sample_names()],
  }
  for title, names in rows.items():
    print(f"{title + ':':15}{', '.join(names)}")
  return 0


def _one_line(error: Exception) -> str:
  return " ".join(str(error).split()) or type(error).__name__
