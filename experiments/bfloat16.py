"""What a bfloat16 network does to the mask.

    python -m experiments.bfloat16

explains sample photographs with EfficientNet-Lite0 and the fast preset three times:
with the network in float32, with it in bfloat16, and in float32 with another seed.
All masks are assessed by the float32 network on the same fresh draws. It prints the
relative difference of the objectives, and the correlation and mean absolute difference
of the masks (over the mean of the mask): once between the two types, once between the
two seeds. About four minutes on two CPU cores, where bfloat16 is emulated.
"""

from __future__ import annotations

import argparse

import jax
import numpy as np

import cawe_jax as cawe
from cawe_jax.classifiers import in_bfloat16
from cawe_jax.engine.session import Session
from cawe_jax.samples import sample_names, sample_path


def main() -> None:
  """Measure and print."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--images", nargs="+", default=["chelsea", "coffee", "rocket"])
  parser.add_argument("--steps", type=int, help="of the search (the preset's)")
  options = parser.parse_args()
  unknown = set(options.images) - set(sample_names())
  if unknown:
    raise SystemExit(
      f"--images {sorted(unknown)}; allowed: {', '.join(sample_names())}"
    )
  full = cawe.load_classifier("efficientnet-lite0")
  size = full.input_size
  paths = [sample_path(name) for name in options.images]
  images = np.stack([cawe.load_image(path, size=size) for path in paths])
  method = cawe.preset("cartoonx", "fast")
  if options.steps:
    method = method._replace(recipe=method.recipe._replace(num_steps=options.steps))

  def masks(classifier: cawe.Classifier, seed: int):
    key = jax.random.key(seed)
    return cawe.explain(classifier, images, method, key=key).mask

  # Draws that no run has seen.
  session = Session(
    full,
    images,
    method,
    key=jax.random.key(2**31),
    targets=None,
    image_ids=None,
    rows=None,
  )
  first = masks(full, 0)
  pairs = {"bfloat16": masks(in_bfloat16(full), 0), "another seed": masks(full, 1)}
  print(f"{'':14}{'image':12}{'objective':>11}{'mask r':>9}{'mask l1':>9}{'rate':>9}")
  objective = session.assess(first).objective
  for what, other in pairs.items():
    result = session.assess(other)
    change = result.objective / objective - 1
    for i, name in enumerate(options.images):
      x, y = (np.concatenate([s[i].ravel() for s in m]) for m in (first, other))
      # An empty mask, which an unsure prediction may get, has no correlation.
      alike = np.corrcoef(x, y)[0, 1] if x.any() and y.any() else np.nan
      apart = np.abs(x - y).mean() / max(x.mean(), 1e-9)
      print(
        f"{what:14}{name:12}{100 * change[i]:+10.1f}%{alike:9.3f}{apart:9.3f}"
        f"{y.mean():9.4f}",
        flush=True,
      )


if __name__ == "__main__":
  main()
