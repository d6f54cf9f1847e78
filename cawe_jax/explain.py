"""`explain`: from images and a method to explanations.

The loop around the compiled programs: segments of steps until every image has stopped,
with a look from outside in between. It prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from cawe_jax import checks, contracts, optimality, programs
from cawe_jax.choice import choose
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.methods import Method
from cawe_jax.programs import SEGMENT_STEPS, Assessment, Carry, Window
from cawe_jax.session import Session
from cawe_jax.types import Array, Explanation, History, Mask

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
    history: Of the steps done, ``[B, step]``.
  """

  step: int
  num_steps: int
  masks: Mask
  active: np.ndarray
  history: History


Callback = Callable[[Progress], bool | None]
"""Returns a true value to stop the run."""


def explain(
  classifier: Classifier,
  images: Array | np.ndarray,
  method: Method,
  *,
  key: Array,
  targets: int | Sequence[int] | np.ndarray | Array | None = None,
  image_ids: int | Sequence[int] | np.ndarray | None = None,
  initial_masks: Mask | None = None,
  callback: Callback | None = None,
  rows: int | None = None,
) -> Explanation:
  """Explain one image or a batch.

  Args:
    classifier: The network.
    images: ``[H, W, C]`` or ``[B, H, W, C]``, float in [0, 1].
    method: E.g. :func:`cawe_jax.cartoonx`. Its multiplier and weights may be ``[B]``.
    key: A typed key, ``jax.random.key(0)``.
    targets: Explained class of each image, or label, or output of a regression; by
      default the one of the largest output, which a regression must not leave open.
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
    objective, on draws that it is not reported on. Zeros, hence ``rate`` 0, mean that
    the multiplier is too large for so unsure a prediction, or the steps were too few.

  Raises:
    ValueError: An argument is out of range, a part of the method breaks its contract
      (:mod:`cawe_jax.contracts`), the distortion is the label squared error for a
      target that is not predicted, or something returned NaN.

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
  batch = checks.check_images(images)
  single = np.ndim(images) == 3
  if single and initial_masks is not None:
    initial_masks = jax.tree.map(lambda s: s[None], initial_masks)
  session = Session(
    classifier,
    batch,
    method,
    key=key,
    targets=targets,
    image_ids=image_ids,
    rows=rows,
  )
  masks, num_steps, history = optimise(
    session, classifier, method, initial_masks, callback
  )
  masks = choose(session, masks, *method.recipe.contrast)
  explanation = assemble(session, masks, session.assess(masks), num_steps, history)
  explanation = explanation._replace(**optimality.check(session, masks)._asdict())
  return jax.tree.map(lambda x: x[0], explanation) if single else explanation


def optimise(
  session: Session,
  classifier: Classifier,
  method: Method,
  initial_masks: Mask | None,
  callback: Callback | None,
) -> tuple[Mask, np.ndarray, History]:
  """Masks as the last step left them, steps done ``[B]`` and history of one run."""
  carry = session.start(initial_masks)
  carry, history = _iterate(session, carry, classifier, method, callback)
  return session.crop(carry.solver.mask), session.crop(carry.num_steps), history


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
    window = Window(*map(np.int32, (start, stop, num_steps, session.num_draws)))
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
    f"{part} {contracts.name_of(function)}"
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


def assemble(
  session: Session,
  masks: Mask,
  result: Assessment,
  num_steps: np.ndarray,
  history: History,
) -> Explanation:
  """All that is reported of B masks."""
  estimate = result.estimate
  standard_error = session.standard_error(estimate, programs.NUM_FRESH_DRAWS)
  has_probability = session.output.is_probability
  probability = result.score if has_probability else np.full_like(result.score, np.nan)
  known = np.where(probability >= MINIMUM_PROBABILITY, probability, np.nan)
  return Explanation(
    mask=masks,
    image=result.explanation,
    masked_image=result.masked_image,
    input_image=session.crop(session.problems.image),
    target=session.crop(session.problems.target),
    score=result.score,
    score_with_noise=estimate.score,
    score_without_noise=result.masked_score,
    probability=probability,
    rate=result.rate,
    rate_l0=result.rate_l0,
    distortion=estimate.distortion,
    distortion_standard_error=standard_error,
    retained_probability=estimate.score / known,
    explanation_probability=result.masked_score / known,
    objective=result.objective,
    **optimality.unknown(session.size)._asdict(),
    lagrange_multiplier=session.lagrange_multiplier,
    num_steps=num_steps,
    model_evaluations=num_steps * session.num_draws,
    history=history,
  )
