"""The command ``cawe``."""

from cawe_jax.cli.command import main

__all__ = ["main"]
