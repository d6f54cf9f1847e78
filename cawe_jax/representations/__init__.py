"""Linear maps between images and coefficients; a mask lives on the coefficients."""

from cawe_jax.representations.pixel import pixel
from cawe_jax.representations.wavelet import wavelet

__all__ = ["pixel", "wavelet"]
