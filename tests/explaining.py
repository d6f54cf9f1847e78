"""A small network, images and methods for the tests of `explain`."""

import contextlib

import jax
import numpy as np
import optax

from cawe_jax import cartoonx, initial_masks, schedules, solvers, stopping
from cawe_jax.recipes import Recipe
from cawe_jax.representations import wavelet

RNG = np.random.default_rng(0)
SHAPE = (17, 20, 3)
IMAGES = np.clip(RNG.normal(0.5, 0.3, (3, *SHAPE)), 0, 1).astype(np.float32)
KEY = jax.random.key(0)
ADAM = Recipe(
  "test",
  initial_masks.ones(),
  solvers.adam(),
  schedules.constant(),
  stopping.never(),
  step_size=0.1,
  num_steps=13,
  num_draws=2,
)
# Plain steps, which pass rounding on and hardly amplify it; the multiplier alone moves
# a mask of 1110 entries by 0.0005 a step, the distortion some by 0.05. It is so
# small that keeping most of the image is better than keeping nothing.
SGD = ADAM._replace(solver=solvers.projected(optax.sgd(1.0)), step_size=5.0)
HAAR = wavelet("haar", levels=2)
MULTIPLIER = 0.1


def method(multiplier=MULTIPLIER, recipe=SGD, **options):
  return cartoonx(multiplier, representation=HAAR, recipe=recipe, **options)


@contextlib.contextmanager
def compiled():
  """The names of the programs that are compiled inside, in that order."""
  names = []

  def listen(event, duration, **details):
    if event == "/jax/core/compile/backend_compile_duration":
      names.append(details["fun_name"].removeprefix("jit(").removesuffix(")"))

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    yield names
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)


def flat(mask):
  return np.concatenate([np.ravel(leaf) for leaf in mask])
