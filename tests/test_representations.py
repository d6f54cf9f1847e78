"""The transforms against PyWavelets, for every wavelet, mode and kind of size.

Comparisons run in 64 bits where JAX's default would hide an error of 1e-7: the code is
the same, since it follows the image's type. Sizes repeat, because every new shape costs
a compilation.
"""

import itertools
import re

import jax
import jax.numpy as jnp
import jaxwt
import numpy as np
import pytest
import pywt

from cawe_jax.representations import pixel, wavelet
from cawe_jax.representations.wavelets import _axis_matrices

RNG = np.random.default_rng(0)
WAVELETS = pywt.wavelist(kind="discrete")
# A product of at most 400 terms of order 1 is wrong by some 1e-14 in 64 bits; the
# filters' gain over five levels is below 100.
EXACT = 1e-12
# Printed filters have 11 to 14 digits; dmey has three: a truncated infinite filter.
RECONSTRUCTION = {"dmey": 1e-2}


def leaves(coefficients):
  """PyWavelets' nested lists in our band order."""
  approximation, *details = coefficients
  return [approximation[None], *map(np.stack, details)]


def check_parity(name, levels, mode, image):
  shape = image.shape
  bound = wavelet(name, levels=levels, mode=mode)(shape)
  reference = pywt.wavedec2(image, name, mode, levels, axes=(0, 1))
  with jax.enable_x64(True):
    ours = bound.analysis(jnp.asarray(image))
    back = np.asarray(bound.synthesis(ours))
  assert bound.mask_shapes == tuple((*leaf.shape[:3], 1) for leaf in ours)
  for leaf, expected in zip(ours, leaves(reference), strict=True):
    np.testing.assert_allclose(leaf, expected, rtol=0, atol=EXACT)
  height, width, _ = shape
  expected = pywt.waverec2(reference, name, mode, axes=(0, 1))[:height, :width]
  np.testing.assert_allclose(back, expected, rtol=0, atol=EXACT)
  tolerance = RECONSTRUCTION.get(name, 1e-9)
  np.testing.assert_allclose(back, image, rtol=0, atol=tolerance)


def test_the_default_wavelet_follows_the_image():
  for size, name in ((8, "haar"), (9, "haar"), (10, "db3"), (224, "db3")):
    assert wavelet()((size, size, 1)) == wavelet(name)((size, size, 1))
    assert wavelet(levels=1)((size, 40, 1)) == wavelet(name, 1)((size, 40, 1))
  with pytest.raises(ValueError, match="too small for wavelet 'db3'"):
    wavelet("db3")((8, 8, 1))


def test_there_are_wavelets_and_modes_to_test():
  assert len(WAVELETS) > 100
  assert len(pywt.Modes.modes) == 9


@pytest.mark.parametrize("mode", pywt.Modes.modes)
def test_one_axis_equals_pywavelets_for_all_wavelets(mode):
  for name in WAVELETS:
    shortest = pywt.Wavelet(name).dec_len - 1
    for size in (max(shortest, 7), max(shortest, 7) + 1):
      signal = RNG.random(size)
      analysis, synthesis = _axis_matrices(name, mode, size)
      parts = pywt.dwt(signal, name, mode)
      coefficients = np.concatenate(parts)
      # 100 terms of order 1 to 10, in 64 bits.
      np.testing.assert_allclose(analysis @ signal, coefficients, atol=EXACT)
      np.testing.assert_allclose(
        synthesis @ coefficients, pywt.idwt(*parts, name, mode)[:size], atol=EXACT
      )


def test_all_wavelets_in_two_dimensions():
  # One shape for all: only this mode's bands do not depend on the filter's length.
  image = RNG.random((203, 209, 1))
  for name in WAVELETS:
    check_parity(name, 1, "periodization", image)


@pytest.mark.parametrize(
  ("name", "shape"),
  [("haar", (33, 21, 3)), ("db3", (32, 22, 1)), ("bior2.2", (33, 21, 1))],
)
def test_all_modes_up_to_the_deepest_level(name, shape):
  image = RNG.random(shape)
  deepest = pywt.dwtn_max_level(shape[:2], name)
  for mode in pywt.Modes.modes:
    check_parity(name, deepest, mode, image)


@pytest.mark.parametrize("name", ["sym5", "rbio3.1", "dmey"])
def test_some_wavelets_in_the_default_mode(name):
  length = pywt.Wavelet(name).dec_len
  image = RNG.random((2 * length - 1, 2 * length + 2, 3))
  check_parity(name, 1, "zero", image)


@pytest.mark.parametrize("mode", ["zero", "symmetric"])
def test_single_precision(mode):
  shape = (224, 223, 3)
  image = RNG.random(shape)
  bound = wavelet("db3", levels=5, mode=mode)(shape)
  ours = jax.jit(bound.analysis)(jnp.asarray(image, jnp.float32))
  reference = leaves(pywt.wavedec2(image, "db3", mode, 5, axes=(0, 1)))
  for leaf, expected in zip(ours, reference, strict=True):
    assert leaf.dtype == jnp.float32
    # Two products of 224 terms a level round like a random walk of relative steps 6e-8
    # of the largest value that enters, which is the image's share in this leaf, 2^J.
    assert np.abs(leaf - expected).max() < 1e-6 * np.abs(reference[0]).max()
  back = jax.jit(bound.synthesis)(ours)
  # The image is in [0, 1]; the same argument.
  assert np.abs(back - image).max() < 1e-5


@pytest.mark.parametrize("transform", [pixel(), wavelet("db3", levels=2)])
def test_linear(transform):
  bound = transform((33, 21, 3))
  x, y = RNG.random((2, 33, 21, 3))
  with jax.enable_x64(True):
    h, g = bound.analysis(jnp.asarray(x)), bound.analysis(jnp.asarray(y))
    both = bound.analysis(jnp.asarray(2 * x - 3 * y))
    back = bound.synthesis(tuple(2 * a - 3 * b for a, b in zip(h, g, strict=True)))
  for leaf, a, b in zip(both, h, g, strict=True):
    expected = 2 * np.asarray(a) - 3 * np.asarray(b)
    np.testing.assert_allclose(leaf, expected, atol=EXACT)
  np.testing.assert_allclose(back, 2 * x - 3 * y, atol=EXACT)


@pytest.mark.parametrize(("size", "expected"), [(256, 69_831), (224, 53_959)])
def test_number_of_entries_of_the_papers_setting(size, expected):
  bound = wavelet()((size, size, 3))
  assert bound.num_entries == expected
  assert len(bound.mask_shapes) == 6


def test_sides_of_the_papers_bands():
  sides = [shape[1] for shape in wavelet()((256, 256, 3)).mask_shapes]
  # The coarsest approximation and the coarsest details share a size.
  assert sides == [12, 12, 20, 36, 67, 130]


def test_band_order():
  bound = wavelet("haar", levels=2)((16, 16, 1))
  # Changes from row to row only: horizontal details, the first of a leaf, and only in
  # the finest scale, since the mean of two rows is constant.
  rows = jnp.asarray(np.tile([[1.0], [0.0]], (8, 16)), jnp.float32)[..., None]
  coarsest, coarse, fine = bound.analysis(rows)
  assert coarsest.shape == (1, 4, 4, 1)
  assert float(jnp.abs(coarsest).min()) > 1
  # Zero up to the rounding of products that cancel.
  assert np.all(np.abs(coarse) < 1e-6)
  assert np.all(np.abs(fine[0]) > 0.5)
  assert np.all(np.abs(fine[1:]) < 1e-6)
  columns = bound.analysis(jnp.swapaxes(rows, 0, 1))[2]
  assert np.all(np.abs(columns[1]) > 0.5)
  assert np.all(np.abs(columns[0]) < 1e-6)
  assert np.all(np.abs(columns[2]) < 1e-6)


def test_channels_are_transformed_alone():
  image = RNG.random((32, 22, 3))
  with jax.enable_x64(True):
    together = wavelet(levels=2)((32, 22, 3)).analysis(jnp.asarray(image))
    one = wavelet(levels=2)((32, 22, 1))
    for c in range(3):
      alone = one.analysis(jnp.asarray(image[..., c : c + 1]))
      for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a[..., 0], b[..., c], atol=EXACT)


@pytest.mark.parametrize("direction", ["analysis", "synthesis"])
def test_levels_are_products_without_copies(direction):
  # The image's axes change places once, and those of each of the four leaves once; the
  # products need no other order. Each copy would take as long as a product.
  representation = wavelet(levels=3)((64, 48, 3))
  image = jnp.zeros((64, 48, 3))
  argument = image if direction == "analysis" else representation.analysis(image)
  traced = jax.make_jaxpr(getattr(representation, direction))(argument)
  text = str(traced)
  assert text.count("dot_general[") == 6
  assert text.count("transpose[") == 1 + 4


def test_agrees_with_jaxwt_where_that_pads_zeros_in_even_sizes():
  image = RNG.random((64, 48)).astype(np.float32)
  # A pywt.Wavelet, since jaxwt pads by the length of what it is given.
  theirs = jaxwt.wavedec2(image[None], pywt.Wavelet("db3"), mode="zero", level=3)
  ours = wavelet("db3", levels=3)((64, 48, 1)).analysis(image[..., None])
  approximation, *details = theirs
  np.testing.assert_allclose(ours[0][0, ..., 0], approximation[0], atol=2e-6 * 8)
  for leaf, bands in zip(ours[1:], details, strict=True):
    # Rounding of two 32-bit programs; values are at most 2^3.
    np.testing.assert_allclose(
      leaf[..., 0], np.stack([band[0] for band in bands]), atol=2e-6 * 8
    )


def test_pixels_are_left_alone():
  bound = pixel()((5, 4, 3))
  image = jnp.asarray(RNG.random((5, 4, 3)), jnp.float32)
  (leaf,) = bound.analysis(image)
  assert bound.mask_shapes == ((1, 5, 4, 1),)
  assert bound.num_entries == 20
  assert np.array_equal(leaf[0], image)
  assert np.array_equal(bound.synthesis((leaf,)), image)


@pytest.mark.parametrize(
  ("make", "named"),
  [
    (lambda: wavelet("db333"), ["wavelet 'db333'", "allowed", "db3"]),
    (lambda: wavelet("morl"), ["wavelet 'morl'", "allowed"]),
    (lambda: wavelet(mode="zeros"), ["mode 'zeros'", *pywt.Modes.modes]),
    (lambda: wavelet(levels=0), ["levels is 0", "at least 1"]),
    (lambda: wavelet(levels=2.5), ["levels is 2.5", "an integer"]),
    (lambda: wavelet(levels="2"), ["levels is '2'", "an integer"]),
    (lambda: wavelet(pywt.Wavelet("db3")), ["wavelet is of type Wavelet", "'db3'"]),
    (lambda: wavelet()((1, 40, 3)), ["image of 1x40", "too small", "2 taps"]),
    (lambda: wavelet(levels=6)((64, 256, 3)), ["levels is 6", "64x256", "1 to 3"]),
    (
      lambda: wavelet("db3", levels=1)((4, 4, 3)),
      ["image of 4x4", "too small", "'db3'", "6 taps"],
    ),
  ],
)
def test_errors_name_value_and_allowed(make, named):
  with pytest.raises(ValueError, match=re.escape(named[0])) as error:
    make()
  message = str(error.value)
  assert "\n" not in message
  assert all(part in message for part in named)


@pytest.mark.parametrize("name", ["haar", "db3"])
@pytest.mark.parametrize(
  "shape", [(224, 224, 3), (64, 256, 3), (32, 32, 3), (28, 28, 1), (10, 11, 2)]
)
def test_by_default_there_are_as_many_levels_as_fit_up_to_five(shape, name):
  # What PyWavelets takes by itself where no number is given.
  fitting = pywt.wavedec2(np.zeros(shape[:2]), name)
  levels = min(5, len(fitting) - 1)
  assert wavelet(name)(shape) == wavelet(name, levels=levels)(shape)


def test_the_published_size_has_five_levels():
  assert wavelet()((224, 224, 3)) == wavelet("db3", levels=5)((224, 224, 3))


def test_names_tell_the_settings():
  names = [
    wavelet(name, levels=levels, mode=mode).name
    for name, levels, mode in itertools.product(("haar", "db2"), (1, 2), ("zero",))
  ]
  assert len(set(names)) == 4
  assert wavelet("db2", levels=2).name == "wavelet('db2', levels=2, mode='zero')"
