"""Which mask is returned, where it is known which is best."""

import jax
import numpy as np
import pytest

from cawe_jax import pixel_rde
from cawe_jax.engine.session import Session
from cawe_jax.explaining.choice import NUM_CHOICE_DRAWS, choose
from cawe_jax.numerics.streams import Stream

SHAPE = (4, 4, 1)


class Known(Session):
  """A session whose objectives are given: ``masks -> [B]``."""

  def __init__(self, function):
    self.function, self.asked = function, []

  def num_different(self, count):
    return count

  def objective(self, masks, step, count):
    self.asked.append((step, count))
    return np.array([self.function(i, masks[0][i]) for i in range(len(masks[0]))])


def test_the_best_of_three_is_chosen_image_by_image():
  masks = (np.full((3, 1, 4, 4, 1), 0.5, np.float32),)
  # The first wants nothing, the second what it has, the third what stretching makes.
  wanted = [0.0, 0.5, 0.8]
  session = Known(lambda i, mask: abs(mask.mean() - wanted[i]))
  (found,) = choose(session, masks, 0.1, 0.6)
  np.testing.assert_allclose(found.reshape(3, -1).mean(1), wanted, rtol=1e-6)
  # On the same draws for all, and not those of the report.
  assert session.asked == [(Stream.CHOICE, NUM_CHOICE_DRAWS)] * 3
  assert Stream.CHOICE != Stream.REPORT


def test_a_candidate_without_an_objective_is_not_chosen():
  """As of zeros, for a network that divides by the norm of its image."""
  masks = (np.full((1, 1, 4, 4, 1), 0.5, np.float32),)
  session = Known(lambda i, mask: mask.mean() or np.nan)
  (found,) = choose(session, masks, 0.0, 1.0)
  assert found.mean() == 0.5


def test_equal_masks_are_not_evaluated_twice():
  session = Known(lambda i, mask: mask.mean())
  (found,) = choose(session, (np.ones((1, 1, 4, 4, 1), np.float32),), 0.0, 1.0)
  assert len(session.asked) == 2
  assert found.max() == 0


@pytest.mark.parametrize("multiplier", [0.0, 1e3])
def test_an_objective_is_what_the_session_reports(make_tiny_classifier, multiplier):
  image = np.random.default_rng(0).random((1, *SHAPE), np.float32)
  session = Session(
    make_tiny_classifier(SHAPE),
    image,
    pixel_rde(multiplier),
    key=jax.random.key(0),
    targets=None,
    image_ids=None,
    rows=None,
  )
  half = (np.full((1, 1, 4, 4, 1), 0.5, np.float32),)
  estimate = session.estimate(half, Stream.CHOICE, NUM_CHOICE_DRAWS)
  found = session.objective(half, Stream.CHOICE, NUM_CHOICE_DRAWS)
  # Summed in another order.
  np.testing.assert_allclose(found, estimate.distortion + multiplier / 2, rtol=1e-5)
