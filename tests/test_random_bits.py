"""That the bits are threefry's, and the numbers JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax import perturbations
from cawe_jax.numerics.random_bits import threefry_2x32, unrolled
from cawe_jax.types import Masked

KEY = jax.random.key(3)

# Published with the algorithm: kat_vectors of Random123, "threefry2x32 20".
KNOWN_ANSWERS = [
  ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
  ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
  ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers(counter, key, answer):
  found = threefry_2x32(jnp.array(key, jnp.uint32), *map(jnp.uint32, counter))
  assert tuple(map(int, found)) == answer


@pytest.mark.parametrize("shape", [(), (7,), (16, 48)])
@pytest.mark.parametrize(
  "draw",
  [
    jax.random.bits,
    jax.random.normal,
    jax.random.uniform,
    lambda key, shape: jax.random.bits(key, shape, jnp.uint8),
    lambda key, shape: jax.random.normal(jax.random.fold_in(key, 5), shape),
    lambda key, shape: jax.random.normal(jax.random.split(key)[1], shape),
    lambda key, shape: jax.vmap(lambda key: jax.random.normal(key, shape))(
      jax.random.split(key, 3)
    ),
  ],
)
def test_the_numbers_are_jaxs(draw, shape):
  np.testing.assert_array_equal(draw(unrolled(KEY), shape), draw(KEY, shape))


def test_keys_of_other_generators_are_left_alone():
  other = jax.random.key(0, impl="rbg")
  assert unrolled(other) is other


def test_no_loop_is_compiled():
  def compiled(key):
    return jax.jit(lambda key: jax.random.bits(key, (64,))).lower(key).as_text("hlo")

  if jax.default_backend() == "cpu":
    assert "while" in compiled(KEY)
  assert "while" not in compiled(unrolled(KEY))


LEAVES = tuple(jnp.zeros(shape) for shape in ((3, 5, 5, 3), (1, 1, 7, 3)))


def sample_noise(key):
  return perturbations.standard_normal().sample(key, (), Masked(LEAVES, LEAVES, None))


def test_noise_is_one_draw_cut_into_leaves():
  flat = jnp.concatenate([leaf.ravel() for leaf in sample_noise(KEY)])
  np.testing.assert_array_equal(flat, jax.random.normal(KEY, flat.shape))


def test_noise_is_drawn_without_a_loop_and_in_rows_of_even_length():
  lowered = jax.jit(sample_noise).lower(KEY)
  assert "while" not in lowered.as_text("hlo")
  # 246 numbers; XLA draws rows of odd length one number at a time.
  assert "tensor<16x16xui32>" in lowered.as_text()
