"""The options of ``cawe``: names, help, and what can be said of one alone.

A command gets its options when it is parsed. Those of ``explain`` list the names of all
parts, for which JAX is imported; ``cawe --version`` need not wait for that.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

import cawe_jax


class _Parser(argparse.ArgumentParser):
  """Refuses with one line, like everything else here.

  Args:
    add_options: Adds the options to this parser, before it parses for the first time.
    arguments: Those of ``ArgumentParser``.
  """

  def __init__(
    self, add_options: Callable[[_Parser], None] | None = None, **arguments: Any
  ):
    super().__init__(**arguments)
    self._add_options = add_options

  # As argparse declares it.
  def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
    """Add the options where that was not done yet, and parse."""
    if self._add_options is not None:
      self._add_options(self)
      self._add_options = None
    return super().parse_known_args(args, namespace)

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
  commands.add_parser(
    "explain",
    help="explain images",
    description="Writes STEM.png (a figure), STEM.npz (mask, explanation, history) and "
    "STEM.json (numbers and settings) for every image.",
    epilog="Example: cawe explain zebra.jpg --out results --lagrange-multiplier 40",
    add_options=_add_explain,
  )
  commands.add_parser(
    "figure",
    help="draw the figure of an .npz of cawe explain or cawe.save",
    add_options=_add_figure,
  )
  commands.add_parser(
    "classifiers",
    help="list networks, their published accuracy, and whether their weights are here",
    add_options=_add_classifiers,
  )
  commands.add_parser(
    "convert",
    help="turn a checkpoint of torchvision or timm into a file of this package",
    description="Reads a checkpoint without PyTorch and without executing anything in "
    "it, compares every tensor with the architecture, and writes one file that "
    "cawe explain --weights reads without either.",
    epilog="Example: cawe convert resnet18-f37072fd.pth --architecture resnet18 "
    "--out resnet18.safetensors",
    add_options=_add_convert,
  )
  commands.add_parser(
    "playground",
    help="the interactive article, in the browser",
    description="Serves a page on this machine on which masks are drawn, signals "
    "transformed and photographs explained by the network. Ctrl-C ends it.",
    add_options=_add_playground,
  )
  commands.add_parser("list", help="list classifiers, methods, parts and photographs")
  return parser


def _add_explain(explain: _Parser) -> None:
  from cawe_jax.methods.names import (
    DISTORTIONS,
    INITIAL_MASKS,
    METHODS,
    PERTURBATIONS,
    RECIPES,
    REPRESENTATIONS,
  )
  from cawe_jax.metrics import METRICS

  explain.add_argument(
    "images",
    nargs="+",
    metavar="IMAGE",
    help="a photograph's file, or sample:NAME for one from a package (see cawe list), "
    "or for a network of other than three channels an .npy file of an array [H, W, C]",
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
    help="a network of cawe classifiers, or MODULE:FUNCTION, a function without "
    "arguments that returns a cawe_jax.Classifier for photographs of three colours "
    "(default: %(default)s)",
  )
  explain.add_argument(
    "--weights",
    metavar="FILE",
    help="its weights: what cawe convert wrote, or a checkpoint of torchvision or timm "
    "(.pth, .safetensors), or random, to try things; default: from the package or the "
    "hub that publishes them",
  )
  _add_entry(explain)
  explain.add_argument(
    "--class-names",
    metavar="FILE",
    help="a text file with one name per line, for weights of other classes than "
    "ImageNet's",
  )
  explain.add_argument(
    "--target",
    nargs="+",
    metavar="CLASS",
    help="class to explain, by name or index; several are explained one by one "
    "(default: the predicted class)",
  )
  explain.add_argument("--seed", type=int, default=0, help="of all noise (default: 0)")
  explain.add_argument(
    "--batch-size",
    type=int,
    metavar="N",
    help="images optimised together, whose files are all written at their end "
    "(default: 1 on a CPU, 64 elsewhere)",
  )
  explain.add_argument(
    "--metric",
    nargs="+",
    default=(),
    metavar="NAME",
    help=f"numbers that judge each explanation, in the JSON: {', '.join(METRICS)}; or "
    "MODULE:FUNCTION, a function of a cawe_jax.metrics.Judged (default: none)",
  )
  explain.add_argument(
    "--confidence",
    type=float,
    metavar="C",
    help="bounds of what each mask holds, which are true with this probability, e.g. "
    "0.95, on 64 to 2048 draws of the noise (default: none)",
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
    help=f"what replaces a masked coefficient: {', '.join(PERTURBATIONS)}; "
    "numbers or parts after a colon, e.g. blur:5 or mixture:adaptive-gaussian,blur; or "
    "MODULE:FUNCTION, a function without "
    "arguments that returns a cawe_jax.types.Perturbation, e.g. mine:fog for fog of "
    "mine.py in this folder",
  )
  what.add_argument(
    "--distortion",
    metavar="NAME",
    help=f"what must not change: {', '.join(DISTORTIONS)}; or MODULE:FUNCTION, "
    "a function of clean_logits, logits, target",
  )
  what.add_argument(
    "--representation",
    metavar="NAME",
    help=f"in the place of db3 wavelets: {', '.join(REPRESENTATIONS)}; or "
    "MODULE:FUNCTION, a function without arguments that returns a "
    "cawe_jax.types.Transform",
  )
  what.add_argument(
    "--wavelet", metavar="NAME", help="e.g. haar, db3 (the default), sym4, bior2.2"
  )
  what.add_argument(
    "--levels",
    type=int,
    metavar="J",
    help="decomposition levels (default: as many as the image allows, up to 5)",
  )
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
  how.add_argument(
    "--initial-mask",
    metavar="NAME",
    help=f"where the search starts: {', '.join(INITIAL_MASKS)}, e.g. constant:0.5; or "
    "MODULE:FUNCTION, a function without arguments that returns an InitialMask",
  )
  how.add_argument("--step-size", type=float, metavar="X", help="of the solver")
  how.add_argument(
    "--stop",
    type=float,
    metavar="T",
    help="stop an image once a tenth of the run lowers its objective by less than this "
    "share, twice in a row, e.g. 0.02; for constant step sizes (published presets)",
  )


def _add_entry(command: _Parser) -> None:
  command.add_argument(
    "--entry",
    metavar="NAME",
    help="which state dictionary of a training checkpoint is read, if it has several, "
    "e.g. state_dict_ema",
  )


def _add_figure(figure: _Parser) -> None:
  figure.add_argument("file", metavar="FILE.npz")
  figure.add_argument("--out", required=True, metavar="FILE.png")
  figure.add_argument(
    "--bands",
    type=_bands,
    metavar="R,G,B",
    help="channels, counted from 0, drawn in red, green and blue, e.g. 3,2,1 (default: "
    "one channel is grey, three are colours, of any other number the mean is grey)",
  )


def _add_classifiers(classifiers: _Parser) -> None:
  classifiers.add_argument(
    "--json", action="store_true", help="with the sources of weights and numbers"
  )


def _add_convert(convert: _Parser) -> None:
  convert.add_argument(
    "checkpoint", metavar="CHECKPOINT", help="a .pth or .safetensors file"
  )
  convert.add_argument(
    "--architecture",
    required=True,
    metavar="NAME",
    help="the network that the weights are of; cawe classifiers lists them",
  )
  _add_entry(convert)
  convert.add_argument("--out", required=True, metavar="FILE.safetensors")
  convert.add_argument(
    "--force", action="store_true", help="replace the file if it exists"
  )


def _add_playground(playground: _Parser) -> None:
  from cawe_jax.methods.names import RECIPES

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
    "--allowed-host",
    action="append",
    default=[],
    metavar="NAME[:PORT]",
    help="a further name that the page may be opened under, as the browser shows it, "
    "e.g. box.local; also that of a proxy in front; may be repeated",
  )
  playground.add_argument(
    "--root-path",
    default="",
    metavar="/PATH",
    help="the path that a proxy serves the page under, where it passes it on; one that "
    "takes it off needs nothing",
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


def _bands(text: str) -> tuple[int, ...]:
  try:
    return tuple(int(number) for number in text.split(","))
  except ValueError:
    raise argparse.ArgumentTypeError(
      f"{text!r} is not three channels; write them as 3,2,1"
    ) from None
