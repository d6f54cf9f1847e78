"""The options of ``cawe``, and how they make a method.

An option that is not given means the preset's value. An option that does not apply to
the chosen method is an error, never ignored.
"""

from __future__ import annotations

import argparse
import math
from typing import Any, NoReturn

import cawe_jax
from cawe_jax import representations
from cawe_jax.checks import check_method
from cawe_jax.cli.parts import (
  distortion_names,
  parse_distortion,
  parse_perturbation,
  parse_representation,
  perturbation_names,
)
from cawe_jax.methods import Method
from cawe_jax.presets import METHODS, RECIPES, preset
from cawe_jax.stopping import plateau

_WAVELET_METHODS = ("cartoonx", "waveletx")
_PENALTY_OPTIONS = {"spatial_l1": "waveletx", "total_variation": "smooth-pixel-rde"}


class _Parser(argparse.ArgumentParser):
  """Refuses with one line, like everything else here."""

  def error(self, message: str) -> NoReturn:
    self.exit(2, f"cawe: error: {message} (see {self.prog} --help)\n")


def make_parser() -> argparse.ArgumentParser:
  """The parser of all commands."""
  parser = _Parser(
    prog="cawe",
    description="Which piece-wise smooth part of an image made the network decide so?",
  )
  parser.add_argument(
    "--version", action="version", version=f"cawe_jax {cawe_jax.__version__}"
  )
  commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
  _add_explain(commands)
  _add_figure(commands)
  _add_classifiers(commands)
  _add_convert(commands)
  _add_playground(commands)
  commands.add_parser("list", help="list classifiers, methods, parts and photographs")
  return parser


def _add_explain(commands: Any) -> None:
  explain = commands.add_parser(
    "explain",
    help="explain images",
    description="Writes STEM.png (a figure), STEM.npz (mask, explanation, history) and "
    "STEM.json (numbers and settings) for every image.",
    epilog="Example: cawe explain zebra.jpg --out results --lagrange-multiplier 40",
  )
  explain.add_argument(
    "images",
    nargs="+",
    metavar="IMAGE",
    help="a file, or sample:NAME for a photograph from a package (see cawe list)",
  )
  explain.add_argument(
    "--out",
    default="explanations",
    metavar="DIR",
    help="folder for results, made if missing (default: %(default)s)",
  )
  explain.add_argument(
    "--classifier",
    default="efficientnet-lite0",
    metavar="NAME",
    help="a network of cawe classifiers (default: %(default)s)",
  )
  explain.add_argument(
    "--weights",
    metavar="FILE",
    help="its weights: what cawe convert wrote, or a checkpoint of torchvision or timm "
    "(.pth, .safetensors); default: from the package or the hub that publishes them",
  )
  explain.add_argument(
    "--target",
    nargs="+",
    metavar="CLASS",
    help="class to explain, by index or name; several are explained one by one "
    "(default: the predicted class)",
  )
  explain.add_argument("--seed", type=int, default=0, help="of all noise (default: 0)")
  explain.add_argument(
    "--batch-size",
    type=int,
    metavar="N",
    help="images optimised together (default: 4 on a CPU, 64 elsewhere)",
  )
  explain.add_argument(
    "--force", action="store_true", help="do finished images again as well"
  )
  explain.add_argument("--quiet", action="store_true", help="no progress, only errors")

  what = explain.add_argument_group("what is optimised (default: the preset's)")
  what.add_argument(
    "--method", default="cartoonx", help=f"one of {', '.join(METHODS)} (cartoonx)"
  )
  what.add_argument(
    "--preset", default="default", help=f"one of {', '.join(RECIPES)} (default)"
  )
  size = what.add_mutually_exclusive_group()
  size.add_argument(
    "--lagrange-multiplier",
    type=float,
    metavar="X",
    help="weight of the mask's mean; larger keeps less",
  )
  size.add_argument(
    "--retain",
    type=float,
    metavar="R",
    help="the sparsest mask on a path of multipliers that retains this share of the "
    "class's probability, e.g. 0.9",
  )
  size.add_argument(
    "--budget", type=int, metavar="L", help="a hard mask of exactly L entries"
  )
  what.add_argument(
    "--perturbation",
    metavar="NAME",
    help=f"what replaces a masked coefficient: {', '.join(perturbation_names())}; "
    "numbers after a colon, e.g. blur:5; or MODULE:FUNCTION, a function without "
    "arguments that returns a cawe_jax.types.Perturbation, e.g. mine:fog for fog of "
    "mine.py in this folder",
  )
  what.add_argument(
    "--distortion",
    metavar="NAME",
    help=f"what must not change: {', '.join(distortion_names())}; or MODULE:FUNCTION, "
    "a function of clean_logits, logits, target",
  )
  what.add_argument(
    "--representation",
    metavar="MODULE:FUNCTION",
    help="in the place of wavelets: a function without arguments that returns a "
    "cawe_jax.types.Transform",
  )
  what.add_argument("--wavelet", metavar="NAME", help="e.g. haar, db3, sym4, bior2.2")
  what.add_argument("--levels", type=int, metavar="J", help="decomposition levels")
  what.add_argument("--mode", help="padding of the wavelet transform, e.g. zero")
  what.add_argument(
    "--spatial-l1", type=float, metavar="W", help="weight of it (waveletx)"
  )
  what.add_argument(
    "--total-variation", type=float, metavar="W", help="weight (smooth-pixel-rde)"
  )

  how = explain.add_argument_group("how (default: the preset's)")
  how.add_argument(
    "--steps", type=int, metavar="N", help="steps at most, of the preset's size"
  )
  how.add_argument("--draws", type=int, metavar="L", help="noise draws per step")
  how.add_argument("--step-size", type=float, metavar="X", help="of the solver")
  how.add_argument(
    "--stop",
    type=float,
    metavar="T",
    help="stop an image once a tenth of the run lowers its objective by less than this "
    "share, twice in a row, e.g. 0.02; for constant step sizes (published presets)",
  )


def _add_figure(commands: Any) -> None:
  figure = commands.add_parser(
    "figure", help="draw the figure of an .npz of cawe explain or cawe.save"
  )
  figure.add_argument("file", metavar="FILE.npz")
  figure.add_argument("--out", required=True, metavar="FILE.png")


def _add_classifiers(commands: Any) -> None:
  classifiers = commands.add_parser(
    "classifiers",
    help="list networks, their published accuracy, and whether their weights are here",
  )
  classifiers.add_argument(
    "--json", action="store_true", help="with the sources of weights and numbers"
  )


def _add_convert(commands: Any) -> None:
  convert = commands.add_parser(
    "convert",
    help="turn a checkpoint of torchvision or timm into a file of this package",
    description="Reads a checkpoint without PyTorch and without executing anything in "
    "it, compares every tensor with the architecture, and writes one file that "
    "cawe explain --weights reads without either.",
    epilog="Example: cawe convert resnet18-f37072fd.pth --architecture resnet18 "
    "--out resnet18.safetensors",
  )
  convert.add_argument(
    "checkpoint", metavar="CHECKPOINT", help="a .pth or .safetensors file"
  )
  convert.add_argument(
    "--architecture",
    required=True,
    metavar="NAME",
    help="the network that the weights are of; cawe classifiers lists them",
  )
  convert.add_argument("--out", required=True, metavar="FILE.safetensors")
  convert.add_argument(
    "--force", action="store_true", help="replace the file if it exists"
  )


def _add_playground(commands: Any) -> None:
  playground = commands.add_parser(
    "playground",
    help="the interactive article, in the browser",
    description="Serves a page on this machine on which masks are drawn, signals "
    "transformed and photographs explained by the network. Ctrl-C ends it.",
  )
  playground.add_argument(
    "--host",
    default="127.0.0.1",
    metavar="ADDRESS",
    help="address to serve at; others than this machine's own let others in "
    "(default: %(default)s)",
  )
  playground.add_argument(
    "--port",
    type=int,
    default=8000,
    metavar="N",
    help="0 takes a free one (default: %(default)s)",
  )
  playground.add_argument(
    "--open", action="store_true", help="open the page in a browser"
  )
  playground.add_argument(
    "--classifier",
    default="efficientnet-lite0",
    metavar="NAME",
    help="a network of cawe classifiers (default: %(default)s)",
  )
  playground.add_argument(
    "--preset",
    default="fast",
    help=f"how masks are searched: one of {', '.join(RECIPES)} (fast)",
  )


def make_method(options: argparse.Namespace) -> Method:
  """The method that the options describe.

  Raises:
    ValueError: One line that names the option, its value and what is allowed.
  """
  method = preset(options.method, options.preset)
  if options.perturbation is not None:
    method = method._replace(perturbation=parse_perturbation(options.perturbation))
  if options.distortion is not None:
    method = method._replace(distortion=parse_distortion(options.distortion))
  if options.lagrange_multiplier is not None:
    method = method._replace(lagrange_multiplier=options.lagrange_multiplier)
  method = _with_representation(method, options)
  method = _with_penalties(method, options)
  given = {
    "num_steps": options.steps,
    "num_draws": options.draws,
    "step_size": options.step_size,
    "stopping": None if options.stop is None else plateau(tolerance=options.stop),
  }
  recipe = method.recipe._replace(**{k: v for k, v in given.items() if v is not None})
  _check(options)
  method = method._replace(recipe=recipe)
  check_method(method)
  return method


def _with_representation(method: Method, options: argparse.Namespace) -> Method:
  given = {
    name: value
    for name in ("representation", "wavelet", "levels", "mode")
    if (value := getattr(options, name)) is not None
  }
  if not given:
    return method
  if method.name not in _WAVELET_METHODS:
    raise ValueError(
      f"option --{next(iter(given))} does not apply to method {method.name!r}; it is "
      f"for {', '.join(_WAVELET_METHODS)}"
    )
  own = given.pop("representation", None)
  if own is not None:
    if given:
      raise ValueError(
        f"option --representation {own!r} does not go with --{next(iter(given))}, "
        "which is of wavelets; give one of them"
      )
    return method._replace(representation=parse_representation(own))
  name = given.pop("wavelet", "db3")
  return method._replace(representation=representations.wavelet(name, **given))


def _with_penalties(method: Method, options: argparse.Namespace) -> Method:
  for name, owner in _PENALTY_OPTIONS.items():
    weight = getattr(options, name)
    if weight is None:
      continue
    if method.name != owner:
      raise ValueError(
        f"option --{name.replace('_', '-')} does not apply to method {method.name!r}; "
        f"it is for {owner}"
      )
    method = method._replace(penalty_weights=(weight,))
  return method


def _check(options: argparse.Namespace) -> None:
  """What no later check can name as the option it is."""
  for name in ("steps", "draws", "batch_size"):
    value = getattr(options, name)
    if value is not None and value < 1:
      raise ValueError(f"--{name.replace('_', '-')} is {value}; it must be at least 1")
  if not 0 <= options.seed < 2**32:
    raise ValueError(f"--seed is {options.seed}; allowed is 0 to 2**32 - 1")
  retain = options.retain
  if retain is not None and not (math.isfinite(retain) and 0 < retain <= 1):
    raise ValueError(f"--retain is {retain}; it must be above 0 and at most 1")
  if options.budget is not None and options.budget < 1:
    raise ValueError(f"--budget is {options.budget}; it must be at least 1")
