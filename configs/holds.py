"""What a mask holds under: noise alone, or noise for half of the draws and zeros else.

    python -m experiments.run --config=configs/holds.py --workdir=DIR

Run time: 31 min on two CPU cores beside other work (13 s for each of 80 explanations
without); ``:smoke`` at most 144 s of processor time, where nothing is compiled.

Paper: CartoonX under Gaussian noise, and nothing of what else its masks hold under.
Here: masks found under that noise, and under noise or zeros, a half of the draws each
(``perturbations.mixture``), with the paper's distortion and with the share of the
probability that is lost, which costs as much for an unsure prediction as for a sure
one; EfficientNet-Lite0, 20 photographs at 224 x 224, the fast recipe. The table has
what they retain under six perturbations, and how many retain enough. Other photographs
and networks are ``--config.data=FOLDER --config.limit=100`` and
``--config.settings.classifier=NAME``.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common

SEARCHES = {
  "noise": ("Gaussian noise", "adaptive-gaussian"),
  "mixture": ("Gaussian noise or zeros", "mixture"),
}
DISTORTIONS = {"change": "label-squared-error", "lost_share": "lost-share"}


def get_config(variant: str = "default") -> ConfigDict:
  """The sweep; a variant of ``common.VARIANTS``."""
  config = common.base("holds", variant)
  config.metrics = ("holds",)
  for key, (label, perturbation) in SEARCHES.items():
    for of_what, distortion in DISTORTIONS.items():
      if variant == "smoke" and (key, of_what) != ("mixture", "lost_share"):
        continue
      config.methods[f"{key}_{of_what}"] = {
        "label": f"{label}, {of_what.replace('_', ' ')}",
        "method": "cartoonx",
        "perturbation": perturbation,
        "distortion": distortion,
      }
  return config
