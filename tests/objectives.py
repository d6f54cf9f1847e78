"""Small objectives, images and problems for the tests of the objective."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax import distortions, penalties, perturbations
from cawe_jax import objective as objective_
from cawe_jax.numerics.tiles import Draws, Tile
from cawe_jax.objective import Objective
from cawe_jax.representations import pixel
from cawe_jax.types import Instance, Masked

RNG = np.random.default_rng(0)
SHAPE = (21, 17, 3)
BATCH = 3
# Half of the pixels are saturated, so that the clip matters.
IMAGES = np.clip(RNG.normal(0.5, 0.6, (BATCH, *SHAPE)), 0, 1).astype(np.float32)
TARGETS = np.array([3, 0, 1], np.int32)  # the first is the predicted class
STEP, NUM_DRAWS = 3, 5
PIXEL = Objective(
  pixel()(SHAPE),
  perturbations.adaptive_gaussian(),
  distortions.kl,
  (penalties.total_variation,),
)


@jax.jit
def make_problems(objective, classifier, images, targets, keys):
  make = functools.partial(objective_.make_problem, objective)
  return jax.vmap(make)(images, classifier(images), targets, keys)


@functools.partial(jax.jit, static_argnums=1)
def evaluate(objective, tile, classifier, problems, masks, draws):
  estimate, gradients = objective_.expected_distortion_and_gradients(
    objective, classifier, tile, problems, masks, draws
  )
  return estimate, gradients.distortion


@jax.jit
def sample(objective, problem, mask):
  """The noise of the first draws, from the keys that the docstrings promise."""
  step_key = jax.random.fold_in(problem.key, STEP)
  kept = tuple(s * h for s, h in zip(mask, problem.coefficients, strict=True))

  masked = Masked(mask, kept, objective.representation)

  def one(index):
    return objective.perturbation.sample(
      jax.random.fold_in(step_key, index), problem.perturbation_state, masked
    )

  return jax.vmap(one)(jnp.arange(NUM_DRAWS))


def instance_of(image, bound, target=0):
  """An image of which a network of two classes has said something."""
  return Instance(image, np.zeros(2, np.float32), np.int32(target), bound)


def draws_of(count=NUM_DRAWS, active=(True,) * BATCH):
  return Draws(np.int32(STEP), np.int32(count), np.array(active))


def random_masks(objective, rng=RNG):
  shapes = objective.representation.mask_shapes
  return tuple(rng.random((BATCH, *shape)).astype(np.float32) for shape in shapes)


class Setting(NamedTuple):
  objective: Objective
  problems: objective_.Problem
  masks: tuple
  noise: list  # of each image, leaves [draws, ...]
  estimate: objective_.Estimate
  gradient: tuple


def make_setting(objective, classifier):
  problems = make_problems(
    objective, classifier, IMAGES, TARGETS, jax.random.split(jax.random.key(7), BATCH)
  )
  masks = random_masks(objective)
  noise = [
    sample(objective, *jax.tree.map(lambda x, b=b: x[b], (problems, masks)))
    for b in range(BATCH)
  ]
  result = evaluate(objective, Tile(1, 2), classifier, problems, masks, draws_of())
  return Setting(objective, problems, masks, noise, *result)
