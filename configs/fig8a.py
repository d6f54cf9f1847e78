"""ECCV 2022, Fig. 8a: the Lagrange multiplier."""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "default") -> ConfigDict:
  """The sweep of Fig. 8a."""
  config = common.base("fig8a", variant)
  config.methods.cartoonx = {"label": "CartoonX", "method": "cartoonx"}
  config.axes.lagrange_multiplier = (0.0, 50.0, 100.0, 200.0, 400.0, 800.0)
  return config
