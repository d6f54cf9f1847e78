"""ECCV 2022, Fig. 8d: the distortion.

    python -m experiments.run --config=configs/fig8d.py --workdir=DIR

Run time: 4 min on two CPU cores (10 s for each of 16 explanations); ``:smoke`` 54 s
of processor time.

Paper: CartoonX with four distortions (label squared error, "maximise label", KL, l2),
one image. Here: the same four, "maximise label" as the released code computes it,
squared; EfficientNet-Lite0, 4 photographs at 224 x 224, the fast recipe. Values of
different distortions do not compare; rates and retained probabilities do.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "default") -> ConfigDict:
  """The sweep; a variant of ``common.VARIANTS``."""
  config = common.base("fig8d", variant)
  config.limit = min(config.limit, common.NUM_COMPARED)
  config.methods.cartoonx = {"label": "CartoonX", "method": "cartoonx"}
  config.axes.distortion = ("label-squared-error", "maximise-label", "kl", "l2")
  config.report.figures = ("panels", "by_axis")
  if variant == "smoke":
    config.axes.distortion = ("label-squared-error", "l2")
  return config
