"""ECCV 2022, Fig. 7b: distortion with the most relevant entries replaced.

    python -m experiments.run --config=configs/fig7b.py --workdir=DIR

Run time: 46 min on two CPU cores that had other work too; ``:smoke`` 30 s of processor
time.

Paper: as Fig. 7a, with the mirrored question. Here: as ``fig7a``.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "default") -> ConfigDict:
  """The sweep; a variant of ``common.VARIANTS``."""
  return common.curves("fig7b", variant, "randomise")
