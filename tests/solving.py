"""An objective with a known minimiser for solvers, and a run on it."""

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax import solvers

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
UNGUARDED = solvers.aligned(vanished=0.0)


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
  state = jax.jit(solver.init)(mask)
  step_sizes = np.broadcast_to(step_sizes, (num_steps, len(mask[0])))
  values = []
  for i in range(num_steps):
    drawn = nothing if noise is None else tuple(leaf[i] for leaf in noise)
    state, evaluation = step(state, goal, slope, drawn, step_sizes[i])
    assert evaluation.report == 7
    values.append(evaluation.value)
  return state, np.stack(values)
