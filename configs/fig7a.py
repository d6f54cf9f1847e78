"""ECCV 2022, Fig. 7a: distortion with the most relevant entries kept.

    python -m experiments.run --config=configs/fig7a.py --workdir=DIR

Run time: 41 min on two CPU cores that had other work too; ``:smoke`` 66 s of processor
time.

Paper: 100 random ImageNet images at 256 x 256, MobileNetV3-Small and VGG16, CartoonX
and Pixel RDE with 2000 steps of 64 draws (multipliers 20 and 4), l2 distortion of the
probabilities, 21 points, one draw of noise for each. Here: EfficientNet-Lite0, the 20
photographs of foolbox at 224 x 224, the fast recipe (200 steps of 2 draws); 29 points,
1 % apart below 10 %; 8 draws; equal entries in random order; and the same curves
against the bits kept. ``paper`` leaves out the methods that need ReLU, which
MobileNetV3 has not everywhere.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "default") -> ConfigDict:
  """The sweep; a variant of ``common.VARIANTS``."""
  return common.curves("fig7a", variant, "keep")
