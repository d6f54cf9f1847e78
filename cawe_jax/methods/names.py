"""Parts by name: one table for the shell, the page and the sweeps.

A new part gets a name by one row here: the page has methods, perturbations and
distortions, shell and sweeps have all. In text, numbers follow a colon:
``blur:5``, ``constant:0.5``, ``scaled-gaussian:1,1,1,0.5,0.5,0.25``; after
``mixture:`` come perturbations, as in ``mixture:adaptive-gaussian,blur:5,zeros``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cawe_jax import (
  distortions,
  initial_masks,
  methods,
  perturbations,
  recipes,
  representations,
)
from cawe_jax.methods import Method
from cawe_jax.recipes import Recipe


class Named(NamedTuple):
  """A part that has a name.

  Attributes:
    title: As people write it.
    make: Makes the part of the numbers after the colon; a distortion is itself.
    numbers: What the numbers are, in order; all may be left out that have a default.
    one_each: The numbers are one argument, with a number for each noise group.
    of_parts: After the colon come parts of the same table, which are one argument.
    on_page: Whether the page offers it too, where nobody can give numbers.
  """

  title: str
  make: Callable[..., Any]
  numbers: tuple[str, ...] = ()
  one_each: bool = False
  of_parts: bool = False
  on_page: bool = True


class NamedMethod(NamedTuple):
  """A method that has a name.

  Attributes:
    title: As people write it.
    make: From a multiplier and parts by keyword.
    entries: What the entries of a mask are, in the plural.
    any_representation: Whether another representation may take the place of its own.
    weights: Names of its penalties' weights, in order.
    on_page: Whether the page shows it too; its figure has room for two.
  """

  title: str
  make: Callable[..., Method]
  entries: str
  any_representation: bool
  weights: tuple[str, ...] = ()
  on_page: bool = False


PERTURBATIONS: dict[str, Named] = {
  "adaptive-gaussian": Named("Gaussian noise", perturbations.adaptive_gaussian),
  "adaptive-uniform": Named("Uniform noise", perturbations.adaptive_uniform),
  "scaled-gaussian": Named(
    "Gaussian noise, scaled",
    perturbations.scaled_gaussian,
    ("factors",),
    one_each=True,
    on_page=False,
  ),
  "standard-normal": Named("Standard normal noise", perturbations.standard_normal),
  "zeros": Named("Zeros", perturbations.zeros),
  "constant": Named(
    "One grey value", perturbations.constant, ("value",), on_page=False
  ),
  "mean": Named("Mean colour", perturbations.mean),
  "blur": Named("Blurred image", perturbations.blur, ("sigma",)),
  "infill": Named("Inpainting", perturbations.infill),
  "mixture": Named("Gaussian noise or zeros", perturbations.mixture, of_parts=True),
}

DISTORTIONS: dict[str, Named] = {
  # The page's networks have probabilities, where this is the automatic one.
  "label-squared-error": Named(
    "Squared change of the class's probability",
    distortions.label_squared_error,
    on_page=False,
  ),
  "automatic": Named(
    "Squared change of the class's probability", distortions.automatic
  ),
  "lost-share": Named(
    "Share of the class's probability that is lost, squared", distortions.lost_share
  ),
  "maximise-label": Named(
    "Squared missing probability of the class", distortions.maximise_label
  ),
  "maximise-probability": Named(
    "Missing probability of the class", distortions.maximise_probability
  ),
  "l2": Named("Distance of all probabilities", distortions.l2),
  "squared-l2": Named("Squared distance of all probabilities", distortions.squared_l2),
  "kl": Named("Kullback-Leibler divergence", distortions.kl),
  "reverse-kl": Named("Kullback-Leibler divergence, reversed", distortions.reverse_kl),
  "logit-l2": Named("Distance of all logits", distortions.logit_l2),
}

REPRESENTATIONS: dict[str, Named] = {
  "wavelet": Named("Wavelet coefficients", representations.wavelet),
  "pixel": Named("Pixels", representations.pixel),
}

INITIAL_MASKS: dict[str, Named] = {
  "ones": Named("Everything is kept", initial_masks.ones),
  "zeros": Named("Nothing is kept", initial_masks.zeros),
  "constant": Named("Every entry is the same", initial_masks.constant, ("value",)),
  "random": Named("Uniform noise", initial_masks.random),
}

METHODS: dict[str, NamedMethod] = {
  "cartoonx": NamedMethod(
    "CartoonX", methods.cartoonx, "wavelet coefficients", True, on_page=True
  ),
  "pixel-rde": NamedMethod(
    "Pixel RDE", methods.pixel_rde, "pixels", False, on_page=True
  ),
  "smooth-pixel-rde": NamedMethod(
    "Smooth Pixel RDE", methods.smooth_pixel_rde, "pixels", False, ("total_variation",)
  ),
  "waveletx": NamedMethod(
    "WaveletX", methods.waveletx, "wavelet coefficients", True, ("spatial_l1",)
  ),
}

RECIPES: dict[str, Callable[[], Recipe]] = {
  "fast": recipes.fast,
  "default": recipes.default,
  "eccv2022": recipes.eccv2022,
  "cvpr2023": recipes.cvpr2023,
}


def parse(option: str, table: Mapping[str, Named], text: str) -> Any:
  """A part from ``name``, ``name:numbers`` or ``name:parts``.

  Args:
    option: What the part is for, in the error.
    table: Which names there are.
    text: What was given.

  Raises:
    ValueError: Unknown name, or what follows it does not fit.

  Example:
    >>> parse("perturbation", PERTURBATIONS, "blur:5")
    blur(sigma=5.0)
    >>> parse("perturbation", PERTURBATIONS, "mixture:blur:5,zeros")
    mixture(parts=(blur(sigma=5.0), zeros()))
  """
  name, _, after = text.partition(":")
  row = find(option, table, name)
  if row.of_parts and after:
    return row.make(tuple(parse(option, table, part) for part in after.split(",")))
  try:
    numbers = tuple(float(number) for number in after.split(",") if number)
  except ValueError:
    raise ValueError(
      f"{option} {text!r} does not fit; after the colon come numbers, e.g. blur:5"
    ) from None
  arguments = ((numbers,) if numbers else ()) if row.one_each else numbers
  try:
    if len(arguments) > len(row.numbers):
      raise TypeError
    return row.make(*arguments)
  except TypeError:
    wanted = ", ".join(row.numbers) or "nothing"
    raise ValueError(
      f"{option} {text!r} does not fit; {name} takes {wanted} after the colon"
    ) from None


def find(option: str, table: Mapping[str, Any], name: str) -> Any:
  """The row of a name.

  Raises:
    ValueError: The table has no such name; the error lists those that it has.

  Example:
    >>> find("distortion", DISTORTIONS, "kl").title
    'Kullback-Leibler divergence'
  """
  if name not in table:
    raise ValueError(f"{option} {name!r} is unknown; allowed: {', '.join(table)}")
  return table[name]
