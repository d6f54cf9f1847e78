"""PyTorch, or one line that says how to get it: an extra that few commands need."""

try:
  import torch
except ModuleNotFoundError:
  raise SystemExit(
    "this command compares with PyTorch, which is not installed: "
    "pip install -r requirements/oracles.txt"
  ) from None

__all__ = ["torch"]
