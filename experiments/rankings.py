"""What else than a mask can rank an image's entries, by name."""

from __future__ import annotations

from collections.abc import Callable

from cawe_jax import attribution, representations
from cawe_jax.attribution import Attribution
from cawe_jax.methods.names import find


def _random_pixels() -> Attribution:
  return attribution.random_ranking(representations.pixel())


def _random_wavelets(levels: int = 5) -> Attribution:
  return attribution.random_ranking(representations.wavelet(levels=levels))


RANKINGS: dict[str, Callable[..., Attribution]] = {
  "grad-cam": attribution.grad_cam,
  "gradient-x-input": attribution.gradient_x_input,
  "guided-backprop": attribution.guided_backprop,
  "guided-grad-cam": attribution.guided_grad_cam,
  "integrated-gradients": attribution.integrated_gradients,
  "lime": attribution.lime,
  "lrp": attribution.lrp,
  "random-pixels": _random_pixels,
  "random-wavelets": _random_wavelets,
  "rise": attribution.rise,
  "smooth-grad": attribution.smooth_grad,
  "var-grad": attribution.var_grad,
}


def parse_ranking(text: str) -> Attribution:
  """An attribution method from ``name`` or ``name:argument=value,...``.

  Raises:
    ValueError: Unknown name, or arguments that do not fit it.

  Example:
    >>> parse_ranking("lime:num_samples=100").name.partition(",")[0]
    'lime(num_samples=100'
  """
  name, _, arguments = text.partition(":")
  make = find("ranking", RANKINGS, name)
  try:
    pairs = (argument.split("=") for argument in arguments.split(",") if argument)
    return make(**{key: _value(value) for key, value in pairs})
  except (TypeError, ValueError) as error:
    raise ValueError(f"ranking {text!r} does not fit: {error}") from None


def _value(text: str) -> int | float | str:
  """A number where it is one; a text is the name of a layer."""
  for kind in (int, float):
    try:
      return kind(text)
    except ValueError:
      pass
  return text
