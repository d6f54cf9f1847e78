"""The command ``cawe``."""

from cawe_jax.cli.main import main

__all__ = ["main"]
