"""What every component keeps, whoever wrote it: one table, the same tests for all.

A part that has a name is in it by its row in ``cawe_jax.methods.names``; any other
component is one row here. ``make`` makes it, ``run`` uses it on data (a pytree of
arrays, of which ``data`` draws one for an image shape), so that the tests can compile,
batch and differentiate it without knowing what it is.
"""

import functools
import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from components import (
  GIVEN,
  SHAPES,
  Row,
  data_of_initial_mask,
  data_of_representation,
  data_of_stopping,
  distortion,
  given,
  grey_inpainter,
  initial_mask,
  penalty,
  perturbation,
  representation_row,
  run_blur,
  run_hard_rate,
  run_per_image,
  run_project,
  run_statistics,
  run_stopping,
  run_uniform,
  schedule,
  solver,
)

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
from cawe_jax.methods import names
from cawe_jax.part import Part, as_part
from cawe_jax.representations import wavelet

SGD = optax.sgd(1.0)


def named(kind, table, row):
  """Rows of all parts that have a name, as text makes them."""

  def made(text):
    return lambda: names.parse(kind, table, text)

  return {
    name.replace("-", "_"): row(made(name + GIVEN.get(name, ""))) for name in table
  }


# What stands beside `named` has other settings than by default, or no name.
TABLE = {
  distortions: {
    **{
      name.replace("-", "_"): distortion(given(row.make))
      for name, row in names.DISTORTIONS.items()
    },
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
    **named("perturbation", names.PERTURBATIONS, perturbation),
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
    **named("representation", names.REPRESENTATIONS, representation_row),
    "wavelet": representation_row(
      lambda: wavelet("db2", levels=1, mode="symmetric"),
    ),
  },
  initial_masks: {
    **named("initial mask", names.INITIAL_MASKS, initial_mask),
    "uniform": Row(given(initial_masks.uniform), run_uniform, data_of_initial_mask),
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
  missing = public_functions(module) - TABLE[module].keys()
  assert not missing, f"TABLE above, or a table of names, lacks {sorted(missing)}"


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


# Other keys must give other masks; of perturbations each says so itself.
DRAWN = ("initial_masks.random", "initial_masks.uniform")
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
    depends = check_keys(results[0], other)
    if name.startswith("perturbations."):
      assert row.make().is_random == depends
    assert depends or name not in DRAWN

  if shape == SHAPES[0]:  # another shape would compile all of it again
    component = row.make()
    assert_close(results[0], row.run(component, data[0], shape))
    together = jax.jit(jax.vmap(lambda one: row.run(component, one, shape)))
    assert_close(together(batched(data)), batched(results))


@pytest.mark.parametrize("name", ["adam", "aligned", "projected"])
def test_a_solver_hands_on_what_the_oracle_said_of_the_masks_before(name):
  part = TABLE[solvers][name].make()
  masks = (jnp.full((2, 1, 3, 3, 1), 0.5), jnp.full((2, 3, 2, 2, 1), 0.25))
  asked = []

  def oracle(masks):
    asked.append(masks)
    value = jnp.float32([len(asked), 2])
    slopes = jax.tree.map(lambda leaf: leaf + len(asked), masks)
    return solvers.Evaluation(value, slopes, slopes, value, slopes, report="said")

  _, evaluation = part.step(oracle, part.init(masks), jnp.float32([0.1, 0.1]))
  jax.tree.map(np.testing.assert_array_equal, asked[0], masks)
  expected = jax.tree.map(lambda leaf: leaf + 1, masks)
  jax.tree.map(np.testing.assert_array_equal, evaluation.gradient, expected)
  assert evaluation.report == "said"


def check_keys(first, second):
  """Whether results of two keys differ; then they are independent."""
  pairs = [(np.ravel(a), np.ravel(b)) for a, b in zip(first, second, strict=True)]
  if all(np.array_equal(a, b) for a, b in pairs):
    return False
  for a, b in pairs:
    # The correlation of n independent pairs has standard error 1 / sqrt(n).
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / len(a) ** 0.5
    assert len(np.intersect1d(a, b)) < len(a) / 10
  return True


def test_components_made_from_other_arguments_differ():
  assert wavelet("db2", levels=2) != wavelet("db2", levels=3)
  assert wavelet() == wavelet(mode="zero")
  assert perturbations.constant(0.0) != perturbations.constant(1.0)
  assert initial_masks.ones() != initial_masks.zeros()
  assert solvers.adam() != solvers.adam(b2=0.9)
