"""ECCV 2022, Fig. 8a: the Lagrange multiplier.

    python -m experiments.run --config=configs/fig8a.py --workdir=DIR

Run time: 26 min on two CPU cores that had much other work, about 5 alone (estimated: 10
s for each of 24 explanations); ``:smoke`` 34 s of processor time.

Paper: CartoonX at multipliers 0, 50, 100, 200, 400 and 800, one image; 2000 steps of 64
draws at 256 x 256. Here: the same multipliers, EfficientNet-Lite0, 4 photographs at
224 x 224, the fast recipe; with the numbers beside the pictures.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "default") -> ConfigDict:
  """The sweep; a variant of ``common.VARIANTS``."""
  config = common.base("fig8a", variant)
  config.limit = min(config.limit, common.NUM_COMPARED)
  config.methods.cartoonx = {"label": "CartoonX", "method": "cartoonx"}
  config.axes.lagrange_multiplier = (0.0, 50.0, 100.0, 200.0, 400.0, 800.0)
  config.report.figures = ("panels", "by_axis")
  if variant == "smoke":
    config.axes.lagrange_multiplier = (0.0, 1.0)
  return config
