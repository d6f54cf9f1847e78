"""CartoonX in JAX: the piece-wise smooth part of an image behind a decision."""

__version__ = "0.1.0"
