"""The Lagrangian against a slow twin in 64-bit NumPy, and what tiles may not change."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import pywt
from objectives import (
  BATCH,
  IMAGES,
  NUM_DRAWS,
  PIXEL,
  SHAPE,
  STEP,
  TARGETS,
  draws_of,
  evaluate,
  make_problems,
  make_setting,
)
from scipy.special import softmax

from cawe_jax import distortions, penalties, perturbations
from cawe_jax import objective as objective_
from cawe_jax.numerics.tiles import Tile
from cawe_jax.objective import Objective, Weights
from cawe_jax.representations import pixel, wavelet

WEIGHTS = Weights(np.array([0.5, 1.0, 2.0], np.float32), (np.full(3, 0.7, np.float32),))
WAVELET = Objective(
  wavelet("db2", levels=2)(SHAPE),
  perturbations.adaptive_gaussian(),
  distortions.automatic,
  (penalties.spatial_l1,),
)


@jax.jit
def evaluate_terms(objective, problems, masks, weights):
  def total(mask, problem, weights):
    return objective_.weighted(weights, objective_.terms(objective, problem, mask))

  return jax.vmap(jax.value_and_grad(total))(masks, problems, weights)


@pytest.fixture(scope="module")
def classifier(make_tiny_classifier):
  return make_tiny_classifier(SHAPE)


@pytest.fixture(scope="module", params=[WAVELET, PIXEL], ids=["wavelet", "pixel"])
def setting(request, classifier):
  return make_setting(request.param, classifier)


class Twin:
  """One image's Lagrangian, spelled out in 64 bits."""

  def __init__(self, objective, classifier, image, target, noise, weights):
    self.objective, self.target = objective, target
    self.params = [np.asarray(w, np.float64) for w in classifier.params]
    self.image = image.astype(np.float64)
    leaves = [np.asarray(leaf, np.float64) for leaf in noise]
    self.noise = [[leaf[i] for leaf in leaves] for i in range(NUM_DRAWS)]
    self.multiplier, self.penalty = (float(w) for w in weights)
    self.clean = self.logits(self.image)

  def logits(self, image):
    first, second = self.params
    return np.tanh(image.ravel() @ first) @ second

  def analysis(self, image):
    if self.objective is PIXEL:
      return [image[None]]
    approximation, *details = pywt.wavedec2(image, "db2", "zero", 2, axes=(0, 1))
    return [approximation[None], *map(np.stack, details)]

  def synthesis(self, coefficients):
    if self.objective is PIXEL:
      return coefficients[0][0]
    lists = [coefficients[0][0], *map(tuple, coefficients[1:])]
    return pywt.waverec2(lists, "db2", "zero", axes=(0, 1))[: SHAPE[0], : SHAPE[1]]

  def distortion(self, mask):
    values = [self.distortion_of_draw(mask, draw) for draw in self.noise]
    return np.mean(values)

  def obfuscation(self, mask, noise):
    coefficients = self.analysis(self.image)
    mixed = [
      s * h + (1 - s) * v for s, h, v in zip(mask, coefficients, noise, strict=True)
    ]
    return np.clip(self.synthesis(mixed), 0, 1)

  def distortion_of_draw(self, mask, noise):
    clean = softmax(self.clean)
    changed = softmax(self.logits(self.obfuscation(mask, noise)))
    if self.objective is PIXEL:
      return np.sum(clean * np.log(clean / changed))
    if np.argmax(clean) == self.target:
      return (clean[self.target] - changed[self.target]) ** 2
    return 1 - changed[self.target]

  def terms(self, mask):
    rate = sum(s.sum() for s in mask) / sum(s.size for s in mask)
    if self.objective is PIXEL:
      s = mask[0][0, :, :, 0]
      differences = [np.diff(s, axis=axis).ravel() for axis in (0, 1)]
      penalty = np.abs(np.concatenate(differences)).mean()
    else:
      grey = self.analysis(self.image.mean(-1, keepdims=True))
      kept = [s * h for s, h in zip(mask, grey, strict=True)]
      penalty = np.clip(self.synthesis(kept), 0, 1).mean()
    return self.multiplier * rate + self.penalty * penalty


@pytest.fixture(scope="module")
def twins(setting, classifier):
  return [
    Twin(
      setting.objective,
      classifier,
      IMAGES[b],
      TARGETS[b],
      setting.noise[b],
      (WEIGHTS.lagrange_multiplier[b], WEIGHTS.penalties[0][b]),
    )
    for b in range(BATCH)
  ]


def in_64_bits(masks, index):
  return [np.asarray(leaf[index], np.float64) for leaf in masks]


def test_value_equals_the_twin(setting, twins):
  value, _ = evaluate_terms(setting.objective, setting.problems, setting.masks, WEIGHTS)
  for b, twin in enumerate(twins):
    mask = in_64_bits(setting.masks, b)
    values = [twin.distortion_of_draw(mask, draw) for draw in twin.noise]
    # 32-bit rounding of sums over 1,000 pixels and a softmax.
    close = functools.partial(pytest.approx, rel=1e-5, abs=1e-6)
    assert float(setting.estimate.distortion[b]) == close(np.mean(values))
    assert float(setting.estimate.distortion_square[b]) == close(
      np.mean(np.square(values))
    )
    assert float(value[b]) == close(twin.terms(mask))
    probability = [
      softmax(twin.logits(twin.obfuscation(mask, draw)))[TARGETS[b]]
      for draw in twin.noise
    ]
    assert float(setting.estimate.score[b]) == close(np.mean(probability))


def test_the_example_has_both_kinds_of_target_and_clipped_pixels(setting, twins):
  predicted = [np.argmax(twin.clean) == twin.target for twin in twins]
  assert len(set(predicted)) == 2
  y = twins[0].obfuscation(in_64_bits(setting.masks, 0), twins[0].noise[0])
  assert 0.02 < np.mean((y == 0) | (y == 1)) < 0.98


def test_gradient_equals_finite_differences_of_the_twin(setting, twins):
  _, slope = evaluate_terms(setting.objective, setting.problems, setting.masks, WEIGHTS)
  rng = np.random.default_rng(1)
  # Some pixel crosses a kink within a larger step.
  step = 1e-7
  for b, twin in enumerate(twins):
    mask = in_64_bits(setting.masks, b)
    for _ in range(4):
      direction = [rng.normal(size=leaf.shape) for leaf in mask]
      for function, gradient in (
        (twin.distortion, setting.gradient),
        (twin.terms, slope),
      ):
        ends = [
          function([s + h * d for s, d in zip(mask, direction, strict=True)])
          for h in (step, -step)
        ]
        expected = (ends[0] - ends[1]) / (2 * step)
        actual = sum(
          np.sum(np.asarray(g[b], np.float64) * d)
          for g, d in zip(gradient, direction, strict=True)
        )
        size = np.sqrt(sum(np.sum(np.square(g[b], dtype=float)) for g in gradient))
        # 32-bit rounding; the difference of 64-bit values is good to 1e-16 / 1e-7.
        assert actual == pytest.approx(expected, abs=1e-4 * size + 1e-7)


# 1 x 2 does not divide five draws, 2 x 4 divides neither images nor draws; they make
# nine tiles, which two calls do not divide, and four.
@pytest.mark.parametrize("tile", [Tile(2, 4), Tile(2, 4, calls=2), Tile(1, 2, calls=2)])
def test_tiles_change_nothing(setting, classifier, tile):
  other = evaluate(
    setting.objective,
    tile,
    classifier,
    setting.problems,
    setting.masks,
    draws_of(),
  )
  check_close(other, (setting.estimate, setting.gradient))


def check_close(actual, expected):
  """Equal up to the order of a 32-bit sum, relative to the largest of a leaf."""
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max()),
    actual,
    expected,
  )


def test_more_draws_keep_the_first_ones(setting, classifier, twins):
  for count in (1, 2, 5):
    estimate, _ = evaluate(
      setting.objective,
      Tile(1, 2),
      classifier,
      setting.problems,
      setting.masks,
      draws_of(count),
    )
    for b, twin in enumerate(twins):
      mask = in_64_bits(setting.masks, b)
      values = [twin.distortion_of_draw(mask, draw) for draw in twin.noise[:count]]
      # As in the comparison with the twin.
      assert float(estimate.distortion[b]) == pytest.approx(
        np.mean(values), rel=1e-5, abs=1e-6
      )


def test_another_step_draws_anew(setting, classifier):
  estimate, _ = evaluate(
    setting.objective,
    Tile(1, 2),
    classifier,
    setting.problems,
    setting.masks,
    draws_of()._replace(step=np.int32(STEP + 1)),
  )
  assert np.all(np.asarray(estimate.distortion) != setting.estimate.distortion)


def test_an_image_alone_equals_the_image_in_a_batch(setting, classifier):
  for b in (0, 2):
    one = jax.tree.map(lambda x, b=b: x[b : b + 1], (setting.problems, setting.masks))
    alone = evaluate(
      setting.objective, Tile(1, 2), classifier, *one, draws_of(active=[True])
    )
    together = jax.tree.map(
      lambda x, b=b: x[b : b + 1], (setting.estimate, setting.gradient)
    )
    check_close(alone, together)


def test_inactive_images_get_zeros_and_do_not_matter(setting, classifier):
  masks = jax.tree.map(
    lambda s: s.at[1].set(jnp.nan), jax.tree.map(jnp.asarray, setting.masks)
  )
  estimate, gradient = evaluate(
    setting.objective,
    Tile(1, 2),
    classifier,
    setting.problems,
    masks,
    draws_of(active=[True, False, True]),
  )
  for x, whole in zip(
    (*estimate, *gradient), (*setting.estimate, *setting.gradient), strict=True
  ):
    assert np.all(np.asarray(x[1]) == 0)
    # The same numbers in the same order.
    np.testing.assert_array_equal(x[0], whole[0])
    np.testing.assert_array_equal(x[2], whole[2])


def test_a_mask_of_ones_changes_nothing(setting, classifier):
  ones = jax.tree.map(np.ones_like, setting.masks)
  objective = dataclasses.replace(setting.objective, distortion=distortions.l2)
  problems = make_problems(
    objective, classifier, IMAGES, TARGETS, jax.random.split(jax.random.key(7), BATCH)
  )
  estimate, gradient = evaluate(
    objective, Tile(1, 2), classifier, problems, ones, draws_of(2)
  )
  # Synthesis and analysis round by 1e-6 each of 1,000 pixels, at random.
  np.testing.assert_allclose(estimate.distortion, 0, atol=1e-5)
  assert all(np.isfinite(leaf).all() for leaf in gradient)
  images = jax.vmap(functools.partial(objective_.masked_image, objective))(
    problems, ones
  )
  np.testing.assert_allclose(images, IMAGES, atol=1e-5)


def test_the_clip_passes_the_gradient_at_its_bounds():
  bound = pixel()((1, 5, 1))
  values = jnp.array([-0.1, 0.0, 0.5, 1.0, 1.1]).reshape(1, 1, 5, 1)
  image, pull = jax.vjp(lambda h: objective_.to_image(bound, (h,)), values)
  # 1.1 clipped is 1 exactly; nothing is computed with the rest.
  assert image.ravel().tolist() == [0, 0, 0.5, 1, 1]
  assert pull(jnp.ones_like(image))[0].ravel().tolist() == [0, 1, 1, 1, 0]


def test_mix_is_a_convex_combination():
  mask = jnp.array([0.0, 0.25, 1.0]).reshape(1, 1, 3, 1)
  h, v = jnp.full((1, 1, 3, 2), 4.0), jnp.full((1, 1, 3, 2), 8.0)
  (mixed,) = objective_.mix((mask,), (h,), (v,))
  assert mixed[0, 0].tolist() == [[8, 8], [7, 7], [4, 4]]


def test_another_number_of_draws_compiles_nothing(setting, classifier):
  for count in (3, 4, 64):
    before = evaluate._cache_size()
    evaluate(
      setting.objective,
      Tile(1, 2),
      classifier,
      setting.problems,
      setting.masks,
      draws_of(count),
    )
    assert evaluate._cache_size() == before
