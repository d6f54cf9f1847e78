"""Photographs for the experiments: where they are, what they show, how they are read.

``load(name)`` gives a sequence of :class:`Photograph` in a fixed order, whatever the
source: the twenty that ship in the foolbox package, a folder, or a dataset that
``python -m experiments.data.prepare`` wrote. Nothing is decoded before it is needed,
and nothing here imports TensorFlow.
"""

from experiments.data.photographs import Failure, Photograph, decode_all
from experiments.data.sharding import shard
from experiments.data.sources import load

__all__ = ["Failure", "Photograph", "decode_all", "load", "shard"]
