"""Explanation methods: what is optimised, how, and by which name."""

from cawe_jax.methods.method import (
  BoundMethod,
  Method,
  cartoonx,
  pixel_rde,
  smooth_pixel_rde,
  waveletx,
)

__all__ = [
  "BoundMethod",
  "Method",
  "cartoonx",
  "pixel_rde",
  "smooth_pixel_rde",
  "waveletx",
]
