"""The conditions of an optimum: on gradients that are made, and on a known optimum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax import (
  Classifier,
  explain,
  outputs,
  perturbations,
  pixel_rde,
  recipes,
  schedules,
)
from cawe_jax.engine.session import Session
from cawe_jax.explaining.optimality import NUM_GROUPS, check, conditions, doubt
from cawe_jax.types import Explanation

SHAPE = (8, 8, 1)
SIZE = 64


def test_without_noise_it_is_the_frank_wolfe_gap():
  rng = np.random.default_rng(0)
  masks, gradients = rng.random((3, 50)), rng.normal(size=(3, 50))
  found = conditions(np.broadcast_to(gradients, (NUM_GROUPS, 3, 50)), masks)
  # The best corner of the box, found by trying both ends of every entry.
  best = np.maximum(-gradients * (0 - masks), -gradients * (1 - masks)).sum(-1)
  np.testing.assert_allclose(found.should_go + found.should_return, best)
  falling = np.where(gradients > 0, gradients * masks, 0).sum(-1)
  np.testing.assert_allclose(found.should_go, falling)
  np.testing.assert_allclose(found.gap_standard_error, 0, atol=1e-12)


def test_noise_alone_is_no_gap():
  # Two hundred times 500 entries of noise: a maximum over the mean of the groups would
  # be some 500 * 0.4 / sqrt(8) each; here the mean is within its error of 0.
  rng = np.random.default_rng(1)
  masks = rng.random((200, 500))
  found = conditions(rng.normal(size=(NUM_GROUPS, 200, 500)), masks)
  gaps = found.should_go + found.should_return
  assert abs(gaps.mean()) < 3 * gaps.std() / 200**0.5
  assert gaps.std() < 10
  # The error that is reported is about the one there is.
  assert 0.5 < np.mean(found.gap_standard_error) / gaps.std() < 1.5


def test_a_gap_is_seen_through_noise():
  rng = np.random.default_rng(2)
  masks = np.zeros((100, 500))
  masks[:, :100] = 1
  signal = np.zeros(500)
  signal[:50], signal[-50:] = 2.0, -4.0
  found = conditions(signal + rng.normal(size=(NUM_GROUPS, 100, 500)), masks)
  # Nearly all of 50 * 2 and 50 * 4 is found, and without bias.
  assert 90 < found.should_go.mean() < 100.5
  assert 195 < found.should_return.mean() < 200.5


def regression(image):
  """An output that is one feature of the image, and the scale of losing it all."""
  weights = np.random.default_rng(3).normal(size=(SIZE, 1))
  spread = image.std() * np.linalg.norm(weights)

  def apply(weights, images):
    return (images - image[None]).reshape(len(images), -1) @ weights

  return Classifier(
    apply,
    jnp.asarray(weights, jnp.float32),
    SHAPE[:2],
    output=outputs.regression(float(spread)),
  )


@pytest.fixture(scope="module")
def image():
  noise = np.random.default_rng(4).normal(size=SHAPE)
  return (0.5 + 0.05 * np.clip(noise, -3, 3)).astype(np.float32)


def test_masks_of_zeros_of_a_convex_distortion_should_return(image):
  session = Session(
    regression(image),
    np.stack([image] * 4),
    pixel_rde(0.2),
    key=jax.random.key(0),
    targets=0,
    image_ids=range(4),
    rows=None,
  )
  zeros = jax.tree.map(np.zeros_like, session.crop(session.initial_masks))
  found = check(session, zeros)
  # The distortion is a quadratic form with value about 1 at zeros and 0 at ones, where
  # its gradient is 0 too: to first order all of it and once more is to be gained.
  assert np.all(found.should_go == 0)
  assert np.all(found.should_return > 0.8)
  assert np.all(found.should_return > 2 * found.gap_standard_error)


def test_explain_says_it_and_only_then(image):
  classifier, method = regression(image), pixel_rde(0.2)
  images = np.stack([image] * 4)

  def search(num_steps, step_size):
    recipe = recipes.cvpr2023()._replace(
      num_steps=num_steps,
      step_size=step_size,
      schedule=schedules.linear_decay(),
    )
    return explain(
      classifier,
      images,
      method._replace(recipe=recipe),
      key=jax.random.key(0),
      targets=0,
      image_ids=range(4),
    )

  def said(found):
    return [doubt(jax.tree.map(lambda x, i=i: x[i], found)) for i in range(4)]

  # One of four may be doubted by chance.
  assert said(search(300, 0.1)).count("") >= 3
  # Ten small steps leave the mask near the ones it starts with: too many are kept.
  hasty = search(10, 0.02)
  assert all("kept entries should go" in text for text in said(hasty))
  assert np.all(hasty.should_go > 2 * hasty.gap_standard_error)


def test_without_chance_one_group_is_enough(image, monkeypatch):
  session = Session(
    regression(image),
    image[None],
    pixel_rde(0.2, perturbation=perturbations.zeros()),
    key=jax.random.key(0),
    targets=0,
    image_ids=[0],
    rows=None,
  )
  evaluate, steps = session.evaluate, []

  def counted(masks, step, count):
    steps.append(step)
    return evaluate(masks, step, count)

  monkeypatch.setattr(session, "evaluate", counted)
  ones = jax.tree.map(np.ones_like, session.crop(session.initial_masks))
  found = check(session, ones)
  assert len(steps) == 1
  # The distortion's gradient is 0 at ones: to go gains all of the rate's 0.2.
  np.testing.assert_allclose(found.should_go, 0.2, rtol=1e-5)
  np.testing.assert_allclose(found.gap_standard_error, 0, atol=1e-6)


def test_nothing_is_said_of_what_nobody_measured():
  names = ("should_go", "should_return", "gap_standard_error")
  found = dict.fromkeys(Explanation._fields, 1.0) | {"gap_standard_error": 0.0}
  assert doubt(Explanation(**found)) != ""
  assert doubt(Explanation(**found | dict.fromkeys(names, np.nan))) == ""
