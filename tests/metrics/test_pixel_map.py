"""A mask of wavelets as a map of pixels: PyWavelets' images, squared and added up."""

import jax
import numpy as np
import pytest
import pywt

from cawe_jax import metrics
from cawe_jax.classifiers import from_function
from cawe_jax.metrics import pixel_map
from cawe_jax.representations import pixel, wavelet

SIZE, NAME, LEVELS = 16, "bior2.2", 1
TRANSFORM = wavelet(NAME, levels=LEVELS)
SHAPES = TRANSFORM((SIZE, SIZE, 1)).mask_shapes


@pytest.fixture(scope="module")
def mask():
  rng = np.random.default_rng(0)
  return tuple(
    np.where(rng.random((2, *shape)) < 0.2, rng.random((2, *shape)), 0).astype(
      "float32"
    )
    for shape in SHAPES
  )


def drawn_by_pywavelets(leaf, index):
  """The image of one coefficient."""
  approximation, details = np.zeros(SHAPES[0][1:3]), np.zeros((3, *SHAPES[1][1:3]))
  (approximation[None], details)[leaf][index] = 1
  return pywt.idwt2((approximation, tuple(details)), NAME, "zero")[:SIZE, :SIZE]


def test_every_entry_lies_on_the_pixels_that_it_changes(mask):
  expected = np.zeros((2, SIZE, SIZE))
  for leaf, values in enumerate(mask):
    for index in np.ndindex(values.shape[1:4]):
      square = drawn_by_pywavelets(leaf, index) ** 2
      expected += values[(slice(None), *index, 0)][:, None, None] * square
  (found,) = pixel_map(mask, TRANSFORM, (SIZE, SIZE), num_draws=4096)
  assert found.shape == (2, 1, SIZE, SIZE, 1)
  # Six standard errors of a mean of 4096 squares, sqrt(2 / 4096) each.
  np.testing.assert_allclose(found[:, 0, ..., 0], expected, rtol=0.14, atol=1e-6)
  assert (found[:, 0, ..., 0][expected == 0] == 0).all()


def test_a_mask_of_pixels_is_its_own_map():
  mask = (np.random.default_rng(0).random((2, 1, 5, 6, 1), np.float32),)
  (found,) = pixel_map(mask, pixel(), (5, 6), num_draws=1)
  np.testing.assert_allclose(found, mask[0], rtol=1e-6)


def test_metrics_of_pixels_take_it(mask):
  brightness = from_function(
    lambda x: x.mean((1, 2, 3))[:, None] * np.ones((1, 2)), SIZE
  )
  images = np.random.default_rng(0).random((2, SIZE, SIZE, 3), np.float32)
  found = metrics.insertion_deletion(
    brightness,
    images,
    pixel_map(mask, TRANSFORM, (SIZE, SIZE)),
    key=jax.random.key(0),
    num_points=2,
  )
  assert found.insertion.shape == (2,)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda mask: (-mask[0], mask[1]), "negative or not finite"),
    (lambda mask: (mask[0] * np.nan, mask[1]), "negative or not finite"),
    (
      lambda mask: mask[:1],
      r"images of 16x16 and wavelet\('bior2.2'.* they must be",
    ),
    (lambda mask: (mask[0][0], mask[1][0]), "mask: got leaves of shapes"),
  ],
)
def test_what_is_no_mask_is_refused(change, message, mask):
  with pytest.raises(ValueError, match=message):
    pixel_map(change(mask), TRANSFORM, (SIZE, SIZE))


def test_no_draws_are_refused(mask):
  with pytest.raises(ValueError, match="num_draws is 0; it must be at least 1"):
    pixel_map(mask, TRANSFORM, (SIZE, SIZE), num_draws=0)
