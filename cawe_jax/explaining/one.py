"""`explain`: from images and a method to explanations.

The loop around the compiled programs: segments of steps until every image has stopped,
with a look from outside in between. It prints nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import jax
import numpy as np

from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.engine.programs import SEGMENT_STEPS, Carry, Window
from cawe_jax.engine.session import Session
from cawe_jax.engine.turns import NUM_FRESH_DRAWS
from cawe_jax.explaining import emptiness, optimality
from cawe_jax.explaining.choice import choose
from cawe_jax.methods import Method
from cawe_jax.numerics.ambient import own_rules
from cawe_jax.part import name_of
from cawe_jax.types import (
  ClassNames,
  Explanation,
  History,
  Image,
  Images,
  Key,
  Mask,
  Masks,
  Targets,
)

MINIMUM_PROBABILITY = 1e-3
"""Where the clean probability is lower, ratios to it are NaN."""

# Of one image, between two calls of a callback.
_SEGMENT_EVALUATIONS = 40


class Progress(NamedTuple):
  """What a callback sees after each segment of steps, for B images.

  Attributes:
    step: Steps done.
    num_steps: Steps at most.
    masks: Masks as they are, ``[B, ...]`` per leaf.
    active: Which images go on, bool ``[B]``.
    history: What the steps so far did, ``[B, step]``.
  """

  step: int
  num_steps: int
  masks: Masks
  active: np.ndarray
  history: History


class Callback(Protocol):
  """Looks at a run from outside, and may stop it."""

  def __call__(self, progress: Progress, /) -> bool | None:
    """Called after every segment of steps; a true value stops the run.

    Args:
      progress: How far the run is, on the host.
    """
    ...


@own_rules()
def explain(
  classifier: Classifier,
  images: Image | Images,
  method: Method,
  *,
  key: Key,
  targets: int | str | Sequence[int | str] | Targets | None = None,
  image_ids: int | Sequence[int] | np.ndarray | None = None,
  initial_masks: Mask | Masks | None = None,
  callback: Callback | None = None,
  rows: int | None = None,
) -> Explanation:
  """Explain one image or a batch.

  Args:
    classifier: The network.
    images: ``[H, W, C]`` or ``[B, H, W, C]``, float in [0, 1].
    method: E.g. :func:`cawe_jax.cartoonx`. Its multiplier and weights may be ``[B]``.
    key: A typed key, ``jax.random.key(0)``.
    targets: Explained class of each image, or label, or output of a regression, by
      index or by name; one for all, or a list. By default the one of the largest
      output, which a regression must not leave open.
    image_ids: An integer in [0, 2**32) for each image, which decides its noise together
      with the key; by default a hash of its pixels. The batch it is in does not matter.
    initial_masks: Masks to start from instead of the method's, like
      ``Explanation.mask``.
    callback: Called with a :class:`Progress` after every segment of steps; a true
      return value stops the run.
    rows: Obfuscations that the network gets at once on each device; by default 4 on a
      CPU and 256 elsewhere, halved as long as memory does not suffice.

  Returns:
    The explanation; for a batch every leaf has a leading axis. Of the mask found, the
    same with more contrast, and the mask of zeros it has the one of the lowest
    objective, on draws that it is not reported on.

  Warns:
    EmptyMaskWarning: Masks keep (almost) nothing, because the multiplier is too large
      for so unsure a prediction or so few entries, the steps were too few, or the
      output is always the same; says which, and the multiplier to try
      (:mod:`cawe_jax.explaining.emptiness`).

  Raises:
    ValueError: An argument is out of range, a part of the method breaks its contract
      (:mod:`cawe_jax.methods.contracts`), the distortion is the label squared error
      for a target that is not predicted, or something returned NaN.

  Example:
    >>> import jax.numpy as jnp
    >>> linear = lambda w, images: images.reshape(len(images), -1) @ w
    >>> weights = jnp.zeros((16, 16, 2)).at[:8, :, 0].set(0.1).reshape(-1, 2)
    >>> classifier = Classifier(linear, weights, 16)
    >>> from cawe_jax.methods import pixel_rde
    >>> method = pixel_rde(lagrange_multiplier=0.1)
    >>> image = jnp.ones((16, 16, 1))
    >>> explanation = explain(classifier, image, method, key=jax.random.key(0))
    >>> explanation.image.shape
    (16, 16, 1)

  References:
    Kolek et al., Cartoon Explanations of Image Classifiers, ECCV 2022.
  """
  session = Session(
    classifier, images, method, key=key, targets=targets, image_ids=image_ids, rows=rows
  )
  explanation = explained(session, classifier, method, initial_masks, callback)
  # Past this function and what applies its rules.
  emptiness.warn(explanation, stacklevel=3)
  return explanation


def explained(
  session: Session,
  classifier: Classifier,
  method: Method,
  initial_masks: Mask | Masks | None,
  callback: Callback | None,
) -> Explanation:
  """What :func:`explain` returns, without a word about masks that keep nothing."""
  start = session.batched(initial_masks)
  found = search(session, classifier, method, start, callback)
  return session.answer(report(session, found))


class Found(NamedTuple):
  """What a search found for B images.

  Attributes:
    mask: The masks, ``[B, ...]`` per leaf.
    num_steps: Steps done, ``[B]``.
    history: What they did, ``[B, N]``.
  """

  mask: Masks
  num_steps: np.ndarray
  history: History


def search(
  session: Session,
  classifier: Classifier,
  method: Method,
  initial_masks: Masks | None,
  callback: Callback | None,
) -> Found:
  """The best of the masks that one run leads to, see :func:`.choose`."""
  found = optimise(session, classifier, method, initial_masks, callback)
  return found._replace(mask=choose(session, found.mask, *method.recipe.contrast))


def optimise(
  session: Session,
  classifier: Classifier,
  method: Method,
  initial_masks: Masks | None,
  callback: Callback | None,
) -> Found:
  """Masks as the last step of one run left them."""
  carry = session.start(initial_masks)
  carry, history = _iterate(session, carry, classifier, method, callback)
  return Found(session.crop(carry.solver.mask), session.crop(carry.num_steps), history)


def _iterate(
  session: Session,
  carry: Carry,
  classifier: Classifier,
  method: Method,
  callback: Callback | None,
) -> tuple[Carry, History]:
  """Segments until all images have stopped; the carry and the history ``[B, N]``."""
  num_steps = method.recipe.num_steps
  # Short enough to be stopped soon where a step has many draws.
  length = max(1, min(SEGMENT_STEPS, _SEGMENT_EVALUATIONS // session.num_draws))
  parts: list[History] = []
  for start in range(0, num_steps, length):
    stop = min(start + length, num_steps)
    window = Window.of(start, stop, num_steps, session.num_draws)
    before = session.crop(carry.active)
    carry, part = session.segment(carry, window)
    parts.append(_shorten(part, stop - start))
    masks = session.crop(carry.solver.mask)
    finite = all(np.isfinite(leaf).all() for leaf in masks)
    if not finite or np.isnan(part.objective[before, 0]).any():
      raise ValueError(
        f"the mask or its objective is NaN between steps {start} and {stop}; one of "
        f"these, or its gradient, returned NaN: {_suspects(classifier, method)}; usual "
        "causes are the gradient of sqrt or norm at 0, and 0 * log 0"
      )
    active = session.crop(carry.active)
    history = jax.tree.map(lambda *xs: np.concatenate(xs, axis=1), *parts)
    progress = Progress(stop, num_steps, masks, active, history)
    if (callback is not None and callback(progress)) or not active.any():
      break
  return carry, history


def _suspects(classifier: Classifier, method: Method) -> str:
  """What may return NaN during a run; the outputs of the images are known as finite."""
  terms = {"distortion": (method.distortion,), "penalty": method.penalties}
  named = [
    f"{part} {name_of(function)}"
    for part, functions in terms.items()
    for function in functions
  ]
  named += [
    f"perturbation {method.perturbation.name}",
    f"representation {method.representation.name}",
    f"solver {method.recipe.solver.name.partition('(')[0]}",
    f"classifier {classifier.name!r} (finite on the images, perhaps not when masked)",
  ]
  return ", ".join(named)


def _shorten(history: History, length: int) -> History:
  return jax.tree.map(lambda x: x[:, :length], history)


def known_probability(probability: np.ndarray) -> np.ndarray:
  """Probabilities to which ratios are taken: NaN below ``MINIMUM_PROBABILITY``."""
  return np.where(probability >= MINIMUM_PROBABILITY, probability, np.nan)


def report(session: Session, found: Found) -> Explanation:
  """All that is reported of B masks, their distance to an optimum included."""
  conditions = optimality.check(session, found.mask)
  return assemble(session, found)._replace(**conditions._asdict())


def assemble(session: Session, found: Found) -> Explanation:
  """All that is reported of B masks, which may be no optimum of the Lagrangian."""
  result = session.assess(found.mask)
  rendered, estimate = result.rendered, result.estimate
  standard_error = session.standard_error(estimate, NUM_FRESH_DRAWS)
  has_probability = session.output.is_probability
  probability = result.score if has_probability else np.full_like(result.score, np.nan)
  known = known_probability(probability)
  return Explanation(
    mask=found.mask,
    image=rendered.explanation,
    masked_image=rendered.masked_image,
    obfuscated_image=result.obfuscated_image,
    input_image=session.crop(session.problems.image),
    target=session.crop(session.problems.target),
    score=result.score,
    score_with_noise=estimate.score,
    score_without_noise=result.masked_score,
    probability=probability,
    rate=rendered.rate,
    rate_l0=rendered.rate_l0,
    distortion=estimate.distortion,
    distortion_standard_error=standard_error,
    retained_probability=estimate.score / known,
    explanation_probability=result.masked_score / known,
    objective=result.objective,
    **optimality.unknown(session.size)._asdict(),
    lagrange_multiplier=session.lagrange_multiplier,
    num_steps=found.num_steps,
    model_evaluations=found.num_steps * session.num_draws,
    history=found.history,
    class_names=ClassNames(session.classifier.class_names),
  )
