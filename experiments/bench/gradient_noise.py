"""How noisy the gradient of a distortion is, and how noisy its direction.

    python -m experiments.bench.gradient_noise --images FOLDER

explains the first photographs of a folder with the default recipe in fewer steps, and
prints for the two published settings what 128 further draws tell at that mask:

- the signal-to-noise ratio of one draw, energy of the mean over energy of the noise,
  for the gradient and for the direction (:class:`cawe_jax.objective.Gradients`);
- how many draws hold the gradient's energy, ``(sum e)^2 / sum e^2``;
- the cosine between the means of the two. A product of two means over the same draws
  would count their noise; here each half of the draws is compared with the other.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import cawe_jax as cawe
from cawe_jax import objective as objective_
from cawe_jax import perturbations, recipes
from cawe_jax.numerics.tiles import Draws, Tile

SETTINGS = {
  "multiplier 20, Gaussian": (20.0, perturbations.adaptive_gaussian()),
  "multiplier 1, uniform": (1.0, perturbations.adaptive_uniform()),
}
NUM_DRAWS, FIRST_STEP = 128, 10**6


def main() -> None:
  """Measure and print."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--images", type=Path, required=True, help="a folder")
  parser.add_argument("--count", type=int, default=2, help="photographs (2)")
  parser.add_argument("--steps", type=int, default=200, help="steps before (200)")
  options = parser.parse_args()
  classifier = cawe.load_classifier("efficientnet-lite0")
  paths = sorted(path for path in options.images.rglob("*") if path.is_file())
  print(f"{'setting':26}{'photograph':26}{'gradient':>9}{'direction':>10}", end="")
  print(f"{'ratio':>7}{'draws':>7}{'cosine':>8}")
  for name, (multiplier, perturbation) in SETTINGS.items():
    recipe = recipes.default()._replace(num_steps=options.steps)
    method = cawe.cartoonx(multiplier, perturbation=perturbation, recipe=recipe)
    for path in paths[: options.count]:
      image = cawe.load_image(path, size=classifier.input_size)
      gradients, directions = _draw(classifier, image, method)
      noisy, clean = _ratio(gradients), _ratio(directions)
      energy = np.sum(gradients**2, 1)
      held = energy.sum() ** 2 / np.sum(energy**2)
      print(
        f"{name:26}{path.stem[:25]:26}{noisy:9.4f}{clean:10.4f}{clean / noisy:7.1f}"
        f"{held:7.1f}{_cosine(gradients, directions):8.2f}",
        flush=True,
      )


def _draw(classifier, image, method) -> tuple[np.ndarray, np.ndarray]:
  """Gradient and direction of every draw, ``[draws, kept entries]``."""
  found = cawe.explain(classifier, image, method, key=jax.random.key(0))
  logits = classifier(jnp.asarray(image)[None])
  objective = method.bind(image.shape, logits.shape[1]).objective
  problem = objective_.make_problem(
    objective,
    jnp.asarray(image),
    logits[0],
    jnp.asarray(found.target),
    jax.random.key(1),
  )
  problems, masks = jax.tree.map(lambda x: jnp.asarray(x)[None], (problem, found.mask))

  @jax.jit
  def one(step, classifier, problems, masks):
    draws = Draws(step, jnp.int32(1), jnp.ones(1, bool))
    _, gradients = objective_.expected_distortion_and_gradients(
      objective, classifier, Tile(1, 1), problems, masks, draws
    )
    return [jnp.concatenate([x.ravel() for x in tree]) for tree in gradients]

  kept = np.concatenate([np.ravel(leaf) for leaf in found.mask]) > 0
  rows = [
    [np.asarray(x)[kept] for x in one(FIRST_STEP + i, classifier, problems, masks)]
    for i in range(NUM_DRAWS)
  ]
  gradients, directions = (np.stack(x) for x in zip(*rows, strict=True))
  return gradients, directions


def _ratio(samples: np.ndarray) -> float:
  """Unbiased energy of the mean over that of one sample's noise."""
  noise = np.sum(np.var(samples, 0, ddof=1))
  return float((np.sum(samples.mean(0) ** 2) - noise / len(samples)) / noise)


def _cosine(gradients: np.ndarray, directions: np.ndarray) -> float:
  """Between the means, of many random halves against the others."""
  rng = np.random.default_rng(0)
  products = np.zeros(3)
  for _ in range(40):
    order = rng.permutation(len(gradients))
    first, second = np.array_split(order, 2)
    g, h = gradients[first].mean(0), gradients[second].mean(0)
    d, e = directions[first].mean(0), directions[second].mean(0)
    products += [(g @ e + d @ h) / 2, g @ h, d @ e]
  cross, gradient, direction = products
  if gradient <= 0 or direction <= 0:  # drowned in noise
    return float("nan")
  return float(cross / np.sqrt(gradient * direction))


if __name__ == "__main__":
  main()
