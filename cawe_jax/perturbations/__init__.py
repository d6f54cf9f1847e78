"""What replaces a masked coefficient.

Each is a :class:`~cawe_jax.types.Perturbation`: ``init`` looks at the image once,
``sample`` makes one draw, shaped like the coefficients.
"""

from cawe_jax.perturbations.fixed import blur, constant, gaussian_blur, mean, zeros
from cawe_jax.perturbations.infilling import Inpainter, infill
from cawe_jax.perturbations.mixing import mixture
from cawe_jax.perturbations.noise import (
  Noise,
  Statistics,
  adaptive_gaussian,
  adaptive_uniform,
  scaled_gaussian,
  standard_normal,
  statistics,
)

__all__ = [
  "Inpainter",
  "Noise",
  "Statistics",
  "adaptive_gaussian",
  "adaptive_uniform",
  "blur",
  "constant",
  "gaussian_blur",
  "infill",
  "mean",
  "mixture",
  "scaled_gaussian",
  "standard_normal",
  "statistics",
  "zeros",
]
