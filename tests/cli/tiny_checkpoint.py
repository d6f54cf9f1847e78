"""A network of one matrix, which takes the way of the large ones through the registry.

What it computes is known.
"""

import hashlib

import flax.linen as nn
import numpy as np

from cawe_jax.classifiers.conversion import plain
from cawe_jax.classifiers.published import ClassifierInfo
from cawe_jax.files.images import Resize

RULE = Resize(40, "bilinear")
RNG = np.random.default_rng(0)
TENSORS = {
  "fc.weight": RNG.normal(0, 1, (1000, 3)).astype(np.float32),
  "fc.bias": RNG.normal(0, 1, 1000).astype(np.float32),
}


class MeanColour(nn.Module):
  """Linear in the mean colour."""

  num_classes: int = 1000

  @nn.compact
  def __call__(self, images):
    return nn.Dense(self.num_classes, name="classifier")(images.mean((1, 2)))


TINY = ClassifierInfo(
  name="tiny",
  module=MeanColour(),
  layouts={"torchvision": lambda module: {"classifier": plain("fc")}},
  input_size=32,
  resize=RULE,
  top1=0.1,
  source="https://example.org",
)


def refused(outcome, message):
  code, printed, errors = outcome
  assert (code, printed) == (2, [])
  (line,) = errors
  assert line.startswith("cawe: error: ")
  assert message in line


def digest(path):
  return hashlib.sha256(path.read_bytes()).hexdigest()
