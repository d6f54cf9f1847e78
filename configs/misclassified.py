"""ECCV 2022, Sec. 5.1: what fooled the network.

    python -m experiments.run --config=configs/misclassified.py --workdir=DIR

Run time: 2 min on two CPU cores; ``:smoke`` 38 s of processor time.

Paper: CartoonX of wrong predictions of MobileNetV3-Small, chosen by hand. Here: of all
photographs that EfficientNet-Lite0 gets wrong, three of 20 at 224 x 224; beside the
predicted class also the true one; the fast recipe. Wrong predictions are unsure ones,
for which the empty mask is the optimum of the label squared error, and every mask keeps
the low probability of the true class low. So the missing probability is minimised
("maximise label") for both classes; ``paper`` keeps the published distortion for the
predicted one.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "default") -> ConfigDict:
  """The sweep; a variant of ``common.VARIANTS``."""
  config = common.base("misclassified", variant)
  config.select = "wrong"
  config.methods.predicted = {
    "label": "predicted class",
    "method": "cartoonx",
    "distortion": "maximise-label",
  }
  config.methods.true = {
    "label": "true class",
    "method": "cartoonx",
    "target": "label",
    "distortion": "maximise-label",
  }
  config.report.num_panels = 8
  if variant == "paper":
    del config.methods.predicted.distortion
  if variant == "smoke":
    # At 160 pixels, two of the first six are wrong.
    config.limit = 6
  return config
