"""The law of every noise, and that fixed replacements are T of the image they name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objectives import instance_of

from cawe_jax import perturbations
from cawe_jax.representations import pixel, wavelet
from cawe_jax.types import Masked

RNG = np.random.default_rng(0)
SHAPE = (33, 21, 3)
# Means, gradients and noise, so that groups differ in mean and spread.
IMAGE = np.clip(
  np.linspace(0.1, 0.7, SHAPE[0])[:, None, None]
  + np.array([0.0, 0.1, 0.2])
  + RNG.normal(0, 0.1, SHAPE),
  0,
  1,
).astype(np.float32)
BOUND = wavelet("haar", levels=2)(SHAPE)
COEFFICIENTS = tuple(np.asarray(leaf, np.float64) for leaf in BOUND.analysis(IMAGE))
MEANS = [leaf.mean() for leaf in COEFFICIENTS]
DEVIATIONS = [leaf.std() for leaf in COEFFICIENTS]
NUM_DRAWS = 300
FACTORS = (0.0, 0.5, 2.0)


def mask_of(bound, value=0.5):
  return tuple(jnp.full(shape, value, jnp.float32) for shape in bound.mask_shapes)


def draws(perturbation, bound=BOUND, image=IMAGE, num_draws=NUM_DRAWS):
  @jax.jit
  def sample(keys):
    state = perturbation.init(instance_of(image, bound))
    mask = mask_of(bound)
    kept = tuple(s * h for s, h in zip(mask, bound.analysis(image), strict=True))
    masked = Masked(mask, kept, bound)
    return jax.vmap(lambda key: perturbation.sample(key, state, masked))(keys)

  return [np.asarray(v, np.float64) for v in sample(jax.random.split(KEY, num_draws))]


KEY = jax.random.key(0)


def check_law(samples, means, deviations, kurtosis):
  for leaf, mean, deviation in zip(samples, means, deviations, strict=True):
    standard_error = deviation / leaf.size**0.5
    # Five standard errors, and the rounding of 32-bit statistics.
    assert abs(leaf.mean() - mean) < 5 * standard_error + 1e-6 * (abs(mean) + 1)
    of_deviation = standard_error * ((kurtosis - 1) / 4) ** 0.5
    assert abs(leaf.std() - deviation) < 5 * of_deviation + 1e-6 * (deviation + 1)


def test_statistics_are_of_the_population_and_of_each_leaf():
  ours = perturbations.statistics(BOUND.analysis(IMAGE))
  # 32-bit sums of at most 2,000 numbers.
  np.testing.assert_allclose(ours.mean, MEANS, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(ours.standard_deviation, DEVIATIONS, rtol=1e-5)


def test_adaptive_gaussian():
  samples = draws(perturbations.adaptive_gaussian())
  check_law(samples, MEANS, DEVIATIONS, kurtosis=3)
  standard = (samples[2] - MEANS[2]) / DEVIATIONS[2]
  kurtosis = np.mean(standard**4)
  # The fourth moment of a normal has variance 96.
  assert abs(kurtosis - 3) < 5 * (96 / standard.size) ** 0.5
  check_independence(samples)


def check_independence(samples):
  for leaf in samples:
    flat = leaf.reshape(-1, 3)
    for a, b in ((0, 1), (0, 2), (1, 2)):  # colours
      correlation = np.corrcoef(flat[:, a], flat[:, b])[0, 1]
      assert abs(correlation) < 5 / len(flat) ** 0.5
    between = np.corrcoef(leaf[:-1].ravel(), leaf[1:].ravel())[0, 1]  # draws
    assert abs(between) < 5 / leaf[1:].size ** 0.5
  # Leaves: their first numbers must not be the same noise.
  count = samples[0][0].size
  first = [leaf.reshape(NUM_DRAWS, -1)[:, :count].ravel() for leaf in samples]
  for a, b in ((0, 1), (1, 2)):
    assert abs(np.corrcoef(first[a], first[b])[0, 1]) < 5 / len(first[a]) ** 0.5


def test_adaptive_uniform():
  samples = draws(perturbations.adaptive_uniform())
  narrower = [deviation / 3**0.5 for deviation in DEVIATIONS]
  check_law(samples, MEANS, narrower, kurtosis=1.8)
  for leaf, mean, deviation in zip(samples, MEANS, DEVIATIONS, strict=True):
    reach = np.abs(leaf - mean).max() / deviation
    # Never outside; of over 10^4 numbers one is in the last thousandth but for e^-10.
    assert 0.999 < reach < 1 + 1e-5
  check_independence(samples)


def test_scaled_gaussian():
  samples = draws(perturbations.scaled_gaussian(FACTORS))
  scaled = [factor * d for factor, d in zip(FACTORS, DEVIATIONS, strict=True)]
  check_law(samples, MEANS, scaled, kurtosis=3)


def test_standard_normal_ignores_the_image():
  samples = draws(perturbations.standard_normal())
  check_law(samples, [0] * 3, [1] * 3, kurtosis=3)


def test_pixels_are_one_group():
  (samples,) = draws(perturbations.adaptive_gaussian(), pixel()(SHAPE), num_draws=50)
  check_law([samples], [IMAGE.mean()], [IMAGE.std()], kurtosis=3)


def blurred_by_loops(image, sigma):
  """Gaussian weights of all pixels, renormalised over those inside the image."""
  height, width, _ = image.shape
  rows, columns = np.mgrid[:height, :width]
  result = np.empty_like(image)
  for i in range(height):
    for j in range(width):
      weights = np.exp(-((rows - i) ** 2 + (columns - j) ** 2) / (2 * sigma**2))
      result[i, j] = (weights[..., None] * image).sum((0, 1)) / weights.sum()
  return result


FIXED = [
  (perturbations.zeros(), np.zeros(SHAPE)),
  (perturbations.constant(0.0), np.zeros(SHAPE)),
  (perturbations.constant(0.75), np.full(SHAPE, 0.75)),
  (perturbations.mean(), np.broadcast_to(IMAGE.mean((0, 1), np.float64), SHAPE)),
  (perturbations.blur(2.5), blurred_by_loops(IMAGE.astype(np.float64), 2.5)),
]


@pytest.mark.parametrize(
  ("perturbation", "expected"), FIXED, ids=lambda x: getattr(x, "name", "")
)
def test_fixed_replacements(perturbation, expected):
  # Zero padding: the coefficients of a constant image are not constant.
  bound = wavelet("db3", levels=2)(SHAPE)
  reference = bound.analysis(jnp.asarray(expected, jnp.float32))
  for leaf, wanted in zip(
    draws(perturbation, bound, num_draws=2), reference, strict=True
  ):
    # Rounding of 32-bit products; coefficients are at most 2^2.
    np.testing.assert_allclose(leaf[0], wanted, atol=1e-5)
    np.testing.assert_array_equal(leaf[0], leaf[1])
  assert not perturbation.is_random


def test_blur_of_a_wide_kernel_tends_to_the_mean():
  wide = perturbations.gaussian_blur(jnp.asarray(IMAGE), 1e4)
  # Weights differ from 1 by (33 / 1e4)^2 / 2.
  np.testing.assert_allclose(
    wide, np.broadcast_to(IMAGE.mean((0, 1)), SHAPE), atol=1e-4
  )


def binary_mask(bound):
  (shape,) = bound.mask_shapes
  return (jnp.asarray(np.random.default_rng(1).random(shape) < 0.5, jnp.float32),)


def copying_inpainter(visible, known):
  return visible + 0.25 * (1 - known)


def test_infill_of_a_binary_pixel_mask():
  bound = pixel()(SHAPE)
  mask = binary_mask(bound)
  infill = perturbations.infill(copying_inpainter)
  masked = Masked(mask, (mask[0] * IMAGE[None],), bound)
  (filled,) = infill.sample(KEY, infill.init(instance_of(IMAGE, bound)), masked)
  known = np.asarray(mask[0][0], bool)[..., 0]
  np.testing.assert_array_equal(filled[0][known], IMAGE[known])
  np.testing.assert_array_equal(filled[0][~known], 0.25)
  assert not infill.is_random


def test_infill_by_default_continues_the_surroundings():
  bound = pixel()(SHAPE)
  mask = binary_mask(bound)
  infill = perturbations.infill()

  @jax.jit
  def run(mask):
    state = infill.init(instance_of(IMAGE, bound))
    return infill.sample(KEY, state, Masked(mask, (mask[0] * IMAGE[None],), bound))

  (filled,) = run(mask)
  known = np.asarray(mask[0], bool)[0, ..., 0]
  np.testing.assert_array_equal(filled[0][known], IMAGE[known])
  error = np.abs(filled[0] - IMAGE)[~known].mean()
  assert error < np.abs(IMAGE - IMAGE.mean((0, 1)))[~known].mean()


@pytest.mark.parametrize("bound", [pixel()(SHAPE), BOUND], ids=lambda b: b.name)
def test_no_gradient_flows_through_the_mask_of_infill(bound):
  infill = perturbations.infill(copying_inpainter)

  def total(mask):
    kept = tuple(s * h for s, h in zip(mask, bound.analysis(IMAGE), strict=True))
    state = infill.init(instance_of(IMAGE, bound))
    filled = infill.sample(KEY, state, Masked(mask, kept, bound))
    return sum(jnp.sum(leaf**2) for leaf in filled)

  value, slope = jax.value_and_grad(total)(mask_of(bound))
  assert float(value) > 0
  assert all(np.all(np.asarray(leaf) == 0) for leaf in slope)


def test_infill_of_a_wavelet_mask_knows_what_is_kept():
  seen = []

  def spy(visible, known):
    seen.append((np.asarray(visible), np.asarray(known)))
    return visible

  infill = perturbations.infill(spy)
  state = infill.init(instance_of(IMAGE, BOUND))
  for value in (1.0, 0.0, 0.5):
    mask = mask_of(BOUND, value)
    infill.sample(KEY, state, Masked(mask, mask, BOUND))
  (whole, all_known), (_, none_known), (_, half_known) = seen
  # Rounding of the transform and back.
  np.testing.assert_allclose(all_known, 1, atol=1e-6)
  np.testing.assert_allclose(whole, IMAGE, atol=1e-6)
  np.testing.assert_allclose(none_known, 0, atol=1e-6)
  np.testing.assert_allclose(half_known, 0.5, atol=1e-6)


BAD = [
  (lambda: perturbations.constant(1.5), "value is 1.5"),
  (lambda: perturbations.constant(float("nan")), "value is nan"),
  (lambda: perturbations.blur(0.0), "sigma is 0.0"),
  (lambda: perturbations.blur(float("inf")), "sigma is inf"),
  (lambda: perturbations.scaled_gaussian((1.0, -1.0)), "factors is"),
  (lambda: perturbations.scaled_gaussian((float("nan"),)), "factors is"),
  (
    lambda: perturbations.scaled_gaussian((1.0,)).init(instance_of(IMAGE, BOUND)),
    "factors has 1 entries; wavelet.* 3 noise groups",
  ),
]


@pytest.mark.parametrize(
  ("make", "message"), BAD, ids=lambda x: x if isinstance(x, str) else ""
)
def test_errors(make, message):
  with pytest.raises(ValueError, match=message) as error:
    make()
  assert "\n" not in str(error.value)
