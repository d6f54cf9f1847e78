"""``cawe convert``: a published checkpoint becomes a file of this package."""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from cawe_jax.classifiers.checkpoints import open_checkpoint
from cawe_jax.classifiers.converted import Converted, is_converted, save_converted
from cawe_jax.classifiers.published import ClassifierInfo
from cawe_jax.classifiers.registry import (
  classifier_info,
  convert_checkpoint,
  module_for,
  what_was_taken,
)
from cawe_jax.cli import streams
from cawe_jax.cli.lines import one_line
from cawe_jax.files.checksums import sha256
from cawe_jax.numerics.ambient import own_rules
from cawe_jax.numerics.devices import check_platform

_SUFFIX = ".safetensors"


@own_rules()
def run_convert(options: argparse.Namespace) -> int:
  """Read, convert, try and write; nothing is written unless all of it succeeds."""
  check_platform()
  source, out = Path(options.checkpoint), Path(options.out)
  _check_out(out, options.force)
  info = classifier_info(options.architecture)
  if is_converted(source):
    raise ValueError(f"checkpoint {str(source)!r} has been converted already")
  checkpoint = open_checkpoint(source, entry=options.entry)
  params = convert_checkpoint(checkpoint.tensors, info.name)
  logits = _logits_of_grey(info, params)
  if not np.isfinite(logits).all():
    raise ValueError(
      f"checkpoint {str(source)!r}: the network's logits of a grey image are not "
      "finite, so nothing was written"
    )
  digest = sha256(source)
  save_converted(out, Converted(info.name, digest, params))
  num_parameters = sum(array.size for array in params.values())
  lines = [f"{info.name}: {num_parameters:,} parameters in {len(params)} arrays"]
  taken = what_was_taken(checkpoint, info.name)
  lines += [
    f"from {one_line(str(source))}, SHA-256 {digest}{taken and f'; {taken}'}",
    f"to   {one_line(str(out))}, SHA-256 {sha256(out)}",
    f"check: {len(logits)} finite logits of a grey image, from {logits.min():.2f} to "
    f"{logits.max():.2f}",
  ]
  streams.report("\n".join(lines), str(out))
  return 0


def _check_out(out: Path, force: bool) -> None:
  if out.suffix != _SUFFIX:
    raise ValueError(f"--out {str(out)!r} must end with {_SUFFIX}")
  if not out.parent.is_dir():
    raise ValueError(f"--out {str(out)!r}: its folder does not exist")
  if out.is_dir():
    raise ValueError(f"--out {str(out)!r} is a folder")
  if out.exists() and not force:
    raise ValueError(f"--out {str(out)!r} exists; --force replaces it")


def _logits_of_grey(info: ClassifierInfo, params: dict[str, np.ndarray]) -> np.ndarray:
  """What the network makes of one image without content."""
  grey = jnp.full((1, info.input_size, info.input_size, 3), 0.5)
  tree = {"params": unflatten_dict(params, sep="/")}
  module = module_for(info.name, params)
  return np.asarray(jax.jit(module.apply)(tree, grey))[0]
