"""What is left of the decision under any mask, with noise and without.

An :class:`~cawe_jax.types.Explanation` has the retained probabilities of its own mask.
Here they can be had for every mask, e.g. the binary one of a ranking, and with them how
often the network still says the target itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cawe_jax import distortions, perturbations, recipes
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.engine import checks
from cawe_jax.engine.session import Session
from cawe_jax.explaining.one import known_probability
from cawe_jax.methods import Method, contracts
from cawe_jax.numerics.ambient import own_rules
from cawe_jax.types import Distortion, Images, Key, Masks, Perturbation, Transform


class Retained(NamedTuple):
  """What B masks retain, each ``[B]``; NaN for a regression.

  Attributes:
    retained_probability: Mean over draws of ``p_t(y) / p_t(x)`` with noise in place of
      what is masked; NaN where ``p_t(x)`` is below 0.001.
    retained_agreement: Share of draws for which the network itself says the target.
    explanation_probability: The same ratio for what the mask keeps, without noise.
    explanation_agreement: 1 where the network says the target for that, else 0.
  """

  retained_probability: np.ndarray
  retained_agreement: np.ndarray
  explanation_probability: np.ndarray
  explanation_agreement: np.ndarray


@own_rules()
def retained(
  classifier: Classifier,
  images: Images,
  masks: Masks,
  transform: Transform,
  *,
  key: Key,
  perturbation: Perturbation | None = None,
  targets: Any = None,
  image_ids: Any = None,
  rows: int | None = None,
) -> Retained:
  """Retained probability and agreement of masks.

  They are of the draws that :func:`cawe_jax.explain` assesses its masks on, so with the
  same key the probabilities are those of the explanation.

  Args:
    classifier: The network.
    images: ``[B, H, W, C]``, float in [0, 1].
    masks: In [0, 1], ``[B, ...]`` per leaf.
    transform: The representation they are masks of.
    key: As for :func:`cawe_jax.explain`.
    perturbation: What replaces a masked entry; by default adaptive Gaussian noise.
    targets: As for :func:`cawe_jax.explain`.
    image_ids: As for :func:`cawe_jax.explain`.
    rows: As for :func:`cawe_jax.explain`.

  Returns:
    One value per image.

  Raises:
    ValueError: An argument is out of range, or masks do not fit the representation.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from cawe_jax.representations import pixel
    >>> linear = lambda w, images: images.reshape(len(images), -1) @ w
    >>> classifier = Classifier(linear, jnp.eye(4, 2), 2)
    >>> mask = (jnp.ones((1, 1, 2, 2, 1)),)
    >>> images = jnp.ones((1, 2, 2, 1))
    >>> found = retained(classifier, images, mask, pixel(), key=jax.random.key(0))
    >>> float(found.retained_probability[0]), float(found.explanation_agreement[0])
    (1.0, 1.0)
  """
  batch = checks.check_images(images)
  shapes = contracts.bind(transform, batch.shape[1:]).mask_shapes
  masks = checks.check_masks("masks", masks, [(len(batch), *s) for s in shapes])
  method = judging_method(transform, perturbation)
  session = Session(
    classifier, batch, method, key=key, targets=targets, image_ids=image_ids, rows=rows
  )
  found = session.assess(masks)
  known = known_probability(found.score)
  result = Retained(
    found.estimate.score / known,
    found.estimate.agreement,
    found.masked_score / known,
    found.masked_agreement.astype(np.float32),
  )
  if session.output.is_probability:
    return result
  return Retained(*(np.full_like(x, np.nan) for x in result))


def judging_method(
  transform: Transform,
  perturbation: Perturbation | None,
  distortion: Distortion | None = None,
) -> Method:
  """A method that searches nothing: it says what masks are of and what fills in.

  Args:
    transform: The representation of the masks.
    perturbation: What replaces a masked entry; by default adaptive Gaussian noise.
    distortion: What must not change; by default :func:`.automatic`.
  """
  return Method(
    "judging",
    transform,
    perturbation or perturbations.adaptive_gaussian(),
    distortion or distortions.automatic,
    0.0,
    (),
    (),
    recipes.default(),
  )
