"""Methods by name, with the settings of a preset: tuned or published.

``default`` and ``fast`` exist for every method. The published presets exist where the
paper has the method; the classifiers and image sizes of the papers are the caller's.
"""

from __future__ import annotations

from collections.abc import Callable

from cawe_jax import distortions, methods, perturbations, recipes
from cawe_jax.methods import Method
from cawe_jax.recipes import Recipe

METHODS: dict[str, Callable[..., Method]] = {
  "cartoonx": methods.cartoonx,
  "pixel-rde": methods.pixel_rde,
  "smooth-pixel-rde": methods.smooth_pixel_rde,
  "waveletx": methods.waveletx,
}

RECIPES: dict[str, Callable[[], Recipe]] = {
  "fast": recipes.fast,
  "default": recipes.default,
  "eccv2022": recipes.eccv2022,
  "cvpr2023": recipes.cvpr2023,
}


def preset(method: str, name: str = "default") -> Method:
  """A method with all settings of a preset.

  Args:
    method: A key of ``METHODS``.
    name: A key of ``RECIPES``.

  Raises:
    ValueError: Unknown, or the paper does not have the method.

  Example:
    >>> preset("cartoonx", "cvpr2023").lagrange_multiplier
    1.0
  """
  if method not in METHODS:
    raise ValueError(f"method {method!r} is unknown; allowed: {', '.join(METHODS)}")
  if name not in RECIPES:
    raise ValueError(f"preset {name!r} is unknown; allowed: {', '.join(RECIPES)}")
  recipe = RECIPES[name]()
  if name in ("fast", "default"):
    return METHODS[method](recipe=recipe)
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
  return {
    ("cartoonx", "eccv2022"): methods.cartoonx(20.0, recipe=recipe),
    ("pixel-rde", "eccv2022"): methods.pixel_rde(4.0, recipe=recipe),
    ("cartoonx", "cvpr2023"): methods.cartoonx(
      1.0, perturbation=uniform, recipe=recipe
    ),
    ("waveletx", "cvpr2023"): methods.waveletx(2.0, 10.0, recipe=recipe),
    ("pixel-rde", "cvpr2023"): methods.pixel_rde(
      1.0,
      perturbation=uniform,
      distortion=distortions.maximise_label,
      recipe=recipe,
    ),
  }
