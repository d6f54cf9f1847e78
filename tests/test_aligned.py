"""The `aligned` solver on gradients that are made, with noise that is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from solving import BATCH, GOAL, STEP_SIZES, UNGUARDED, random_masks, run

from cawe_jax import solvers
from cawe_jax.solvers.direction import shorten_outliers


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
    state = solver.init(halves)
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
  """The last mask, ``[400]``, beside a hundred times as many entries that are zero."""
  rest = np.zeros((1, 40_000), np.float32)

  @jax.jit
  def step(state, gradient, direction, step_size):
    def oracle(mask):
      zero, slopes = jnp.zeros(1), (jnp.full((1, 400), 0.5), rest + 0.5)
      seen = (gradient, rest), (direction, rest)
      return solvers.Evaluation(zero, *seen, zero, slopes)

    return solver.step(oracle, state, step_size)[0]

  state = solver.init((np.full((1, 400), 0.5, np.float32), rest))
  step_sizes = decreasing(len(gradients))[:, :1]
  for gradient, direction, size in zip(gradients, directions, step_sizes, strict=True):
    state = step(state, gradient[None], direction[None], size)
  return np.asarray(state.mask[0][0])


def test_aligned_reads_a_noisy_gradient_off_its_direction():
  # Half of the steps do harm, seen through noise of twice the direction.
  num_steps = 150
  rng = np.random.default_rng(4)
  seen = DIRECTION + 2 * rng.normal(size=(num_steps, 400)).astype(np.float32)
  harm = np.where(rng.random(num_steps) < 0.5, -3, 0).astype(np.float32)
  gradients = harm[:, None] * seen
  with_direction, without = (
    error_with_gradients(gradients, directions, solvers.aligned())
    for directions in (seen, np.zeros_like(seen))
  )
  # Without it, too few entries have enough evidence and the rate clears them: 1/2.
  assert with_direction < 0.1
  assert without > 0.3


def test_aligned_moves_slowly_where_noise_exceeds_the_slope():
  # No direction is known; half of the entries have noise ten times the slope of 1/2.
  rng = np.random.default_rng(6)
  noise = 5 * rng.normal(size=(20, 400)).astype(np.float32) * DIRECTION
  mask = end_with_gradients(noise, np.zeros_like(noise), solvers.aligned())
  noisy, silent = mask[:200].mean(), mask[200:].mean()
  assert silent < 0.1
  # With a third of the error it is 0.13.
  assert noisy > 0.17


def factor_of(gradients, directions, solver):
  """Mean and spread of the factor after ``[N, 400]`` of each, at a mask of ones."""

  @jax.jit
  def step(state, gradient, direction):
    def oracle(mask):
      zero, nothing = jnp.zeros(1), (jnp.zeros((1, 400)),)
      return solvers.Evaluation(zero, (gradient,), (direction,), zero, nothing)

    return solver.step(oracle, state, jnp.zeros(1))[0]

  state = solver.init((np.ones((1, 400), np.float32),))
  for gradient, direction in zip(gradients, directions, strict=True):
    state = step(state, gradient[None], direction[None])
  (model,) = (x for x in state.memory if hasattr(x, "factor"))
  mean, square = float(model.factor.y[0]), float(model.factor.yy[0])
  return mean, (square - mean**2) ** 0.5


def test_the_factor_is_read_off_earlier_directions():
  # What is noise in a direction is in its gradient too, with the other sign: with the
  # step's own direction in the product, the noise would count with itself.
  rng = np.random.default_rng(11)
  noise = 3 * rng.normal(size=(200, 400)).astype(np.float32)
  true = -2
  mean, spread = factor_of(
    true * DIRECTION + 4 * noise, DIRECTION + noise, solvers.aligned(outlier=1e9)
  )
  # A mean of some twenty steps; the noise with itself would make it positive.
  assert abs(mean - true) < 3 * spread / 19**0.5
  assert mean < 0


def test_the_factor_is_read_off_entries_whose_direction_is_known():
  rng = np.random.default_rng(12)
  known = np.where(np.arange(400) < 8, 1.0, 0.0).astype(np.float32)
  seen, other = known + rng.normal(size=(2, 200, 400)).astype(np.float32)
  of_known_entries, of_all = (
    factor_of(-other, seen, solvers.aligned(caution=caution))[1] for caution in (2, 0)
  )
  # Of the directions' noise 1/19 is remembered. 8 entries with and 392 without a
  # direction: sqrt(8) and sqrt(392 / 19) beside the 8 of the direction itself.
  assert of_known_entries < 0.8 * of_all


def test_entries_fall_slowly_after_a_larger_value_than_usual_and_rise_as_ever():
  slope = np.array([[1.0, 1.0, -1.0, -1.0]], np.float32)

  def moved(values):
    """By the last of as many steps, all from one half; no gradient vanishes."""
    solver, halves = solvers.aligned(), (jnp.full((1, 4), 0.5),)

    @jax.jit
    def step(state, value):
      def oracle(mask):
        nothing = (jnp.zeros((1, 4)),)
        gradient = (jnp.full((1, 4), -0.5),)
        noise = jnp.full(1, value)
        return solvers.Evaluation(noise, gradient, nothing, jnp.zeros(1), (slope,))

      return solver.step(oracle, state._replace(mask=halves), jnp.full(1, 0.1))[0]

    state = solver.init(halves)
    for value in values:
      state = step(state, value)
    return state.mask[0][0] - 0.5

  same, accident = 100 * [0.5], 99 * [0.5] + [4.5]
  steady, waiting = moved([*same, 0.5]), moved([*accident, 0.5])
  # Means of half the last value and of 0.97 of what was before: 0.95 of 0.5 after a
  # hundred steps that began at zero, and 2.5 against 0.6.
  assert np.all(steady[:2] < 0)
  usual = 0.5 * (1 - 0.97**100)
  braked = (usual + 0.03 * 4) / 2.5
  free = steady[:2] / (usual / 0.5)
  # The penalties weigh 2; half of that beside 2.5.
  np.testing.assert_allclose(waiting[:2], free * braked * 0.4, rtol=1e-3)
  np.testing.assert_allclose(waiting[2:], steady[2:], rtol=1e-6)


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
  assert usual < 0.01
  assert following > 0.05


def test_harm_that_few_steps_do_counts_in_full():
  # One step in five, so that its gradient is five times as long as on average; mean 1
  # against a slope of 1/2. Shortened to twice the average and no more it is 0.4, and
  # every mask loses everything: an error of 1/2.
  num_steps = 200
  seen = seen_directions(np.random.default_rng(5), num_steps)
  harm = np.where(np.arange(num_steps) % 5 == 2, -5, 0).astype(np.float32)
  assert error_with_gradients(harm[:, None] * seen, seen, solvers.aligned()) < 0.03


@pytest.mark.parametrize(
  ("sizes", "tolerance"),
  [
    (np.where(np.arange(300) % 5 == 2, 5.0, 0.0), 1e-3),
    # What is given back is a ratio of means that remember twenty steps, which need not
    # add up to the one outlier to the last per cent.
    (np.where(np.arange(300) == 150, 300.0, 1.0), 0.05),
  ],
)
def test_an_outlier_is_spread_over_the_steps_that_follow(sizes, tolerance):
  shorten = shorten_outliers()
  update = jax.jit(
    lambda gradient, state: shorten.update(
      gradient, state, jnp.ones(2), direction=jnp.array([1.0, 0.0])
    )
  )
  state, found = shorten.init(jnp.ones(2)), []
  for size in sizes:
    # The second entry is what the direction knows nothing of.
    gradient, state = update(jnp.array([-size, size / 2]), state)
    found.append(np.asarray(gradient))
  along, beside = np.stack(found)[100:].T
  np.testing.assert_allclose(along.sum(), -sizes[100:].sum(), rtol=tolerance)
  np.testing.assert_allclose(beside, -along / 2, rtol=1e-6)
  if sizes.max() > 5:
    assert np.abs(along).max() < sizes.max() / 5


@pytest.mark.parametrize(("guard", "recovers"), [(0.33, True), (0.0, False)])
def test_the_guard_leads_back_from_a_collapse(guard, recovers):
  # The loss is -sigmoid(20 (mean - 1/2)): flat as soon as too much is lost, which
  # one step of 0.8 does. Against a rate of slope 1 the best is 20 p (1 - p) = 1.
  solver = solvers.aligned(vanished=guard)

  @jax.jit
  def step(state, step_size):
    def loss(mask):
      mean = sum(jnp.sum(leaf) for leaf in mask) / 24
      return jax.nn.sigmoid(10.0) - jax.nn.sigmoid(20 * (mean - 0.5))

    def oracle(mask):
      value, gradient = jax.vmap(jax.value_and_grad(loss))(mask)
      slope = jax.tree.map(lambda s: jnp.full_like(s, 1 / 24), mask)
      return solvers.Evaluation(value, gradient, gradient, value, slope)

    return solver.step(oracle, state, jnp.full(BATCH, step_size))

  state = solver.init(tuple(np.ones_like(leaf) for leaf in GOAL))
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
    assert kept < 0.2


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

    @jax.jit
    def step(state, noise):
      return solver.step(lambda mask: oracle(noise, mask), state, STEP_SIZES)[0]

    state = solver.init(cut(jnp.ones_like(joined)))
    for noise in noises:
      state = step(state, noise)
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
  # Two programs round differently, forty times over.
  np.testing.assert_allclose(together, whole.mask[0].reshape(BATCH, -1), atol=2e-5)
  # XLA computes several entries at once only in rows of even length.
  (model,) = (x for x in whole.memory if hasattr(x, "factor"))
  assert model.directions.moments.mean.shape[-1] % 16 == 0


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("decay", 1.0),
    ("decay", 0.0),
    ("caution", -0.1),
    ("residual_caution", float("nan")),
    ("floor", -1.0),
    ("outlier", 1.0),
    ("vanished", -0.1),
    ("vanished", 0.5),
  ],
)
def test_numbers_out_of_range_are_refused(name, value):
  with pytest.raises(ValueError, match=f"^{name} is {value}; it must be"):
    solvers.aligned(**{name: value})


@pytest.mark.parametrize("value", [0.0, -5.0, 1e-8])
def test_nothing_is_braked_where_nothing_is_lost(value):
  solver, mask = solvers.aligned(), random_masks(0)
  nothing = jax.tree.map(np.zeros_like, mask)
  slope = jax.tree.map(np.ones_like, mask)

  def oracle(masks):
    values = np.full(BATCH, value, np.float32)
    return solvers.Evaluation(values, nothing, nothing, values, slope)

  step = jax.jit(lambda state: solver.step(oracle, state, jnp.full(BATCH, 0.2))[0])
  state = solver.init(mask)
  for _ in range(60):
    state = step(state)
  assert max(leaf.max() for leaf in state.mask) < 0.1
