"""The draws themselves: the library's own estimate again, and closed forms."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from explaining import HAAR, SGD

from cawe_jax import (
  cartoonx,
  distortions,
  explain,
  obfuscations,
  outputs,
  perturbations,
  pixel_rde,
)
from cawe_jax.engine import judging
from cawe_jax.obfuscations import obfuscate, pixel_mask

# Of the tiny network's outputs. A hidden unit adds up 960 products whose sizes add up
# to 50, so that float32 knows it to some 50 * 2**-24, and an output adds up eight of
# them. Processors add in different orders: relative to an output near 0, that is much.
ROUNDING = 8 * 50 * 2.0**-24

SHORT = SGD._replace(num_steps=3)
METHODS = {
  "pixels": pixel_rde(1.0, distortion=distortions.l2, recipe=SHORT),
  "wavelets": cartoonx(
    1.0,
    representation=HAAR,
    distortion=distortions.l2,
    recipe=SHORT,
  ),
}


@pytest.fixture(scope="module")
def images():
  return np.random.default_rng(0).uniform(size=(3, 16, 20, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def classifier(make_tiny_classifier):
  return make_tiny_classifier((16, 20, 3))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_sixty_four_draws_are_those_of_the_explanation(method, images, classifier, key):
  explanation = explain(classifier, images, method, key=key)
  assert (explanation.distortion > 0).all()
  seen = obfuscate(classifier, images, explanation.mask, method, key=key, draws=64)
  found = obfuscations.distortion(seen, distortions.l2)
  # The same float32 numbers, added up in another order.
  np.testing.assert_allclose(found.value, explanation.distortion, rtol=1e-5)
  np.testing.assert_allclose(
    found.standard_error, explanation.distortion_standard_error, rtol=1e-3
  )
  # The same program for 64 draws made both.
  np.testing.assert_allclose(explanation.obfuscated_image, seen.images[:, 0], atol=1e-6)
  p = obfuscations.probabilities(seen).value
  kept = np.take_along_axis(p, seen.target[:, None], 1)[:, 0]
  np.testing.assert_allclose(kept, explanation.score_with_noise, rtol=1e-5)
  np.testing.assert_array_equal(seen.target, explanation.target)

  for image, mask, grey, colour in zip(
    images,
    zip(*explanation.mask, strict=True),
    explanation.image,
    explanation.masked_image,
    strict=True,
  ):
    kept = obfuscations.keep(image, mask, method.representation)
    np.testing.assert_allclose(kept.grey, grey, atol=1e-6)
    np.testing.assert_allclose(kept.colour, colour, atol=1e-6)


@pytest.mark.parametrize("output", [outputs.sigmoid(), outputs.regression(0.5)])
def test_distortions_mean_what_they_do_for_the_network(output, images, classifier, key):
  classifier = dataclasses.replace(classifier, output=output)
  method = pixel_rde(1e-4, recipe=SHORT)
  explanation = explain(classifier, images, method, key=key, targets=2)
  assert (explanation.distortion > 0).all()
  seen = obfuscate(
    classifier, images, explanation.mask, method, key=key, draws=64, targets=2
  )
  found = obfuscations.distortion(seen, distortions.automatic, classifier.output)
  np.testing.assert_allclose(found.value, explanation.distortion, rtol=1e-5)


def test_draws_are_what_the_network_says_of_their_images(images, classifier, key):
  masks = tuple(np.stack([leaf] * 3) for leaf in pixel_mask(np.eye(16, 20)))
  seen = obfuscate(classifier, images, masks, METHODS["pixels"], key=key, draws=5)
  assert seen.images.shape == (3, 5, 16, 20, 3)
  flat = seen.images.reshape(-1, 16, 20, 3)
  np.testing.assert_allclose(
    seen.outputs.reshape(15, -1), classifier(flat), atol=ROUNDING, rtol=0
  )
  np.testing.assert_allclose(
    seen.clean_outputs, classifier(images), atol=ROUNDING, rtol=0
  )
  kept = np.eye(16, 20, dtype=bool)
  np.testing.assert_array_equal(
    seen.images[:, :, kept], np.repeat(images[:, None][:, :, kept], 5, axis=1)
  )
  # All draws, images and colours differ elsewhere.
  assert len(np.unique(flat[:, 0, 1])) > 20


def test_an_image_alone_is_the_image_in_a_batch(images, classifier, key):
  one = pixel_mask(np.eye(16, 20))
  batch = tuple(np.stack([leaf] * 3) for leaf in one)
  method = METHODS["pixels"]
  alone = obfuscate(classifier, images[1], one, method, key=key, draws=3)
  many = obfuscate(classifier, images, batch, method, key=key, draws=7, rows=2)
  # Mean and noise of order 1 add up to a pixel: rounding is absolute.
  np.testing.assert_allclose(alone.images, many.images[1, :3], atol=1e-6)
  np.testing.assert_allclose(alone.outputs, many.outputs[1, :3], atol=ROUNDING, rtol=0)


def test_another_number_of_draws_compiles_nothing(images, classifier, key):
  def run(draws):
    return obfuscate(
      classifier,
      images[0],
      pixel_mask(np.eye(16, 20)),
      METHODS["pixels"],
      key=key,
      draws=draws,
    )

  run(3)
  before = judging.draw._cache_size()
  run(17)
  assert judging.draw._cache_size() == before


def test_rows_are_halved_until_memory_suffices(monkeypatch, images, classifier, key):
  masks = tuple(np.stack([leaf] * 3) for leaf in pixel_mask(np.eye(16, 20)))
  recipe = SHORT._replace(num_draws=4)
  method = METHODS["pixels"]._replace(recipe=recipe)

  def run(rows):
    return obfuscate(classifier, images, masks, method, key=key, draws=5, rows=rows)

  expected = run(4)
  original, tiles = judging.draw, []

  def limited(mesh, shapes, *arguments):
    tiles.append(math.prod(shapes[0]))
    if tiles[-1] > 2:
      raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    return original(mesh, shapes, *arguments)

  monkeypatch.setattr(judging, "draw", limited)
  found = run(8)
  # Two draws at a time, all of them in one turn.
  assert tiles == [8, 4, 2]
  np.testing.assert_allclose(found.images, expected.images, atol=1e-6)
  np.testing.assert_allclose(found.outputs, expected.outputs, atol=ROUNDING, rtol=0)


FIXED = {
  "mean": lambda image: np.broadcast_to(image.mean((0, 1)), image.shape),
  "blur": None,
  "infill": None,
}


@pytest.mark.parametrize("name", FIXED)
def test_a_filling_without_chance_is_drawn_once(name, images, classifier, key):
  method = pixel_rde(perturbation=getattr(perturbations, name)())
  keep = np.zeros((16, 20), bool)
  keep[4:12, 4:16] = True
  seen = obfuscate(classifier, images[0], pixel_mask(keep), method, key=key, draws=8)
  assert len(seen.images) == 1
  np.testing.assert_array_equal(seen.images[0][keep], images[0][keep])
  if FIXED[name]:
    expected = FIXED[name](images[0])
  elif name == "blur":
    expected = np.asarray(perturbations.gaussian_blur(images[0], 10.0))
  else:
    return
  np.testing.assert_allclose(seen.images[0][~keep], expected[~keep], atol=1e-6)


def test_the_standard_error_is_that_of_scipy():
  stats = pytest.importorskip("scipy.stats")
  values = np.random.default_rng(1).normal(size=(4, 9))
  found = obfuscations.mean(values, axis=1)
  np.testing.assert_allclose(found.value, values.mean(1))
  np.testing.assert_allclose(found.standard_error, stats.sem(values, axis=1))


def test_the_adaptive_noise_has_the_images_mean_and_spread(images, classifier, key):
  # A mean near 1/2 and a small spread, so that the clip changes nothing.
  image = 0.45 + images[0] / 10
  nothing = pixel_mask(np.zeros((16, 20)))
  seen = obfuscate(classifier, image, nothing, METHODS["pixels"], key=key, draws=64)
  count = seen.images.size
  error = image.std() / count**0.5
  assert abs(seen.images.mean() - image.mean()) < 5 * error
  # The standard deviation's own standard error is sigma / sqrt(2 n).
  assert abs(seen.images.std() - image.std()) < 5 * error / 2**0.5


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"draws": 0}, "draws is 0; it must be an integer from 1 to"),
    ({"masks": (np.ones((1, 3, 3, 1)),)}, "masks has leaves"),
    ({"masks": pixel_mask(np.full((16, 20), 2.0))}, "outside"),
  ],
)
def test_bad_input_is_one_line(change, message, images, classifier, key):
  given = {"masks": pixel_mask(np.ones((16, 20))), "method": METHODS["pixels"]} | change
  with pytest.raises(ValueError, match=message):
    obfuscate(classifier, images[0], key=key, **given)
  with pytest.raises(ValueError, match=r"keep has shape \(2,\)"):
    pixel_mask(np.ones(2))
