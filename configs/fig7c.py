"""ECCV 2022, Fig. 7c: the trade-off that the Lagrange multiplier makes.

    python -m experiments.run --config=configs/fig7c.py --workdir=DIR

Run time: 81 min on two CPU cores that had as much other work, about 35 alone
(estimated: 10 s for each of 200 explanations); ``:smoke`` 67 s of processor time.

Paper: distortion against the mean of the optimised masks of CartoonX and Pixel RDE,
over multipliers (the second reproduction: 4 to 64), setting as Fig. 7a. Here:
EfficientNet-Lite0, 20 photographs at 224 x 224, the fast recipe, multipliers 4 to 64;
the distortion is the optimised one (label squared error), on 64 fresh draws, and l2 is
not used since nothing was optimised for it.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "default") -> ConfigDict:
  """The sweep; a variant of ``common.VARIANTS``."""
  config = common.base("fig7c", variant)
  config.methods.cartoonx = {"label": "CartoonX", "method": "cartoonx"}
  config.methods.pixel_rde = {"label": "Pixel RDE", "method": "pixel-rde"}
  config.axes.lagrange_multiplier = (4.0, 8.0, 16.0, 32.0, 64.0)
  config.report.figures = ("trade_off", "panels")
  if variant == "smoke":
    config.axes.lagrange_multiplier = (0.5, 1.0)
  return config
