"""ECCV 2022, run times: seconds for each image.

    python -m experiments.run --config=configs/runtime.py --workdir=DIR

Run time: 10 min 27 s on two CPU cores without other work, most of it for cvpr2023;
``:smoke`` 40 s of processor time.

Paper: 45.10 s CartoonX and 34.09 s Pixel RDE (2000 steps of 16 draws, 256 x 256,
MobileNetV3-Small, Titan RTX), 0.48 s Integrated Gradients; 96 and 75 s with 64 draws in
the reproduction study, 4.94 s in the code of 2023 (300 steps of 16). Here: whole calls
of the library, compilation apart, on whatever device it is; EfficientNet-Lite0 at 224 x
224, two photographs, one at a time; the recipes fast, default and cvpr2023 (300 steps
of 16 draws). The published 32,000 evaluations would take 12 minutes for each image, so
they are left to ``paper``; the table's seconds for a thousand evaluations tell what
they take.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "default") -> ConfigDict:
  """The sweep; a variant of ``common.VARIANTS``."""
  config = common.base("runtime", variant)
  config.task = "rank"
  config.limit = 2
  config.report.figures = ("runtime",)
  recipes = ("fast", "default", "cvpr2023")
  if variant == "smoke":
    # One shape with the other smokes, so that less is compiled.
    recipes, config.batch_size = ("fast",), 2
  if variant == "paper":
    recipes, config.limit, config.settings.draws = ("eccv2022",), 20, 16
  for method, label in (("cartoonx", "CartoonX"), ("pixel-rde", "Pixel RDE")):
    for preset in recipes:
      key = f"{method}_{preset}".replace("-", "_")
      config.methods[key] = {
        "label": f"{label}, {preset}",
        "method": method,
        "preset": preset,
      }
  config.methods.integrated_gradients = {
    "label": "Integrated Gradients",
    "ranking": "integrated-gradients",
  }
  if variant != "smoke":
    for key, label in (("smooth_grad", "SmoothGrad"), ("grad_cam", "Grad-CAM")):
      config.methods[key] = {"label": label, "ranking": key.replace("_", "-")}
  return config
