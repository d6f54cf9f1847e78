"""The harmonic extension: Laplace's equation in the hole, the image outside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax.files.images import load_image
from cawe_jax.inpainting import harmonic, push_pull
from cawe_jax.samples import sample_names, sample_path

RNG = np.random.default_rng(0)
compiled = jax.jit(harmonic)
pulled = jax.jit(push_pull)


def neighbours_minus_self(image):
  """Laplacian of the graph of pixels, in 64-bit NumPy."""
  padded = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="edge")
  centre = padded[1:-1, 1:-1]
  around = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2]
  return around - 4 * centre


def random_known(shape, share=0.5):
  return (RNG.random((*shape[:2], 1)) < share).astype(np.float32)


def test_solves_laplaces_equation_in_a_large_random_hole():
  image = RNG.random((224, 224, 1), np.float32)
  known = random_known(image.shape)
  filled = np.asarray(compiled(known * image, known))
  hole = known[..., 0] == 0
  residual = neighbours_minus_self(filled)[hole]
  start = neighbours_minus_self(known * image)[hole]
  # The solver stops at a relative residual of 1e-4 of this right-hand side.
  assert np.linalg.norm(residual) < 1e-3 * np.linalg.norm(start)
  np.testing.assert_array_equal(filled[~hole], image[~hole])


def test_a_large_hole_in_one_piece():
  image = load_image(sample_path("chelsea"), 64)
  known = np.ones((64, 64, 1), np.float32)
  known[12:50, 12:50] = 0
  filled = np.asarray(compiled(known * image, known))
  hole = known[..., 0] == 0
  residual = np.linalg.norm(neighbours_minus_self(filled)[hole])
  start = np.linalg.norm(neighbours_minus_self(known * image)[hole])
  assert residual < 1e-3 * start  # as above
  # The maximum principle, up to the residual.
  assert filled.min() > image[~hole].min() - 1e-3
  assert filled.max() < image[~hole].max() + 1e-3


def test_a_linear_ramp_is_exact():
  rows, columns = np.mgrid[:33, :21]
  ramp = (0.1 + rows / 60 + columns / 100)[..., None].astype(np.float32)
  known = random_known(ramp.shape, 0.3)
  known[[0, -1]] = known[:, [0, -1]] = 1  # a ramp's border is not harmonic
  filled = compiled(known * ramp, known)
  # 1e-4 of the right-hand side, of norm about 10, over 400 unknowns.
  np.testing.assert_allclose(filled, ramp, atol=1e-3)


def psnr(image, reference):
  return -10 * np.log10(np.mean((np.asarray(image) - reference) ** 2))


def test_better_than_the_mean_on_photographs():
  known = random_known((64, 64))
  for name in sample_names()[:10]:
    image = load_image(sample_path(name), 64)
    filled = compiled(known * image, known)
    mean = (known * image).sum((0, 1)) / known.sum()
    constant = known * image + (1 - known) * mean
    assert psnr(filled, image) > psnr(constant, image) + 3, name  # half the error


def test_nothing_known_is_grey_and_everything_known_is_left():
  image = RNG.random((64, 64, 3), np.float32)
  nothing, everything = np.zeros((2, 64, 64, 1), np.float32)
  everything += 1
  np.testing.assert_array_equal(compiled(nothing * image, nothing), 0.5)
  np.testing.assert_array_equal(compiled(image, everything), image)


def test_partly_known_pixels_count_from_a_half():
  image = RNG.random((64, 64, 3), np.float32)
  known = np.full((64, 64, 1), 0.8, np.float32)
  known[10:20, 10:20] = 0.3
  filled = np.asarray(compiled(known * image, known))
  outside = known[..., 0] > 0.5
  # Multiplied and divided by 0.8 in 32 bits.
  np.testing.assert_allclose(filled[outside], image[outside], rtol=1e-6)
  assert np.abs(filled - image)[~outside].mean() > 0.1


def test_images_in_a_batch_do_not_mix():
  images = RNG.random((2, 64, 64, 3), np.float32)
  known = np.stack([random_known((64, 64)), random_known((64, 64), 0.1)])
  together = jax.jit(jax.vmap(harmonic))(known * images, known)
  for i in range(2):
    # Both end within a residual of 1e-4, after the same or more iterations.
    np.testing.assert_allclose(
      together[i], compiled(known[i] * images[i], known[i]), atol=1e-2
    )


@pytest.mark.parametrize("shape", [(17, 22, 3), (16, 16, 1), (1, 5, 1)])
def test_push_pull(shape):
  image = RNG.random(shape, np.float32)
  known = random_known(shape)
  known[0, 0] = 1
  filled = np.asarray(pulled(image, known))
  inside = known[..., 0] == 1
  np.testing.assert_array_equal(filled[inside], image[inside])
  # Averages stay in the range of what is averaged, up to 32-bit rounding.
  assert filled.min() > image[inside].min() - 1e-6
  assert filled.max() < image[inside].max() + 1e-6
  assert np.array_equal(pulled(image, 0 * known), 0 * image)


def test_push_pull_of_a_constant_is_the_constant():
  image = jnp.full((17, 22, 1), 0.3)
  filled = pulled(image, random_known((17, 22), 0.1))
  np.testing.assert_allclose(filled, 0.3, rtol=1e-5)  # 32-bit means of means
