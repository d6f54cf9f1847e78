"""What every component keeps, whoever wrote it: one table, the same tests for all.

A new component is one row here. ``make`` makes it, ``run`` uses it on data (a pytree of
arrays, of which ``data`` draws one for an image shape), so that the tests can compile,
batch and differentiate it without knowing what it is.
"""

import functools
import inspect
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from objectives import instance_of

from cawe_jax import (
  distortions,
  initial_masks,
  penalties,
  perturbations,
  representations,
  schedules,
  solvers,
  stopping,
)
from cawe_jax.part import Part, as_part
from cawe_jax.representations import pixel, wavelet
from cawe_jax.types import Masked

SHAPES = [(17, 22, 3), (16, 16, 1)]
NUM_CLASSES = 4


class Row(NamedTuple):
  make: Callable
  run: Callable
  data: Callable
  # Whether another key gives another result.
  is_random: bool = False


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


def perturbation(make, is_random=False):
  return Row(make, run_perturbation, data_of_perturbation, is_random)


def initial_mask(make, is_random=False):
  return Row(make, run_initial_mask, data_of_initial_mask, is_random)


def schedule(make):
  return Row(make, run_schedule, data_of_schedule)


def solver(make, run=run_solver):
  return Row(make, run, data_of_solver)


SGD = optax.sgd(1.0)
TABLE = {
  distortions: {
    "label_squared_error": distortion(given(distortions.label_squared_error)),
    "automatic": distortion(given(distortions.automatic)),
    "maximise_label": distortion(given(distortions.maximise_label)),
    "maximise_probability": distortion(given(distortions.maximise_probability)),
    "l2": distortion(given(distortions.l2)),
    "squared_l2": distortion(given(distortions.squared_l2)),
    "kl": distortion(given(distortions.kl)),
    "reverse_kl": distortion(given(distortions.reverse_kl)),
    "logit_l2": distortion(given(distortions.logit_l2)),
    "class_weighted_l2": distortion(
      lambda: distortions.class_weighted_l2((1.0, 0.0, 2.0, 1.0))
    ),
  },
  penalties: {
    "rate": penalty(given(penalties.rate)),
    "hard_rate": penalty(given(penalties.hard_rate), run_hard_rate),
    "spatial_l1": penalty(given(penalties.spatial_l1)),
    "spatial_l2": penalty(given(penalties.spatial_l2)),
    "total_variation": penalty(given(penalties.total_variation)),
  },
  perturbations: {
    "adaptive_gaussian": perturbation(perturbations.adaptive_gaussian, is_random=True),
    "adaptive_uniform": perturbation(perturbations.adaptive_uniform, is_random=True),
    "scaled_gaussian": perturbation(
      lambda: perturbations.scaled_gaussian((1.0, 0.5)), is_random=True
    ),
    "standard_normal": perturbation(perturbations.standard_normal, is_random=True),
    "zeros": perturbation(perturbations.zeros),
    "constant": perturbation(lambda: perturbations.constant(0.25)),
    "mean": perturbation(perturbations.mean),
    "blur": perturbation(lambda: perturbations.blur(3.0)),
    "infill": perturbation(lambda: perturbations.infill(grey_inpainter)),
    "statistics": Row(
      given(perturbations.statistics), run_statistics, data_of_representation
    ),
    "gaussian_blur": Row(
      given(perturbations.gaussian_blur), run_blur, data_of_representation
    ),
  },
  representations: {
    "pixel": Row(pixel, run_representation, data_of_representation),
    "wavelet": Row(
      lambda: wavelet("db2", levels=1, mode="symmetric"),
      run_representation,
      data_of_representation,
    ),
  },
  initial_masks: {
    "constant": initial_mask(lambda: initial_masks.constant(0.5)),
    "ones": initial_mask(initial_masks.ones),
    "zeros": initial_mask(initial_masks.zeros),
    "random": initial_mask(initial_masks.random, is_random=True),
    "uniform": Row(
      given(initial_masks.uniform), run_uniform, data_of_initial_mask, True
    ),
  },
  schedules: {
    "constant": schedule(schedules.constant),
    "linear_decay": schedule(schedules.linear_decay),
    "continuation": schedule(schedules.continuation),
  },
  stopping: {
    "never": Row(stopping.never, run_stopping, data_of_stopping),
    "plateau": Row(
      lambda: stopping.plateau(0.2, tolerance=0.1), run_stopping, data_of_stopping
    ),
  },
  solvers: {
    "adam": solver(lambda: solvers.adam(b2=0.9)),
    "aligned": solver(lambda: solvers.aligned(vanished=0.4)),
    "projected": solver(lambda: solvers.projected(SGD)),
    "project": solver(given(solvers.project), run_project),
    "per_image": solver(given(solvers.per_image), run_per_image),
  },
}
ROWS = {
  f"{module.__name__.rpartition('.')[2]}.{name}": row
  for module, rows in TABLE.items()
  for name, row in rows.items()
}


def is_component(value):
  """A function, or a part that is used as one: its class is in small letters."""
  is_part = inspect.isclass(value) and issubclass(value, Part)
  return inspect.isfunction(value) or (is_part and value.__name__.islower())


def public_functions(module):
  # A package's functions live in its modules.
  return {
    name
    for name, value in vars(module).items()
    if is_component(value)
    and value.__module__.startswith(module.__name__)
    and not name.startswith("_")
  }


@pytest.mark.parametrize("module", TABLE, ids=lambda m: m.__name__)
def test_the_table_is_complete(module):
  assert public_functions(module) == TABLE[module].keys()


@pytest.mark.parametrize("name", [n for n in ROWS if "class_weighted" not in n])
def test_equal_settings_make_equal_parts(name):
  make = ROWS[name].make
  assert make() == make()
  if name.startswith("representations."):
    assert make()((16, 16, 1)) == make()((16, 16, 1))
  assert hash(make()) == hash(make())


def assert_close(actual, expected):
  # Tens of operations with relative error 6e-8 on numbers of order 1.
  check = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
  jax.tree.map(check, actual, expected)


def batched(data):
  return jax.tree.map(lambda *xs: jnp.stack(xs), *data)


# What knows no image is tested with one shape.
SHAPELESS = ("distortions.", "schedules.", "stopping.", "solvers.per_image")
CASES = [
  (name, shape)
  for name in ROWS
  for shape in (SHAPES[:1] if name.startswith(SHAPELESS) else SHAPES)
]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_contract(name, shape):
  row = ROWS[name]
  rng = np.random.default_rng(0)
  data = [row.data(rng, shape) for _ in range(2)]
  num_traces = 0

  @jax.jit
  def compiled(component, data):
    """The result and the gradient of its sum, in one program."""
    nonlocal num_traces
    num_traces += 1

    def total(floats):
      result = row.run(component, data | {"floats": floats}, shape)
      leaves = jax.tree.leaves(result)
      return sum(jnp.sum(leaf.astype(jnp.float32)) for leaf in leaves), result

    gradient, result = jax.grad(total, has_aux=True)(data["floats"])
    return result, gradient

  # What is a function is its own structure; a part is an argument of the program.
  parts = [as_part(row.make()) for _ in data]
  pairs = zip(parts, data, strict=True)
  results, gradients = zip(*itertools.starmap(compiled, pairs), strict=True)
  assert num_traces == 1, "a second call with equal structure traced again"

  for leaf in jax.tree.leaves(results):
    assert leaf.dtype in (jnp.float32, jnp.bool_)
    assert not leaf.weak_type
    assert np.isfinite(leaf).all()
  for leaf in jax.tree.leaves(gradients):
    assert leaf.dtype == jnp.float32
    assert np.isfinite(leaf).all()

  if "key" in data[0]:
    other, _ = compiled(parts[0], data[0] | {"key": data[1]["key"]})
    check_keys(row, results[0], other)
    if name.startswith("perturbations."):
      assert row.make().is_random == row.is_random

  if shape == SHAPES[0]:  # another shape would compile all of it again
    component = row.make()
    assert_close(results[0], row.run(component, data[0], shape))
    together = jax.jit(jax.vmap(lambda one: row.run(component, one, shape)))
    assert_close(together(batched(data)), batched(results))


def check_keys(row, first, second):
  if not row.is_random:
    jax.tree.map(np.testing.assert_array_equal, first, second)
    return
  for a, b in zip(first, second, strict=True):
    a, b = np.ravel(a), np.ravel(b)
    # The correlation of n independent pairs has standard error 1 / sqrt(n).
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / len(a) ** 0.5
    assert len(np.intersect1d(a, b)) < len(a) / 10


def test_components_made_from_other_arguments_differ():
  assert wavelet("db2", levels=2) != wavelet("db2", levels=3)
  assert wavelet() == wavelet(mode="zero")
  assert perturbations.constant(0.0) != perturbations.constant(1.0)
  assert initial_masks.ones() != initial_masks.zeros()
  assert solvers.adam() != solvers.adam(b2=0.9)
