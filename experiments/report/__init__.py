"""Figures, tables and a gallery from the results of a sweep."""
from __future__ import annotations
from pathlib import Path

def write_report(config, jobs, store) -> list[Path]:
  return []
