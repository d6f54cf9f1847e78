"""Explanation methods: what is optimised, and a recipe for how.

A :class:`Method` is a value without logic. Change a part with ``method._replace(...)``,
or write a new bundle; nothing else has to know.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cawe_jax import (
  contracts,
  distortions,
  penalties,
  perturbations,
  recipes,
  representations,
)
from cawe_jax.classifiers.outputs import Output, softmax
from cawe_jax.initial_masks import InitialMask
from cawe_jax.objective import Objective
from cawe_jax.recipes import Recipe
from cawe_jax.schedules import Schedule
from cawe_jax.solvers import Solver
from cawe_jax.stopping import Stopping
from cawe_jax.types import Distortion, Penalty, Perturbation, Transform

_SOFTMAX = softmax()


class Structure(NamedTuple):
  """What a compiled program is made for: a method bound to an image shape."""

  objective: Objective
  initial_mask: InitialMask
  solver: Solver
  schedule: Schedule
  stopping: Stopping


class Method(NamedTuple):
  """Everything that `explain` needs besides a classifier and an image.

  Attributes:
    name: Of the method.
    representation: What the mask is a mask of.
    perturbation: What replaces a masked coefficient.
    distortion: What must not change. ``distortions.automatic`` is what suits the
      network's outputs.
    lagrange_multiplier: Weight of the rate ``||s||_1 / k``, at least 0; one number, or
      one for each image of a batch. Data: another value compiles nothing.
    penalties: Further terms.
    penalty_weights: Their weights, in order, likewise.
    recipe: How the mask is searched.
  """

  name: str
  representation: Transform
  perturbation: Perturbation
  distortion: Distortion
  lagrange_multiplier: Any
  penalties: tuple[Penalty, ...]
  penalty_weights: tuple[Any, ...]
  recipe: Recipe

  def bind(
    self, image_shape: tuple[int, int, int], output: Output = _SOFTMAX
  ) -> Structure:
    """The hashable part, for images of shape ``(H, W, C)`` and a network's outputs.

    Raises:
      ValueError: The distortion has no meaning for these outputs, or the
        representation is none for this shape.
    """
    recipe = self.recipe
    objective = Objective(
      contracts.bind(self.representation, image_shape),
      self.perturbation,
      output.adapt(self.distortion),
      tuple(self.penalties),
      output,
    )
    return Structure(
      objective, recipe.initial_mask, recipe.solver, recipe.schedule, recipe.stopping
    )

  def settings(self) -> dict[str, Any]:
    """Every setting, as JSON can hold it."""
    parts = self._asdict() | {
      "distortion": contracts.name_of(self.distortion),
      "penalties": [contracts.name_of(penalty) for penalty in self.penalties],
      "recipe": {k: _plain(v) for k, v in self.recipe._asdict().items()},
    }
    return {key: _plain(value) for key, value in parts.items()}


def _plain(value: Any) -> Any:
  """A part's name, an array as a list, anything else as it is."""
  if hasattr(value, "name"):
    return value.name
  if hasattr(value, "tolist"):
    return value.tolist()
  return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def cartoonx(
  lagrange_multiplier: float = 20.0,
  *,
  representation: Transform | None = None,
  perturbation: Perturbation | None = None,
  distortion: Distortion = distortions.automatic,
  recipe: Recipe | None = None,
) -> Method:
  """CartoonX: a sparse mask on wavelet coefficients.

  Args:
    lagrange_multiplier: Weight of the rate; larger keeps less. 20 to 80 in the paper.
    representation: By default db3 wavelets, 5 levels, zero padding.
    perturbation: By default adaptive Gaussian noise.
    distortion: By default what suits the network and the target: the squared change of
      a predicted class's probability, what is missing of another's.
    recipe: By default :func:`cawe_jax.recipes.default`.

  References:
    Kolek et al., Cartoon Explanations of Image Classifiers, ECCV 2022.
  """
  return Method(
    "cartoonx",
    representation or representations.wavelet(),
    perturbation or perturbations.adaptive_gaussian(),
    distortion,
    lagrange_multiplier,
    (),
    (),
    recipe or recipes.default(),
  )


def pixel_rde(
  lagrange_multiplier: float = 4.0,
  *,
  perturbation: Perturbation | None = None,
  distortion: Distortion = distortions.automatic,
  recipe: Recipe | None = None,
) -> Method:
  """Pixel RDE: a sparse mask on pixels.

  Args:
    lagrange_multiplier: Weight of the rate; 3 to 20 in the paper.
    perturbation: As for :func:`cartoonx`.
    distortion: As for :func:`cartoonx`.
    recipe: As for :func:`cartoonx`.

  References:
    MacDonald et al., 2019; Kolek et al., ECCV 2022, Sec. 4.
  """
  return Method(
    "pixel-rde",
    representations.pixel(),
    perturbation or perturbations.adaptive_gaussian(),
    distortion,
    lagrange_multiplier,
    (),
    (),
    recipe or recipes.default(),
  )


def smooth_pixel_rde(
  lagrange_multiplier: float = 4.0,
  total_variation: float = 12.0,
  *,
  perturbation: Perturbation | None = None,
  distortion: Distortion = distortions.automatic,
  recipe: Recipe | None = None,
) -> Method:
  """Pixel RDE whose mask is also penalised for its total variation.

  Args:
    lagrange_multiplier: Weight of the rate.
    total_variation: Weight of the mean absolute difference of neighbouring entries.
    perturbation: As for :func:`cartoonx`.
    distortion: As for :func:`cartoonx`.
    recipe: As for :func:`cartoonx`.

  References:
    The penalty is an option, of weight 0, of the released code of Kolek et al., CVPR
    2023; that paper's smooth mask is another method (extremal perturbations).
  """
  return pixel_rde(
    lagrange_multiplier, perturbation=perturbation, distortion=distortion, recipe=recipe
  )._replace(
    name="smooth-pixel-rde",
    penalties=(penalties.total_variation,),
    penalty_weights=(total_variation,),
  )


def waveletx(
  lagrange_multiplier: float = 2.0,
  spatial_l1: float = 10.0,
  *,
  representation: Transform | None = None,
  perturbation: Perturbation | None = None,
  distortion: Distortion = distortions.maximise_label,
  recipe: Recipe | None = None,
) -> Method:
  """WaveletX: CartoonX whose explanation is also penalised in pixels.

  Args:
    lagrange_multiplier: Weight of the rate.
    spatial_l1: Weight of the mean of the greyscale explanation.
    representation: As for :func:`cartoonx`.
    perturbation: By default adaptive uniform noise.
    distortion: By default the squared missing probability.
    recipe: As for :func:`cartoonx`.

  References:
    Kolek et al., Explaining Image Classifiers with Multiscale Directional Image
    Representation, CVPR 2023.
  """
  return cartoonx(
    lagrange_multiplier,
    representation=representation,
    perturbation=perturbation or perturbations.adaptive_uniform(),
    distortion=distortion,
    recipe=recipe,
  )._replace(
    name="waveletx", penalties=(penalties.spatial_l1,), penalty_weights=(spatial_l1,)
  )
