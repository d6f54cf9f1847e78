"""Pooling against XLA's own and against PyTorch's definition of the cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax.classifiers import pooling

RNG = np.random.default_rng(0)


def native_max_pool(x, kernel_size, stride, padding):
  return jax.lax.reduce_window(
    x,
    -np.inf,
    jax.lax.max,
    (1, kernel_size, kernel_size, 1),
    (1, stride, stride, 1),
    ((0, 0), (padding, padding), (padding, padding), (0, 0)),
  )


@pytest.mark.parametrize("values", ["distinct", "tied", "negative"])
@pytest.mark.parametrize(
  ("kernel_size", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0)]
)
def test_max_pool_equals_the_native_one(kernel_size, stride, padding, values):
  x = RNG.normal(size=(2, 9, 7, 3))
  if values == "tied":
    x = np.round(x)  # so that most windows have several largest values
  if values == "negative":
    x = -1 - np.abs(x)  # so that padding with zeros would win
  x = jnp.asarray(x, jnp.float32)

  def value_and_gradient(pool):
    def total(x):
      y = pool(x, kernel_size, stride, padding)
      # Whole numbers: their sums are exact in any order.
      weight = jnp.arange(1.0, y.size + 1).reshape(y.shape)
      return jnp.sum(weight * y), y

    return jax.jit(jax.grad(total, has_aux=True))(x)

  actual, expected = map(value_and_gradient, (pooling.max_pool, native_max_pool))
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize("size", [(7, 7), (10, 5), (14, 7), (3, 20)])
def test_adaptive_average_pool(size):
  num_cells = 7
  x = RNG.normal(size=(2, *size, 3)).astype(np.float32)
  expected = np.empty((2, num_cells, num_cells, 3))
  for i, j in np.ndindex(num_cells, num_cells):
    rows, columns = (
      slice(int(np.floor(k * n / num_cells)), int(np.ceil((k + 1) * n / num_cells)))
      for k, n in zip((i, j), size, strict=True)
    )
    expected[:, i, j] = x[:, rows, columns].mean((1, 2), dtype=np.float64)
  actual = pooling.adaptive_average_pool(jnp.asarray(x), num_cells)
  # Means of at most 3 x 4 values of order 1: rounding in 32 bits.
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_the_map_that_was_trained_on_passes_unchanged():
  x = jnp.asarray(RNG.normal(size=(1, 7, 7, 2)), jnp.float32)
  np.testing.assert_array_equal(pooling.adaptive_average_pool(x, 7), x)
