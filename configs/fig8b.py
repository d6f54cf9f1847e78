"""ECCV 2022, Fig. 8b: what replaces a masked coefficient.

    python -m experiments.run --config=configs/fig8b.py --workdir=DIR

Run time: 5 min on two CPU cores for 20 explanations; ``:smoke`` 48 s of processor
time.

Paper: CartoonX with adaptive Gaussian noise and with zeros, one image. Here also
adaptive uniform noise, the mean colour and a blurred image; EfficientNet-Lite0, 4
photographs at 224 x 224, the fast recipe.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "default") -> ConfigDict:
  """The sweep; a variant of ``common.VARIANTS``."""
  config = common.base("fig8b", variant)
  config.limit = min(config.limit, common.NUM_COMPARED)
  config.methods.cartoonx = {"label": "CartoonX", "method": "cartoonx"}
  config.axes.perturbation = (
    "adaptive-gaussian",
    "zeros",
    "adaptive-uniform",
    "mean",
    "blur",
  )
  config.report.figures = ("panels", "by_axis")
  if variant in ("smoke", "paper"):
    config.axes.perturbation = ("adaptive-gaussian", "zeros")
  return config
