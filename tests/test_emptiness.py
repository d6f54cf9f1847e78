"""Masks that keep nothing are announced, and what is suggested keeps something."""

import re
import warnings
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cawe_jax import (
  Classifier,
  EmptyMaskWarning,
  cartoonx,
  explain,
  explain_path,
  explain_retaining,
  pixel_rde,
  recipes,
)
from cawe_jax.explaining import emptiness

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
# Ten shapes of 8 x 8 pixels, and four images that are like the first of them.
SHAPES = RNG.uniform(0, 1, (10, 8, 8)).round().astype(np.float32)
IMAGES = np.clip(SHAPES[:4] + RNG.normal(0, 0.2, (4, 8, 8)), 0, 1)[..., None]
IMAGES = IMAGES.astype(np.float32)
WEIGHTS = (SHAPES - SHAPES.mean((1, 2), keepdims=True)).reshape(10, 64).T
RECIPE = recipes.tuned(60)
METHODS = {
  "cartoonx": cartoonx(20.0, recipe=RECIPE),
  "pixels": pixel_rde(recipe=RECIPE),
}


def linear(weights, images):
  return images.reshape(len(images), -1) @ weights


CLASSIFIER = Classifier(linear, jnp.asarray(WEIGHTS), 8)
CONSTANT = Classifier(linear, jnp.zeros((64, 10)), 8)


def explain_warned(classifier, method, warned=explain, images=IMAGES, *more, **options):
  """What is found, and the text of the only warning."""
  with pytest.warns(EmptyMaskWarning) as caught:
    found = warned(classifier, images, method, *more, key=KEY, **options)
  (warning,) = caught
  assert warning.filename == __file__
  text = str(warning.message)
  assert "\n" not in text
  return found, text


def suggestion(text):
  return float(re.search(r"try .*a multiplier of ([0-9.]+)$", text)[1])


@pytest.mark.parametrize("name", METHODS)
def test_what_is_suggested_keeps_something(name):
  method = METHODS[name]._replace(lagrange_multiplier=20.0)
  found, text = explain_warned(CLASSIFIER, method)
  assert np.all(found.rate == 0)
  which = "the masks 0, 1, 2, 3 of 4 (counted from 0)"
  assert text.startswith(f"{which} keep (almost) nothing, since")
  # A warning would be an error here.
  again = method._replace(lagrange_multiplier=suggestion(text))
  kept = explain(CLASSIFIER, IMAGES, again, key=KEY)
  assert np.all(kept.rate > 0.01)
  assert np.all(kept.objective < found.distortion)


def test_an_output_that_is_always_the_same_is_said_to_be():
  found, text = explain_warned(CONSTANT, METHODS["pixels"])
  assert np.all(found.rate == 0)
  assert "nothing that a mask does changes the output" in text
  assert "multiplier" not in text


def test_nothing_is_said_of_masks_that_keep_something():
  explain(
    CLASSIFIER, IMAGES, METHODS["pixels"]._replace(lagrange_multiplier=0.05), key=KEY
  )


def test_a_path_says_once_which_masks_keep_nothing():
  found, text = explain_warned(
    CLASSIFIER, METHODS["pixels"], explain_path, IMAGES[0], [0.05, 30, 0.1, 40]
  )
  assert found.rate[0] > 0.01
  assert text.startswith("the masks 1, 3 of 4 (counted from 0) keep (almost) nothing")


def test_a_mask_that_keeps_nothing_and_retains_enough_is_announced():
  _, text = explain_warned(CONSTANT, METHODS["pixels"], explain_retaining, IMAGES, 0.9)
  assert text == (
    "the masks of image(s) 0, 1, 2, 3 keep (almost) nothing, since noise in the place "
    "of the whole image retains 1 of the probability"
  )


def made(**changes):
  """What is looked at of one image's explanation: 40 steps, and nothing kept of 64."""
  rate = np.append(np.linspace(1, 0.02, 40), np.nan)
  fields = dict(
    mask=(np.zeros((1, 4, 4, 1)), np.zeros((3, 4, 4, 1))),
    rate=0.0,
    score=0.9,
    score_with_noise=0.2,
    distortion_standard_error=0.01,
    objective=0.5,
    lagrange_multiplier=20.0,
    num_steps=40,
    history=SimpleNamespace(rate=rate),
  )
  return SimpleNamespace(**fields | changes)


def test_the_suggestion_lets_a_usual_share_win():
  # At 1, a quarter of the entries that loses 0.25 costs what nothing loses.
  assert emptiness.multiplier_to_try(made()) == 1.0
  # A rate that is not quite 0 is no part of that.
  close = made(objective=0.5 + 20 * 9e-5, rate=9e-5)
  np.testing.assert_allclose(emptiness.multiplier_to_try(close), 1.0)
  # Whoever follows it in vain is given less, below what the whole image needs.
  again = made(lagrange_multiplier=1.0)
  assert emptiness.multiplier_to_try(again) == 0.25 < 0.5
  large = made(mask=(np.zeros((5, 1, 100, 100, 1)),))
  assert emptiness.multiplier_to_try(large) == 5.0


def test_the_notice_says_what_can_win():
  assert emptiness.notice(made()) == (
    "The mask keeps (almost) nothing, since keeping nothing costs 0.5, and keeping "
    "more than 2.5 % costs more at λ = 20: try a multiplier of 1."
  )
  assert emptiness.notice(made(rate=1e-4)) == ""
  # At a multiplier at which everything could win, that is no reason.
  assert "%" not in emptiness.notice(made(lagrange_multiplier=0.4))


def test_a_saturated_network_is_told_that_nothing_changes():
  changed = {"score_with_noise": 0.99997, "distortion_standard_error": 1e-6}
  assert "nothing that a mask does changes" in emptiness.notice(
    made(score=1.0, objective=1e-9, **changed)
  )
  changed["score_with_noise"] = 0.999
  assert "a multiplier of 2e-06" in emptiness.notice(
    made(score=1.0, objective=1e-6, **changed)
  )


def test_more_steps_are_suggested_where_the_search_ended_far_from_nothing():
  # The last rate costs 0.4, less than nothing kept does, and then 0.6.
  explanation = made()
  assert "steps" not in emptiness.notice(explanation)
  explanation.history.rate[39] = 0.03
  assert emptiness.notice(explanation).endswith(
    ": try more than 40 steps, or a multiplier of 1."
  )
  # A finished search that got stuck there would not gain by going on.
  explanation.num_steps = 200
  assert "steps" not in emptiness.notice(explanation)


def test_other_warnings_are_other_classes():
  assert issubclass(EmptyMaskWarning, UserWarning)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", EmptyMaskWarning)
    explain(CONSTANT, IMAGES, METHODS["pixels"], key=KEY)


@pytest.mark.slow
@pytest.mark.parametrize(("num_steps", "least"), [(300, 0.85), (40, 0.3), (0, 0.0)])
@pytest.mark.parametrize("name", METHODS)
def test_what_is_suggested_keeps_something_of_digits(name, num_steps, least):
  """Networks that are sure, unsure and untrained."""
  datasets = pytest.importorskip("sklearn.datasets")
  digits, labels = datasets.load_digits(return_X_y=True)
  images = (digits / 16).astype(np.float32).reshape(-1, 8, 8, 1)

  def network(params, images):
    first, second = params
    return jnp.maximum(images.reshape(len(images), -1) @ first, 0) @ second

  rng = np.random.default_rng(0)
  params = tuple(
    jnp.asarray(rng.normal(0, size[0] ** -0.5, size), jnp.float32)
    for size in ((64, 32), (32, 10))
  )
  descent = optax.adam(1e-2)

  @jax.jit
  def step(params, state, images, labels):
    def loss(params):
      logits = network(params, images)
      return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    updates, state = descent.update(jax.grad(loss)(params), state)
    return optax.apply_updates(params, updates), state

  state = descent.init(params)
  for _ in range(num_steps):
    batch = rng.integers(0, 1500, 64)
    params, state = step(params, state, images[batch], labels[batch])
  right = network(params, images[1500:]).argmax(1) == labels[1500:]
  assert right.mean() >= least
  classifier = Classifier(network, params, 8)
  # Pixel RDE's own 4 does not always empty the masks of a sure network.
  method = METHODS[name]._replace(recipe=recipes.fast(), lagrange_multiplier=20.0)
  few = images[1500:1506]
  with pytest.warns(EmptyMaskWarning) as caught:
    found = explain(classifier, few, method, key=KEY)
  assert np.any(found.rate == 0)
  followed = 0
  while caught and followed < 3:  # The advice may have to be followed again.
    multiplier = suggestion(str(caught[0].message))
    method = method._replace(lagrange_multiplier=multiplier)
    followed += 1
    with warnings.catch_warnings(record=True) as caught:
      warnings.simplefilter("always", EmptyMaskWarning)
      kept = explain(classifier, few, method, key=KEY)
  # Some per cent, and not nearly all.
  assert np.all(kept.rate > 0.02)
  assert np.mean(kept.rate) < 0.6
