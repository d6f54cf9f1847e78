"""Linear maps between images and coefficients; a mask lives on the coefficients."""

from cawe_jax.representations.pixels import pixel
from cawe_jax.representations.wavelets import wavelet

__all__ = ["pixel", "wavelet"]
