"""ECCV 2022, Fig. 8c: the mother wavelet.

    python -m experiments.run --config=configs/fig8c.py --workdir=DIR

Run time: 8 min 39 s on two busy CPU cores (20 explanations); ``:smoke`` 42 s of
processor time.

Paper: CartoonX with several mother wavelets, one image. Here: five whose five levels
fit 224 x 224 pixels (PyWavelets' names), EfficientNet-Lite0, 4 photographs, the fast
recipe.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "default") -> ConfigDict:
  """The sweep; a variant of ``common.VARIANTS``."""
  config = common.base("fig8c", variant)
  config.limit = min(config.limit, common.NUM_COMPARED)
  config.methods.cartoonx = {"label": "CartoonX", "method": "cartoonx"}
  config.axes.wavelet = ("haar", "db3", "sym4", "coif1", "bior2.2")
  config.report.figures = ("panels", "by_axis")
  if variant == "smoke":
    config.axes.wavelet = ("haar", "db3")
  return config
