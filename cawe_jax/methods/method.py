"""Explanation methods: what is optimised, and a recipe for how.

A :class:`Method` is a value without logic. Change a part with ``method._replace(...)``,
or write a new bundle; nothing else has to know.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cawe_jax import distortions, penalties, perturbations, recipes, representations
from cawe_jax.files.checksums import arrays_sha256
from cawe_jax.initial_masks import InitialMask
from cawe_jax.methods import contracts
from cawe_jax.objective import Objective
from cawe_jax.outputs import Output, softmax
from cawe_jax.part import Part, name_of
from cawe_jax.recipes import Recipe
from cawe_jax.schedules import Schedule
from cawe_jax.solvers import Solver
from cawe_jax.stopping import Stopping
from cawe_jax.types import Distortion, Penalty, Perturbation, Transform


class BoundMethod(Part):
  """A method that fits an image shape and a network's outputs: all was checked.

  The compiled programs take it as an argument: its settings are what they are made
  for, its arrays are data.
  """

  objective: Objective
  initial_mask: InitialMask
  solver: Solver
  schedule: Schedule
  stopping: Stopping


class Method(NamedTuple):
  """Everything that `explain` needs besides a classifier and an image.

  Attributes:
    name: The name of the method.
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
    self,
    image_shape: tuple[int, int, int],
    num_outputs: int,
    output: Output = softmax(),
  ) -> BoundMethod:
    """The method for images of shape ``(H, W, C)`` and a network of K outputs.

    Everything is checked here, on shapes alone and before anything is compiled.

    Raises:
      ValueError: A part breaks its contract (:mod:`cawe_jax.methods.contracts`), the
        distortion has no meaning for these outputs, a number is out of range, or there
        is no such representation of this shape. One line names the part and what is
        allowed.
    """
    contracts.check_method(self)
    recipe = self.recipe
    objective = Objective(
      contracts.bind(self.representation, image_shape),
      self.perturbation,
      output.adapt(self.distortion),
      tuple(self.penalties),
      output,
    )
    contracts.check_objective(objective, num_outputs)
    contracts.check_initial_mask(
      recipe.initial_mask, objective.representation, num_outputs
    )
    return BoundMethod(
      objective, recipe.initial_mask, recipe.solver, recipe.schedule, recipe.stopping
    )

  def settings(self) -> dict[str, Any]:
    """Every setting, as JSON can hold it; of arrays that parts hold, one checksum."""
    parts = self._asdict() | {
      "distortion": name_of(self.distortion),
      "penalties": [name_of(penalty) for penalty in self.penalties],
      "recipe": {k: _plain(v) for k, v in self.recipe._asdict().items()},
    }
    settings = {key: _plain(value) for key, value in parts.items()}
    given = (*self, *self.penalties, *self.recipe)
    checksum = arrays_sha256([part for part in given if isinstance(part, Part)])
    return settings | ({"arrays_sha256": checksum} if checksum else {})


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
  wavelet: str | None = None,
  levels: int | None = None,
  mode: str | None = None,
  representation: Transform | None = None,
  perturbation: Perturbation | None = None,
  distortion: Distortion = distortions.automatic,
  recipe: Recipe | None = None,
) -> Method:
  """CartoonX: a sparse mask on wavelet coefficients.

  Args:
    lagrange_multiplier: Weight of the rate; larger keeps less. 20 to 80 in the paper.
      Small images want less (see the guide "Any classifier").
    wavelet: A discrete wavelet's name, by default db3, or haar for images of less than
      10 pixels a side.
    levels: Number of levels, by default as many as the image allows, up to 5.
    mode: Padding of the transform, by default zero.
    representation: In the place of wavelets, which ``wavelet``, ``levels`` and ``mode``
      describe.
    perturbation: By default adaptive Gaussian noise.
    distortion: By default what suits the network and the target: the squared change of
      a predicted class's probability, what is missing of another's.
    recipe: By default :func:`cawe_jax.recipes.default`.

  Raises:
    ValueError: The wavelet, levels or mode are not allowed
      (:class:`cawe_jax.representations.wavelet`), or are given with a representation.

  Example:
    >>> cartoonx(wavelet="haar", levels=2).representation.name
    "wavelet('haar', levels=2, mode='zero')"

  References:
    Kolek et al., Cartoon Explanations of Image Classifiers, ECCV 2022.
  """
  return Method(
    "cartoonx",
    _wavelets_or(representation, wavelet=wavelet, levels=levels, mode=mode),
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
  wavelet: str | None = None,
  levels: int | None = None,
  mode: str | None = None,
  representation: Transform | None = None,
  perturbation: Perturbation | None = None,
  distortion: Distortion = distortions.maximise_label,
  recipe: Recipe | None = None,
) -> Method:
  """WaveletX: CartoonX whose explanation is also penalised in pixels.

  Args:
    lagrange_multiplier: Weight of the rate.
    spatial_l1: Weight of the mean of the greyscale explanation.
    wavelet: As for :func:`cartoonx`.
    levels: As for :func:`cartoonx`.
    mode: As for :func:`cartoonx`.
    representation: As for :func:`cartoonx`.
    perturbation: By default adaptive uniform noise.
    distortion: By default the squared missing probability.
    recipe: As for :func:`cartoonx`.

  Raises:
    ValueError: As for :func:`cartoonx`.

  References:
    Kolek et al., Explaining Image Classifiers with Multiscale Directional Image
    Representation, CVPR 2023.
  """
  return cartoonx(
    lagrange_multiplier,
    wavelet=wavelet,
    levels=levels,
    mode=mode,
    representation=representation,
    perturbation=perturbation or perturbations.adaptive_uniform(),
    distortion=distortion,
    recipe=recipe,
  )._replace(
    name="waveletx", penalties=(penalties.spatial_l1,), penalty_weights=(spatial_l1,)
  )


def _wavelets_or(representation: Transform | None, **wavelets: Any) -> Transform:
  """The representation that was given, or else the wavelets that were described."""
  given = {name: value for name, value in wavelets.items() if value is not None}
  if representation is None:
    return representations.wavelet(**given)
  if given:
    name = next(iter(given))
    raise ValueError(
      f"{name} is {given[name]!r} beside a representation; it must be left out, or the "
      "representation"
    )
  return representation
