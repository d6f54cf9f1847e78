r"""ECCV 2022: any network can be explained.

    python -m experiments.run --config=configs/model_agnosticism.py --workdir=DIR \
        --config.axes.classifier="('efficientnet-lite0', 'vgg16=FILE.pth')"

Run time: 5 min 40 s on two CPU cores, each a device (12 explanations, compiling
included); ``:smoke`` 49 s of processor time.

Paper: MobileNetV3-Small and VGG16 side by side. Here: EfficientNet-Lite0, 1 and 2,
whose weights come as packages, each at its own size (224, 240, 260), 4 photographs,
the fast recipe. ``paper`` has the paper's two networks. An axis value ``NAME=FILE``
takes weights from a file.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "default") -> ConfigDict:
  """The sweep; a variant of ``common.VARIANTS``."""
  config = common.base("model_agnosticism", variant)
  config.limit = min(config.limit, common.NUM_COMPARED)
  config.methods.cartoonx = {"label": "CartoonX", "method": "cartoonx"}
  del config.settings.classifier
  config.axes.classifier = (
    "efficientnet-lite0",
    "efficientnet-lite1",
    "efficientnet-lite2",
  )
  config.report.figures = ("panels", "by_axis")
  if variant == "smoke":
    config.axes.classifier = ("efficientnet-lite0", "efficientnet-lite1")
  if variant == "paper":
    config.axes.classifier = ("mobilenet_v3_small", "vgg16")
  return config
