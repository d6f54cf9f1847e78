"""Figures of explanations; the only part of the library that imports matplotlib."""

from cawe_jax.figures.explanation import explanation_figure, save_figure
from cawe_jax.figures.layout import mask_layout
from cawe_jax.figures.mask_images import mask_picture

__all__ = ["explanation_figure", "mask_layout", "mask_picture", "save_figure"]
