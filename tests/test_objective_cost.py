"""What the network is asked, and the memory that it takes."""

import jax
import numpy as np
import pytest
from objectives import (
  BATCH,
  IMAGES,
  PIXEL,
  SHAPE,
  TARGETS,
  draws_of,
  evaluate,
  make_problems,
  make_setting,
)

from cawe_jax import Classifier, distortions, perturbations
from cawe_jax.numerics.tiles import Tile
from cawe_jax.objective import Objective
from cawe_jax.representations import pixel


@pytest.fixture(scope="module")
def classifier(make_tiny_classifier):
  return make_tiny_classifier(SHAPE)


@pytest.fixture
def spy(classifier):
  """A classifier that keeps what it is called with, and the list of it."""
  seen = []

  def apply(params, images):
    jax.debug.callback(lambda x: seen.append(np.asarray(x)), images, ordered=True)
    return classifier.apply(params, images)

  return Classifier(apply, classifier.params, SHAPE[:2]), seen


NOISE_ONLY = Objective(
  pixel()(SHAPE), perturbations.standard_normal(), distortions.label_squared_error
)


def test_the_network_sees_only_active_images_and_the_same_draws(spy, classifier):
  spying, seen = spy
  keys = jax.random.split(jax.random.key(1), BATCH)
  problems = make_problems(NOISE_ONLY, classifier, IMAGES, TARGETS, keys)
  # With a mask of zeros an obfuscation is its noise, bit for bit.
  masks = (np.zeros((BATCH, *NOISE_ONLY.representation.mask_shapes[0]), np.float32),)

  def calls(active, problems=problems, masks=masks):
    seen.clear()
    draws = draws_of(4, active)
    evaluate(NOISE_ONLY, Tile(1, 2), spying, problems, masks, draws)
    jax.effects_barrier()
    return np.array(seen)

  everything = calls([True] * 3)
  assert everything.shape == (6, 2, *SHAPE)  # three images, two tiles of two draws
  assert len(np.unique(everything.reshape(12, -1), axis=0)) == 12
  np.testing.assert_array_equal(calls([False, True, False]), everything[2:4])
  np.testing.assert_array_equal(calls([True, False, True]), everything[[0, 1, 4, 5]])
  assert calls([False] * 3).size == 0
  alone = jax.tree.map(lambda x: x[2:], (problems, masks))
  np.testing.assert_array_equal(calls([True], *alone), everything[4:])


def test_memory_does_not_grow_with_the_number_of_draws(classifier):
  setting = make_setting(PIXEL, classifier)

  def temporary_bytes(function, *arguments, **options):
    compiled = jax.jit(function, **options).lower(*arguments).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  arguments = classifier, setting.problems, setting.masks

  def tiled(classifier, problems, masks, draws):
    return evaluate(setting.objective, Tile(1, 2), classifier, problems, masks, draws)

  few, many = (temporary_bytes(tiled, *arguments, draws_of(n)) for n in (4, 64))
  assert few == many

  # What reverse mode needs that keeps the residuals of 64 draws, as a scale.
  def in_one_tile(classifier, problems, masks, draws):
    return evaluate(setting.objective, Tile(3, 64), classifier, problems, masks, draws)

  assert many < temporary_bytes(in_one_tile, *arguments, draws_of(64)) / 10


def test_draws_are_averaged_in_full_precision_on_every_platform(classifier):
  # On a TPU or a GPU products are of bfloat16 or TensorFloat-32 unless told otherwise.
  setting = make_setting(PIXEL, classifier)
  plain = Classifier(lambda w, x: x[:, :5, 0, 0], (), SHAPE[:2])

  def traced(problems, masks):
    draws = draws_of(4)
    return evaluate(setting.objective, Tile(1, 2), plain, problems, masks, draws)

  text = str(jax.make_jaxpr(traced)(setting.problems, setting.masks))
  # One average of the gradients and one of the directions, each of one leaf.
  assert text.count("precision=(Precision.HIGHEST") == 2
