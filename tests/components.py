"""How the tests of contracts use each kind of component: data, and one run on it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from objectives import instance_of

from cawe_jax import (
  solvers,
)
from cawe_jax.representations import pixel, wavelet
from cawe_jax.types import Masked

SHAPES = [(17, 22, 3), (16, 16, 1)]
# What a name cannot do without.
GIVEN = {"constant": ":0.5", "scaled-gaussian": ":1,0.5"}
NUM_CLASSES = 4


class Row(NamedTuple):
  make: Callable
  run: Callable
  data: Callable


def representation(shape):
  return wavelet("haar", levels=1)(shape)


def random_mask(rng, bound):
  return tuple(rng.random(shape, np.float32) for shape in bound.mask_shapes)


def data_of_distortion(rng, shape):
  x, y = rng.normal(size=(2, NUM_CLASSES)).astype(np.float32)
  return {"floats": (x, y), "target": np.int32(2)}


def run_distortion(component, data, shape):
  return component(*data["floats"], data["target"])


def data_of_penalty(rng, shape):
  bound = pixel()(shape)
  return {"floats": (random_mask(rng, bound), rng.random((*shape[:2], 1), np.float32))}


def run_penalty(component, data, shape):
  return component(*data["floats"])


def run_hard_rate(component, data, shape):
  return component(data["floats"][0])


def data_of_representation(rng, shape):
  return {"floats": rng.random(shape, np.float32)}


def run_representation(component, data, shape):
  bound = component(shape)
  coefficients = bound.analysis(data["floats"])
  return coefficients, bound.synthesis(coefficients)


def data_of_perturbation(rng, shape):
  mask = random_mask(rng, representation(shape))
  return {"floats": (rng.random(shape, np.float32), mask), "key": new_key(rng)}


def run_perturbation(component, data, shape):
  bound = representation(shape)
  image, mask = data["floats"]
  kept = tuple(s * h for s, h in zip(mask, bound.analysis(image), strict=True))
  state = component.init(instance_of(image, bound))
  return component.sample(data["key"], state, Masked(mask, kept, bound))


def run_statistics(component, data, shape):
  return component(representation(shape).analysis(data["floats"]))


def run_blur(component, data, shape):
  return component(data["floats"], 2.0)


def data_of_initial_mask(rng, shape):
  return {"floats": rng.random(shape, np.float32), "key": new_key(rng)}


def run_initial_mask(component, data, shape):
  return component.make(data["key"], instance_of(data["floats"], representation(shape)))


def run_uniform(component, data, shape):
  return component(data["key"], representation(shape))


def data_of_schedule(rng, shape):
  return {"floats": tuple(rng.random(3, np.float32))}


def run_schedule(component, data, shape):
  progress, final, full = data["floats"]
  return component.multiplier(progress, final), component.step_size(progress, full)


def data_of_stopping(rng, shape):
  return {"floats": tuple(rng.random(2, np.float32))}


def run_stopping(component, data, shape):
  return component.update(component.init(), *data["floats"])[1]


def data_of_solver(rng, shape):
  bound = representation(shape)
  mask, target = random_mask(rng, bound), random_mask(rng, bound)
  return {"floats": (mask, target, np.float32(0.1))}


def run_solver(component, data, shape):
  mask, target, step_size = jax.tree.map(lambda x: x[None], data["floats"])

  def oracle(mask):
    change = tuple(s - t for s, t in zip(mask, target, strict=True))
    value = sum(jnp.sum(leaf**2, (1, 2, 3, 4)) for leaf in change)
    nothing = jax.tree.map(jnp.zeros_like, change)
    return solvers.Evaluation(value / 2, change, change, jnp.zeros_like(value), nothing)

  state = component.init(mask)
  state, evaluation = component.step(oracle, state, step_size)
  return jax.tree.map(lambda x: x[0], (state.mask, evaluation.value))


def run_project(component, data, shape):
  return component(data["floats"][0])


def run_per_image(component, data, shape):
  values = data["floats"][0][0][0, 0, :, 0]
  return component(values, jnp.zeros((values.shape[0], 2, 3)))


def grey_inpainter(visible, known):
  return visible + (1 - known) / 2


def new_key(rng):
  return jax.random.key(int(rng.integers(2**31)))


def given(function):
  return lambda: function


def distortion(make):
  return Row(make, run_distortion, data_of_distortion)


def penalty(make, run=run_penalty):
  return Row(make, run, data_of_penalty)


def perturbation(make):
  return Row(make, run_perturbation, data_of_perturbation)


def initial_mask(make):
  return Row(make, run_initial_mask, data_of_initial_mask)


def representation_row(make):
  return Row(make, run_representation, data_of_representation)


def schedule(make):
  return Row(make, run_schedule, data_of_schedule)


def solver(make, run=run_solver):
  return Row(make, run, data_of_solver)
