"""Projected steps against NumPy; every image of a batch on its own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cawe_jax import solvers

pytestmark = pytest.mark.usefixtures("quick_compilation")

SHAPES = ((1, 2, 3, 1), (3, 2, 3, 1))
BATCH = 2


def random_masks(seed):
  rng = np.random.default_rng(seed)
  return tuple(rng.random((BATCH, *shape), np.float32) for shape in SHAPES)


# Outside the box, so that the projection matters.
GOAL = tuple(3 * leaf - 1 for leaf in random_masks(1))
STEP_SIZES = np.array([0.05, 0.3], np.float32)


NOTHING = tuple(np.zeros_like(leaf) for leaf in GOAL)


# Masks never return to an earlier one, which a random one would make them do.
UNGUARDED = solvers.aligned(brake=1.0, collapse=1.0)


def add(*trees):
  return tuple(sum(leaves) for leaves in zip(*trees, strict=True))


def oracle_for(goal, slope, noise):
  """Half the squared distance to the goal with noise in its gradient, and a rate."""

  def oracle(mask):
    change = tuple(s - g for s, g in zip(mask, goal, strict=True))
    values = sum(jnp.sum(leaf**2, (1, 2, 3, 4)) for leaf in change)
    penalty = sum(
      jnp.sum(t * s, (1, 2, 3, 4)) for t, s in zip(slope, mask, strict=True)
    )
    gradient = add(change, noise)
    return solvers.Evaluation(values / 2, gradient, gradient, penalty, slope, report=7)

  return oracle


def run(
  solver, mask, goal=GOAL, slope=NOTHING, step_sizes=STEP_SIZES, num_steps=5, noise=None
):
  """Step sizes ``[B]`` or ``[num_steps, B]``, noise with a leading axis of steps."""

  @jax.jit
  def step(state, goal, slope, noise, step_size):
    return solver.step(oracle_for(goal, slope, noise), state, step_size)

  nothing = jax.tree.map(np.zeros_like, mask)
  zero_value = oracle_for(goal, slope, nothing)(nothing).value
  state = jax.jit(solver.init)(mask, zero_value)
  step_sizes = np.broadcast_to(step_sizes, (num_steps, len(mask[0])))
  values = []
  for i in range(num_steps):
    drawn = nothing if noise is None else tuple(leaf[i] for leaf in noise)
    state, evaluation = step(state, goal, slope, drawn, step_sizes[i])
    assert evaluation.report == 7
    values.append(evaluation.value)
  return state, np.stack(values)


def test_projected_adam_equals_numpy():
  b1, b2, eps = 0.8, 0.95, 1e-3
  slope = tuple(leaf - 0.5 for leaf in random_masks(2))
  state, values = run(solvers.adam(b1, b2, eps), random_masks(0), slope=slope)
  hit_the_box = 0
  for leaf, start, goal, t in zip(
    state.mask, random_masks(0), GOAL, slope, strict=True
  ):
    s, m, v = start.astype(float), 0, 0
    for n in range(1, 6):
      g = s - goal + t
      m = b1 * m + (1 - b1) * g
      v = b2 * v + (1 - b2) * g**2
      update = (m / (1 - b1**n)) / (np.sqrt(v / (1 - b2**n)) + eps)
      s = np.clip(s - STEP_SIZES.reshape(2, 1, 1, 1, 1) * update, 0, 1)
    # Five steps of a dozen 32-bit operations.
    np.testing.assert_allclose(leaf, s, atol=1e-5)
    hit_the_box += np.sum((s == 0) | (s == 1))
  assert hit_the_box > 5
  expected = sum(
    np.sum((s - g) ** 2, (1, 2, 3, 4))
    for s, g in zip(random_masks(0), GOAL, strict=True)
  )
  np.testing.assert_allclose(values[0], expected / 2, rtol=1e-5)  # before the step


def test_projected_gradient_descent_finds_the_nearest_mask_in_the_box():
  state, _ = run(solvers.projected(optax.sgd(1.0)), random_masks(0), num_steps=60)
  for leaf, goal in zip(state.mask, GOAL, strict=True):
    # The slower image closes in by 0.95 a step: 0.95^60 = 0.05 of at most 2.
    np.testing.assert_allclose(leaf[0], np.clip(goal[0], 0, 1), atol=0.1)
    np.testing.assert_allclose(leaf[1], np.clip(goal[1], 0, 1), atol=1e-6)


@pytest.mark.parametrize(
  "solver",
  [solvers.adam(), solvers.projected(optax.sgd(1.0)), UNGUARDED],
  ids=lambda s: s.name.partition("(")[0],
)
def test_stays_in_the_box(solver):
  state, _ = run(solver, random_masks(0), step_sizes=np.full(2, 100, np.float32))
  for leaf in state.mask:
    assert np.all((np.asarray(leaf) >= 0) & (np.asarray(leaf) <= 1))
    assert {0, 1} <= set(np.ravel(leaf).tolist())


@pytest.mark.parametrize(
  "solver",
  [
    solvers.adam(),
    # A norm over a whole batch would couple its images.
    solvers.projected(optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(1.0))),
    solvers.aligned(),
  ],
  ids=["adam", "projected", "aligned"],
)
def test_images_in_a_batch_are_independent(solver):
  poisoned = tuple(leaf.copy() for leaf in GOAL)
  for leaf in poisoned:
    leaf[1] = np.nan
  healthy, _ = run(solver, random_masks(0))
  other, _ = run(solver, random_masks(0), poisoned)
  for a, b in zip(healthy.mask, other.mask, strict=True):
    np.testing.assert_array_equal(a[0], b[0])
  first = jax.tree.map(lambda x: x[:1], (random_masks(0), GOAL))
  alone, _ = run(solver, *first, jax.tree.map(lambda x: x[:1], NOTHING), STEP_SIZES[:1])
  for a, b in zip(healthy.mask, alone.mask, strict=True):
    # The same operations in programs of other shapes.
    np.testing.assert_allclose(a[:1], b, atol=1e-6)


# ---- Aligned ----


def decreasing(num_steps, first=0.2):
  return first * (1 - np.arange(num_steps)[:, None] / num_steps) * np.ones(BATCH)


def test_aligned_finds_the_minimiser_where_there_is_no_noise():
  slope = tuple(np.full_like(leaf, 0.3) for leaf in GOAL)
  steps = decreasing(300)
  state, _ = run(
    UNGUARDED, random_masks(0), slope=slope, step_sizes=steps, num_steps=300
  )
  inside = 0
  for leaf, goal in zip(state.mask, GOAL, strict=True):
    # (s - goal) + 0.3 = 0. An error of at least a few per cent is always assumed.
    np.testing.assert_allclose(leaf, np.clip(goal - 0.3, 0, 1), atol=0.03)
    inside += np.sum((goal > 0.3) & (goal < 1.3))
  assert inside > 10


def test_aligned_clears_what_is_only_noise_and_keeps_what_is_not():
  num_steps, slope = 300, 0.1
  rng = np.random.default_rng(3)
  noise = tuple(
    rng.normal(size=(num_steps, *leaf.shape)).astype(np.float32) for leaf in GOAL
  )

  def end(solver, signal):
    """The masks after steps on gradients ``signal + noise``, from one half."""

    @jax.jit
    def step(state, drawn, step_size):
      def oracle(mask):
        gradient = tuple(signal + leaf for leaf in drawn)
        slopes = jax.tree.map(lambda s: jnp.full_like(s, slope), mask)
        nothing = jax.tree.map(jnp.zeros_like, mask)
        zero = jnp.zeros(BATCH)
        return solvers.Evaluation(zero, gradient, nothing, zero, slopes)

      return solver.step(oracle, state, step_size)[0]

    halves = tuple(np.full_like(leaf, 0.5) for leaf in GOAL)
    state = solver.init(halves, jnp.ones(BATCH))
    for i, step_size in enumerate(decreasing(num_steps)):
      state = step(state, tuple(leaf[i] for leaf in noise), step_size)
    return np.concatenate([np.ravel(leaf) for leaf in state.mask])

  # Without noise the minimiser is 0 where the slope wins, 1 where the signal does.
  cleared, wandering = (
    end(solver, 0.0) for solver in (solvers.aligned(), solvers.adam())
  )
  assert cleared.mean() < 0.1
  assert wandering.mean() > 2 * cleared.mean()
  assert end(solvers.aligned(), -1.0).mean() > 0.95


# Half the entries have a direction of 1, the others 0, seen with noise in every step.
# Against a slope of 1/2 the best mask is the direction itself.
DIRECTION = np.array([1.0, 0.0], np.float32).repeat(200)


def seen_directions(rng, num_steps):
  return DIRECTION + rng.normal(size=(num_steps, 400)).astype(np.float32)


def error_with_gradients(gradients, directions, solver):
  """Mean distance to the best mask, from one half; both arrays are ``[N, 400]``."""
  return np.abs(end_with_gradients(gradients, directions, solver) - DIRECTION).mean()


def end_with_gradients(gradients, directions, solver):
  """The last mask, ``[400]``."""

  @jax.jit
  def step(state, gradient, direction, step_size):
    def oracle(mask):
      zero, slopes = jnp.zeros(1), (jnp.full((1, 400), 0.5),)
      return solvers.Evaluation(zero, (gradient,), (direction,), zero, slopes)

    return solver.step(oracle, state, step_size)[0]

  state = solver.init((np.full((1, 400), 0.5, np.float32),), jnp.ones(1))
  step_sizes = decreasing(len(gradients))[:, :1]
  for gradient, direction, size in zip(gradients, directions, step_sizes, strict=True):
    state = step(state, gradient[None], direction[None], size)
  return np.asarray(state.mask[0][0])


def test_aligned_reads_a_rare_gradient_off_its_direction():
  # One step in five does harm, as in a Monte-Carlo gradient of a distortion.
  num_steps = 150
  rng = np.random.default_rng(4)
  seen = seen_directions(rng, num_steps)
  harm = np.where(rng.random(num_steps) < 0.2, -8, 0).astype(np.float32)
  gradients = harm[:, None] * seen
  with_direction, without = (
    error_with_gradients(gradients, directions, solvers.aligned())
    for directions in (seen, np.zeros_like(seen))
  )
  # Without it, no entry has enough evidence and the rate clears the mask: 1/2.
  assert with_direction < 0.1
  assert without > 0.4


def test_aligned_moves_slowly_where_noise_exceeds_the_slope():
  # No direction is known; half of the entries have noise ten times the slope of 1/2.
  rng = np.random.default_rng(6)
  noise = 5 * rng.normal(size=(20, 400)).astype(np.float32) * DIRECTION
  mask = end_with_gradients(noise, np.zeros_like(noise), solvers.aligned())
  noisy, silent = mask[:200].mean(), mask[200:].mean()
  assert silent < 0.1
  # With a third of the error it is 0.13.
  assert noisy > 0.17


def test_aligned_does_not_follow_one_outlier():
  # One gradient in the middle is 300 times as long as any other: one sample of noise.
  num_steps = 150
  rng = np.random.default_rng(5)
  seen = seen_directions(rng, num_steps)
  gradients = -seen
  gradients[num_steps // 2] *= 300
  usual, following = (
    error_with_gradients(gradients, seen, solver)
    for solver in (solvers.aligned(), solvers.aligned(outlier=np.inf))
  )
  assert usual < 0.005
  assert following > 0.05


def test_aligned_shortens_also_what_an_outlier_is_beside_its_direction():
  # Two of them, of which the step's direction knows nothing, late in the run.
  num_steps, outliers = 80, [60, 61]
  rng = np.random.default_rng(5)
  seen, elsewhere = seen_directions(rng, num_steps), seen_directions(rng, num_steps)
  gradients, directions = -seen, seen.copy()
  gradients[outliers] *= 300
  directions[outliers] = elsewhere[outliers]
  # Shortened along the direction alone it is above 0.002.
  assert error_with_gradients(gradients, directions, solvers.aligned()) < 0.0015


@pytest.mark.parametrize(("guard", "recovers"), [(0.25, True), (1.0, False)])
def test_the_guard_leads_back_from_a_collapse(guard, recovers):
  # The loss is 1 - sigmoid(20 (mean - 1/2)): flat as soon as too much is lost, which
  # one step of 0.8 does. Against a rate of slope 1 the best is 20 p (1 - p) = 1.
  solver = solvers.aligned(brake=1.0, collapse=guard)

  @jax.jit
  def step(state, step_size):
    def loss(mask):
      mean = sum(jnp.sum(leaf) for leaf in mask) / 24
      return 1 - jax.nn.sigmoid(20 * (mean - 0.5))

    def oracle(mask):
      value, gradient = jax.vmap(jax.value_and_grad(loss))(mask)
      slope = jax.tree.map(lambda s: jnp.full_like(s, 1 / 24), mask)
      return solvers.Evaluation(value, gradient, gradient, value, slope)

    return solver.step(oracle, state, jnp.full(BATCH, step_size))

  state = solver.init(tuple(np.ones_like(leaf) for leaf in GOAL), jnp.ones(BATCH))
  values = []
  for step_size in [0.8] + 60 * [0.1]:
    state, evaluation = step(state, step_size)
    values.append(evaluation.value)
  assert np.max(values) > 0.9  # it did collapse
  kept = np.mean([leaf.mean() for leaf in state.mask])
  if recovers:
    assert kept > 0.4
    assert np.mean(values[-20:]) < 0.25
  else:
    assert kept < 0.1


def test_aligned_does_not_see_how_a_mask_is_cut_into_leaves():
  solver = solvers.aligned()
  rng = np.random.default_rng(8)

  def end(cut):
    """Forty noisy steps on masks of 24 entries, in leaves as ``cut`` makes them."""

    def oracle(noise, mask):
      flat = jnp.concatenate([leaf.reshape(BATCH, -1) for leaf in mask], 1)
      change = flat - joined
      return solvers.Evaluation(
        jnp.sum(change**2, 1) / 2,
        cut(change * noise),
        cut(change),
        jnp.zeros(BATCH),
        cut(jnp.full_like(change, 0.01)),
      )

    state = solver.init(cut(jnp.ones_like(joined)), jnp.full(BATCH, 1e3))
    for noise in noises:
      state, _ = solver.step(lambda m, n=noise: oracle(n, m), state, STEP_SIZES)
    return state

  joined = np.concatenate([leaf.reshape(BATCH, -1) for leaf in random_masks(4)], 1)
  noises = rng.lognormal(0, 1, (40, *joined.shape)).astype(np.float32)
  whole = end(lambda flat: (flat.reshape(BATCH, 1, 24, 1),))
  parts = end(
    lambda flat: (flat[:, :5].reshape(BATCH, 5), flat[:, 5:].reshape(BATCH, 19, 1))
  )
  assert [leaf.shape for leaf in parts.mask] == [(BATCH, 5), (BATCH, 19, 1)]
  together = np.concatenate([leaf.reshape(BATCH, -1) for leaf in parts.mask], 1)
  assert np.mean((together > 0) & (together < 1)) > 0.1
  np.testing.assert_array_equal(together, whole.mask[0].reshape(BATCH, -1))
  # XLA computes several entries at once only in rows of even length.
  assert whole.memory.direction.mean.shape[-1] % 16 == 0


def test_names_tell_the_settings():
  assert solvers.adam(b2=0.9).name == "adam(b1=0.9, b2=0.9, eps=1e-08)"
  assert solvers.projected(optax.sgd(1.0), "sgd").name == "sgd"
  assert "caution=2.5" in solvers.aligned(caution=2.5).name
