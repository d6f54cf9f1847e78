"""Methods by name, with the settings of a preset: tuned or published.

``default`` and ``fast`` exist for every method. The published presets exist where the
paper has the method; the classifiers and image sizes of the papers are the caller's.
"""

from __future__ import annotations

from cawe_jax import distortions, methods, perturbations, representations
from cawe_jax.methods import Method
from cawe_jax.methods.names import METHODS, RECIPES, find
from cawe_jax.recipes import Recipe


def preset(method: str, name: str = "default") -> Method:
  """A method with all settings of a preset.

  Args:
    method: A key of ``cawe_jax.methods.names.METHODS``.
    name: A key of ``cawe_jax.methods.names.RECIPES``.

  Raises:
    ValueError: Unknown, or the paper does not have the method.

  Example:
    >>> preset("cartoonx", "cvpr2023").lagrange_multiplier
    1.0
  """
  make = find("method", METHODS, method).make
  recipe = find("preset", RECIPES, name)()
  if name in ("fast", "default"):
    return make(recipe=recipe)
  published = _published(recipe)
  if (method, name) not in published:
    allowed = [m for m, n in published if n == name]
    raise ValueError(
      f"preset {name!r} has no method {method!r}; the paper's are {', '.join(allowed)}"
    )
  return published[method, name]


def _published(recipe: Recipe) -> dict[tuple[str, str], Method]:
  """Multipliers, noise and distortions as printed or as in the released code."""
  uniform = perturbations.adaptive_uniform()
  wavelets = representations.wavelet("db3", levels=5, mode="zero")
  return {
    ("cartoonx", "eccv2022"): methods.cartoonx(
      20.0, representation=wavelets, recipe=recipe
    ),
    ("pixel-rde", "eccv2022"): methods.pixel_rde(4.0, recipe=recipe),
    ("cartoonx", "cvpr2023"): methods.cartoonx(
      1.0, representation=wavelets, perturbation=uniform, recipe=recipe
    ),
    ("waveletx", "cvpr2023"): methods.waveletx(
      2.0, 10.0, representation=wavelets, recipe=recipe
    ),
    ("pixel-rde", "cvpr2023"): methods.pixel_rde(
      1.0,
      perturbation=uniform,
      distortion=distortions.maximise_label,
      recipe=recipe,
    ),
  }
