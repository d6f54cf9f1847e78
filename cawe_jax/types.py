"""The values and interfaces that everything else is written in.

Two kinds of things exist. *Structure* (a representation, a perturbation, a method)
is made of Python functions at build time; it is hashable, and because every factory
is memoised, two structures made from equal arguments are the same object, so `jit`
never traces twice for them. *Data* (images, masks, weights, keys) are pytrees of
arrays at call time.

Everything is written for one image and batched outside.

**Band order.** Coefficients are a tuple of leaves, one leaf per noise group. A wavelet
representation with J levels has J + 1 leaves: the coarsest approximation
``[1, h, w, C]``, then the details from the coarsest scale to the finest,
``[3, h, w, C]``, whose first axis is PyWavelets' order: horizontal (``cH``), vertical
(``cV``), diagonal (``cD``). A pixel representation has one leaf, ``[1, H, W, C]``.
A mask has the same leaves with one channel, which all colours share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Array = Any
"""A `jax.Array`, or outside compiled programs a NumPy array: they share no type."""
Coefficients = tuple[Array, ...]
"""One leaf ``[orientations, h, w, C]`` per noise group, coarsest first."""
Mask = tuple[Array, ...]
"""One leaf ``[orientations, h, w, 1]`` in [0, 1] per noise group, coarsest first."""
Relevance = tuple[Array, ...]
"""Leaves like those of B masks, ``[B, orientations, h, w, 1]``, but any real numbers:
the larger, the more relevant."""


class Representation(NamedTuple):
  """A linear map between images of one shape and their coefficients.

  Attributes:
    name: How it was made, e.g. ``wavelet('db3', levels=5, mode='zero')``.
    image_shape: ``(H, W, C)``.
    mask_shapes: Shape ``(orientations, h, w, 1)`` of every leaf of a mask.
    analysis: Image ``[H, W, c]`` to coefficients, leaves ``[orientations, h, w, c]``.
      The grey image goes through it too, so c is the array's, C or 1.
    synthesis: Coefficients to image, linear, c as above; ``synthesis(analysis(x))`` is
      the image.
  """

  name: str
  image_shape: tuple[int, int, int]
  mask_shapes: tuple[tuple[int, int, int, int], ...]
  analysis: Callable[[Array], Coefficients]
  synthesis: Callable[[Coefficients], Array]

  @property
  def num_entries(self) -> int:
    """Number k of mask entries, every entry of padded sub-bands counted."""
    return sum(n * h * w for n, h, w, _ in self.mask_shapes)


class Transform(NamedTuple):
  """A representation that does not know its image shape yet: what a method takes.

  Attributes:
    name: How it was made.
    bind: Image shape ``(H, W, C)`` to :class:`Representation`; memoised.
  """

  name: str
  bind: Callable[[tuple[int, int, int]], Representation]

  def __call__(self, image_shape: tuple[int, int, int]) -> Representation:
    """Bind to images of shape ``(H, W, C)``."""
    return self.bind(image_shape)


class Perturbation(NamedTuple):
  """What replaces a masked coefficient.

  Attributes:
    name: How it was made, e.g. ``adaptive_gaussian()``.
    init: ``(image [H, W, C], representation) -> state``, once per image; a pytree of
      arrays, so numbers such as shapes are read from arrays, not kept in it.
    sample: ``(key, state, mask, kept) -> coefficients``, one draw; ``kept`` is
      ``mask * coefficients``, for perturbations that depend on what is left.
    is_random: False when every draw is the same, so that one draw is enough.
  """

  name: str
  init: Callable[[Array, Representation], Any]
  sample: Callable[[Array, Any, Mask, Coefficients], Coefficients]
  is_random: bool = True


Distortion = Callable[[Array, Array, Array], Array]
"""``(clean_logits [K], logits [K], target) -> scalar``."""

Penalty = Callable[[Mask, Array], Array]
"""``(mask, greyscale explanation [H, W, 1]) -> scalar``."""


class History(NamedTuple):
  """What one optimisation did, step by step; NaN after an image stopped.

  Attributes:
    objective: Distortion plus weighted terms on that step's draws, ``[N]``.
    distortion: Mean over that step's draws, ``[N]``.
    rate: ``||s||_1 / k`` of the mask at the start of the step, ``[N]``.
    lagrange_multiplier: The multiplier that the step used, ``[N]``.
    penalties: Unweighted value of every further term, by name, ``[N]`` each.
  """

  objective: Array
  distortion: Array
  rate: Array
  lagrange_multiplier: Array
  penalties: dict[str, Array]


class Explanation(NamedTuple):
  """What :func:`cawe_jax.explain` returns: a pytree; a batch adds a leading axis.

  Attributes:
    mask: One leaf per noise group, in [0, 1] (band order: :mod:`cawe_jax.types`).
    image: The explanation, ``T^-1(s * T(grey x))`` in [0, 1], ``[H, W, 1]``.
    masked_image: ``T^-1(s * T(x))`` in colour, in [0, 1], ``[H, W, C]``.
    input_image: The image explained, in [0, 1], ``[H, W, C]``.
    target: Explained class, int.
    score: What is explained, on the clean image: the target's probability, or the
      value of a regression (see :mod:`cawe_jax.classifiers.outputs`).
    score_with_noise: Its mean over fresh draws of the noise.
    score_without_noise: Of ``masked_image``.
    probability: ``p_t(x)``, which is the score; NaN for a regression.
    rate: ``||s||_1 / k``, the mean of the mask.
    rate_l0: Share of mask entries above zero.
    distortion: Mean over fresh draws, which the mask was not optimised on.
    distortion_standard_error: Of that mean.
    retained_probability: ``score_with_noise / probability``; NaN where ``probability``
      is below 0.001 or NaN.
    explanation_probability: ``score_without_noise / probability``; NaN as above.
    objective: Distortion on the fresh draws plus the weighted terms.
    should_go: What lowering kept entries would gain of the objective, to first order:
      one of two parts of the gap of :mod:`cawe_jax.optimality`, which is 0 at an
      optimum, and of either sign by chance. NaN where it was not measured.
    should_return: What raising dropped entries would gain: the other part.
    gap_standard_error: Standard error of ``should_go + should_return``.
    lagrange_multiplier: Weight of the rate in it.
    num_steps: Steps done until the image stopped, int.
    model_evaluations: Network forward-and-backward passes that the search took, int;
      choosing, reporting and checking the mask come on top of them.
    history: See :class:`History`.
  """

  mask: Mask
  image: Array
  masked_image: Array
  input_image: Array
  target: Array
  score: Array
  score_with_noise: Array
  score_without_noise: Array
  probability: Array
  rate: Array
  rate_l0: Array
  distortion: Array
  distortion_standard_error: Array
  retained_probability: Array
  explanation_probability: Array
  objective: Array
  should_go: Array
  should_return: Array
  gap_standard_error: Array
  lagrange_multiplier: Array
  num_steps: Array
  model_evaluations: Array
  history: History

  @property
  def is_regression(self) -> Array:
    """Whether the score is a regression's value, which is no probability; bool."""
    return np.isnan(self.probability) & np.isfinite(self.score)
