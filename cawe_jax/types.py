"""The values and interfaces that everything else is written in.

Two kinds of things exist. *Structure* is what a program is compiled for: functions and
settings. *Data* (images, masks, weights, keys) are pytrees of arrays at call time. A
:class:`~cawe_jax.part.Part` holds both: a representation, a perturbation, a distortion.

Everything is written for one image and batched outside.

**Band order.** Coefficients are a tuple of leaves, one leaf per noise group. A wavelet
representation with J levels has J + 1 leaves: the coarsest approximation
``[1, h, w, C]``, then the details from the coarsest scale to the finest,
``[3, h, w, C]``, whose first axis is PyWavelets' order: horizontal (``cH``), vertical
(``cV``), diagonal (``cD``). A pixel representation has one leaf, ``[1, H, W, C]``.
A mask has the same leaves with one channel, which all colours share.

**Shapes.** The types of arrays below name their axes, as `jaxtyping` reads them, and
signatures are written in them. An axis of one name has one size in all arguments and in
the result of a call: B images, ``H`` by ``W`` pixels, C channels, K outputs of the
network. The size of an axis whose name begins with ``_`` is free, since every leaf has
its own. Users' processes check nothing of it; the tests' check what parts hand on.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jaxtyping
import numpy as np
from jaxtyping import Bool, Float, Integer

from cawe_jax.part import Part, setting

Array = Any
"""A `jax.Array`, or outside compiled programs a NumPy array: they share no type."""

Image = Float[Array, "H W C"]
"""Pixels ``[H, W, C]``, in [0, 1] unless a function says otherwise."""
GreyImage = Float[Array, "H W 1"]
"""An image of one channel, ``[H, W, 1]``, such as the explanation."""
Images = Float[Array, "B H W C"]
"""A batch of images, ``[B, H, W, C]``."""

Coefficients = tuple[Float[Array, "_orientations _h _w C"], ...]
"""One leaf ``[orientations, h, w, C]`` per noise group, coarsest first."""
Mask = tuple[Float[Array, "_orientations _h _w 1"], ...]
"""One leaf ``[orientations, h, w, 1]`` in [0, 1] per noise group, coarsest first."""
Masks = tuple[Float[Array, "B _orientations _h _w 1"], ...]
"""A batch of masks, one leaf ``[B, orientations, h, w, 1]`` per noise group."""
Relevance = tuple[Float[Array, "B _orientations _h _w 1"], ...]
"""Leaves like those of B masks, of real numbers that are larger for what is more
relevant."""

Outputs = Float[Array, "K"]
"""What the network says of one image, ``[K]``, by default logits."""
BatchOfOutputs = Float[Array, "B K"]
"""What the network says of a batch of images, ``[B, K]``."""
Target = Integer[Array, ""]
"""The explained class of one image, in ``[0, K)``."""
Targets = Integer[Array, "B"]
"""The explained class of each image, ``[B]``."""

Scalar = Float[Array, ""]
"""One real number, such as a distortion, a penalty or a share of a run."""
Truth = Bool[Array, ""]
"""One boolean, whether something is so."""
PerImage = Float[Array, "B"]
"""One real number for each image, ``[B]``."""
Key = jaxtyping.Key[Array, ""]
"""A typed key such as ``jax.random.key(0)``, which decides random numbers."""
Keys = jaxtyping.Key[Array, "B"]
"""One key for each image, ``[B]``."""


class Transform(Part, abc.ABC):
  """A representation that does not know its image shape yet: what a method takes."""

  @abc.abstractmethod
  def bind(self, image_shape: tuple[int, int, int]) -> Representation:
    """The representation of images of shape ``(H, W, C)``.

    Raises:
      ValueError: There is none for this shape.
    """

  def __call__(self, image_shape: tuple[int, int, int]) -> Representation:
    """Bind to images of shape ``(H, W, C)``."""
    return self.bind(image_shape)


class Representation(Part, abc.ABC):
  """A linear map between images of one shape and their coefficients.

  Attributes:
    transform: What was bound.
    image_shape: ``(H, W, C)``.
    mask_shapes: Shape ``(orientations, h, w, 1)`` of every leaf of a mask.
  """

  transform: Transform
  image_shape: tuple[int, int, int] = setting()
  mask_shapes: tuple[tuple[int, int, int, int], ...] = setting()

  @abc.abstractmethod
  def analysis(self, image: Image) -> Coefficients:
    """Image ``[H, W, c]`` to coefficients, leaves ``[orientations, h, w, c]``.

    The grey image goes through it too, so c is the array's, C or 1.
    """

  @abc.abstractmethod
  def synthesis(self, coefficients: Coefficients) -> Image:
    """Coefficients to an image ``[H, W, c]``; linear, and it undoes the analysis."""

  @property
  def name(self) -> str:
    """The transform's, e.g. ``wavelet('db3', levels=5, mode='zero')``."""
    return self.transform.name

  @property
  def num_entries(self) -> int:
    """Number k of mask entries, every entry of padded sub-bands counted."""
    return sum(n * h * w for n, h, w, _ in self.mask_shapes)


class Instance(NamedTuple):
  """The image and the output of the network that are explained.

  Attributes:
    image: ``[H, W, C]`` in [0, 1].
    outputs: What the network says of it, by default logits, ``[K]``.
    target: Explained class, int.
    representation: What the mask is a mask of.
  """

  image: Image
  outputs: Outputs
  target: Target
  representation: Representation


class Masked(NamedTuple):
  """What a draw of a perturbation may look at.

  Attributes:
    mask: The mask.
    kept: ``mask * coefficients``, leaf by leaf.
    representation: What the mask is a mask of.
    stratum: Where the draw lies among those of its step, in [0, 1): uniform by itself,
      and so even over all draws of a step that of 2^n draws each 2^-n of the interval
      has one. What it decides is drawn in proportion (stratified sampling).
  """

  mask: Mask
  kept: Coefficients
  representation: Representation
  stratum: Scalar | float = 0.0


class Draw(NamedTuple):
  """What tells the draws of one image apart.

  Attributes:
    key: Decides the random numbers of the draw.
    stratum: As in :class:`Masked`.
  """

  key: Key
  stratum: Scalar


class Perturbation(Part, abc.ABC):
  """What replaces a masked coefficient.

  ``is_random`` is False for one whose draws are all the same: one draw is then enough.
  """

  is_random: ClassVar[bool] = True

  def init(self, instance: Instance) -> Any:
    """The state of all draws for one image: a pytree of arrays, computed once."""
    del instance
    return ()

  @abc.abstractmethod
  def sample(self, key: Key, state: Any, masked: Masked) -> Coefficients:
    """One draw, shaped like the coefficients.

    Args:
      key: Decides this draw.
      state: What :meth:`init` returned.
      masked: The mask and what it keeps, for perturbations that depend on it.
    """


class Distortion(Protocol):
  """How far a changed output is from the clean one: a function, or a part."""

  def __call__(
    self, clean_logits: Outputs, logits: Outputs, target: Target, /
  ) -> Scalar:
    """The distance, a real number that is differentiable in the logits.

    Args:
      clean_logits: The network's outputs for the image itself.
      logits: Its outputs for one obfuscation of the image.
      target: The explained class; not checked under `jit`.
    """
    ...


class Penalty(Protocol):
  """A further term of the objective: a function, or a part."""

  def __call__(self, mask: Mask, explanation: GreyImage, /) -> Scalar:
    """The term of one mask, a real number before it is weighted.

    Args:
      mask: The mask.
      explanation: What it keeps of the grey image, clipped to [0, 1].
    """
    ...


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


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class ClassNames:
  """Names of a network's classes, labels or outputs, as structure of a pytree.

  Attributes:
    names: One for each output, or None where they have no names.

  Example:
    >>> jax.tree.leaves(ClassNames(("cat", "dog")))
    []
  """

  names: tuple[str, ...] | None = None


class Explanation(NamedTuple):
  """What :func:`cawe_jax.explain` returns: a pytree; a batch adds a leading axis.

  Attributes:
    mask: One leaf per noise group, in [0, 1] (band order: :mod:`cawe_jax.types`).
    image: The explanation, ``T^-1(s * T(grey x))`` in [0, 1], ``[H, W, 1]``.
    masked_image: ``T^-1(s * T(x))`` in colour, in [0, 1], ``[H, W, C]``.
    obfuscated_image: What the network saw in the first of the fresh draws,
      ``T^-1(s * T(x) + (1 - s) * n)``, ``[H, W, C]``; where the perturbation does not
      stay in [0, 1], neither does the image.
    input_image: The image explained, in [0, 1], ``[H, W, C]``.
    target: Explained class, int.
    score: What is explained, on the clean image: the target's probability, or the
      value of a regression (see :mod:`cawe_jax.outputs`).
    score_with_noise: Its mean over fresh draws of the noise.
    score_without_noise: The score of ``masked_image``.
    probability: ``p_t(x)``, which is the score; NaN for a regression.
    rate: ``||s||_1 / k``, the mean of the mask.
    rate_l0: Share of mask entries above zero.
    distortion: Mean over fresh draws, which the mask was not optimised on.
    distortion_standard_error: The standard error of that mean.
    retained_probability: ``score_with_noise / probability``; NaN where ``probability``
      is below 0.001 or NaN.
    explanation_probability: ``score_without_noise / probability``; NaN as above.
    objective: Distortion on the fresh draws plus the weighted terms.
    should_go: What lowering kept entries would gain of the objective, to first order:
      one of two parts of the gap of :mod:`cawe_jax.explaining.optimality`, which is 0
      at an optimum, and of either sign by chance. NaN where it was not measured.
    should_return: What raising dropped entries would gain: the other part.
    gap_standard_error: Standard error of ``should_go + should_return``.
    lagrange_multiplier: Weight of the rate in it.
    num_steps: Steps done until the image stopped, int.
    model_evaluations: Network forward-and-backward passes that the search took, int;
      choosing, reporting and checking the mask come on top of them.
    history: See :class:`History`.
    class_names: The network's; no leaf, so that arrays alone are mapped and stacked.
  """

  mask: Mask
  image: Array
  masked_image: Array
  obfuscated_image: Array
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
  class_names: ClassNames = ClassNames()

  @property
  def target_name(self) -> str:
    """The name of what is explained, of one image; its number where it has no name."""
    target, names = int(self.target), self.class_names.names
    if names is not None and 0 <= target < len(names):
      return names[target]
    return f"{'output' if self.is_regression else 'class'} {target}"

  @property
  def is_regression(self) -> Array:
    """Whether the score is a regression's value, which is no probability; bool."""
    return np.isnan(self.probability) & np.isfinite(self.score)
