"""One explanation on one page: what was seen, what was kept, how it was found.

The top row holds the images (input, greyscale explanation, what the network saw with
the rest left out and with the rest replaced, mask), the bottom row the optimisation and
the numbers, so that the figure reads alone. Everything is drawn with matplotlib's
object interface: no ``pyplot``, hence no global state, no window, and nothing to close.
Sizes and colours are given explicitly, and names are never parsed as formulas.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from cawe_jax.explaining import emptiness, optimality
from cawe_jax.figures.bands import as_shown
from cawe_jax.figures.layout import enlarged, is_wavelet, mask_blocks, mask_layout
from cawe_jax.files.writing import MARK, atomic_write
from cawe_jax.types import Explanation

LOW_RATIO = 0.1
"""Below this share of the clean probability, the figure says that little is kept."""

_PANEL_PIXELS = 360  # width of one image on the page
_INK, _GREY, _FAINT, _WARNING = "#1d1d21", "#6b6b73", "#e6e6ea", "#b3261e"
_COLOURS = {"distortion": "#d1495b", "λ · rate": "#1f7a99", "other terms": "#b9770e"}
_ON_ANY_COLOUR: dict[str, Any] = {
  "color": "white",
  "path_effects": [withStroke(linewidth=2, foreground=_INK)],
}
_METADATA: dict[str, dict[str, Any]] = {
  ".png": {"Software": MARK},
  ".pdf": {"Creator": MARK, "CreationDate": None},
}


class _Page(Figure):
  """A figure that a notebook shows, whether or not ``pyplot`` was ever imported."""

  def _repr_png_(self) -> bytes:
    file = io.BytesIO()
    self.savefig(file, format="png", dpi="figure", facecolor="white")
    return file.getvalue()


def explanation_figure(
  explanation: Explanation,
  *,
  target_name: str | None = None,
  title: str | None = None,
  bands: Sequence[int] | None = None,
) -> Figure:
  """Draws one image's explanation, its mask, its optimisation and its numbers.

  The mask is laid out as by :func:`mask_layout`; its colours follow the square root of
  the entries, since most entries are near zero. Numbers that are not finite read
  "n/a". A plain line says so when the mask is nearly empty or keeps little of the
  class. The curve "other terms" is what further penalties add to the objective.

  Args:
    explanation: The explanation of one image, of JAX or NumPy arrays.
    target_name: Name of what is explained; by default the one that the network had for
      it, or its number, ``class 285``, ``output 1`` of a regression.
    title: Heading; by default it names the class. Long texts are shortened.
    bands: Three channels, counted from 0, that are drawn in red, green and blue, such
      as ``(3, 2, 1)`` of a satellite's image. By default one channel is drawn in grey,
      three as red, green and blue, and of any other number the mean in grey. The
      headings say what is drawn.

  Returns:
    A figure of 17.5 x 6.7 inches at 110 dots per inch with an Agg canvas, which
    notebooks show as a picture.

  Raises:
    ValueError: ``explanation`` is a batch, a leaf of its mask is not
      ``[orientations, h, w, 1]``, or the bands are not three channels of the image.

  Example:
    >>> figure = explanation_figure(explanation)  # doctest: +SKIP
    >>> save_figure(figure, "cat.png")  # doctest: +SKIP
  """
  e = explanation
  if (rank := np.ndim(e.input_image)) != 3:
    raise ValueError(
      f"explanation: got an input_image of rank {rank}, allowed: one image [H, W, C];"
      " take one of a batch with jax.tree.map(lambda leaf: leaf[i], explanation)"
    )
  name = e.target_name if target_name is None else target_name
  score, replaced, left_out = _scores(e)
  figure = _Page(figsize=(17.5, 6.7), dpi=110, facecolor="white")
  FigureCanvasAgg(figure)
  title = f"Explanation of “{_shorten(name, 80)}”" if title is None else title
  _write(figure, 0.035, 0.979, _shorten(title, 110), size=16, weight="bold", va="top")
  _write(figure, 0.035, 0.927, _notice(e), size=11, color=_WARNING, va="top")

  top = {"left": 0.035, "right": 0.965, "top": 0.815, "bottom": 0.32, "wspace": 0.08}
  cells = figure.add_gridspec(1, 5, **top)
  image, grey, colour, draw, mask = (figure.add_subplot(cells[i]) for i in range(5))
  _draw_image(image, e.input_image, "Image", bands)
  _subtitle(image, f"{_shorten(name, 30)}, {score}")
  _draw_image(grey, e.image, "Explanation")
  _subtitle(grey, "what the mask keeps, in grey")
  _draw_image(colour, e.masked_image, "Rest left out", bands)
  _subtitle(colour, left_out)
  _draw_image(draw, e.obfuscated_image, "Rest replaced", bands)
  _subtitle(draw, replaced)
  _draw_mask(mask, e.mask)
  _subtitle(mask, f"mean {_percent(e.rate)}, above zero {_percent(e.rate_l0)}")

  # Left edges: those of the panels above, plus room for the tick labels.
  terms = figure.add_axes((0.0585, 0.065, 0.529, 0.165))
  _draw_curves(terms, "Objective by step", _terms(e))
  rate = figure.add_axes((0.6249, 0.065, 0.1513, 0.165))
  _draw_curves(rate, "Mean of the mask by step", {"rate": e.history.rate})
  _draw_numbers(figure.add_axes((0.7902, 0.065, 0.1748, 0.165)), e)
  return figure


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
  """Writes a figure whole or not at all; equal figures give equal files.

  Args:
    figure: The figure.
    path: File ending in ``.png`` or ``.pdf``.

  Raises:
    ValueError: ``path`` ends otherwise.
    FileNotFoundError: The folder does not exist.
  """
  suffix = Path(path).suffix.lower()
  if suffix not in _METADATA:
    raise ValueError(f"path: got suffix {suffix!r}, allowed: {', '.join(_METADATA)}")
  with atomic_write(path) as temporary:
    figure.savefig(
      temporary, dpi="figure", facecolor="white", metadata=_METADATA[suffix]
    )


def _scores(e: Explanation) -> tuple[str, str, str]:
  """What is said of the target: on the image, under draws, of the mask's part alone."""
  if e.is_regression:
    return (
      f"value {_number(e.score)}",
      f"one draw; on average value {_number(e.score_with_noise)}",
      f"value {_number(e.score_without_noise)}",
    )
  if not np.isfinite(e.retained_probability):  # hardly any to keep: it was raised
    return (
      f"p = {_number(e.probability)}",
      f"one draw; on average p = {_number(e.score_with_noise)}",
      f"p = {_number(e.score_without_noise)}",
    )
  return (
    f"p = {_number(e.probability)}",
    f"one draw; on average keeps {_percent(e.retained_probability)} of p",
    f"keeps {_percent(e.explanation_probability)} of p",
  )


def _draw_image(
  axes: Axes, image: Any, heading: str, bands: Sequence[int] | None = None
) -> None:
  picture, caption = as_shown(image, bands)
  known = np.isfinite(picture).all()  # not of a draw that an old file does not have
  axes.imshow(picture if known else np.ones_like(picture), cmap="gray", vmin=0, vmax=1)
  _bare(axes)
  _heading(axes, f"{heading}, {caption}" if caption else heading, up=20)
  if not known:
    _write(axes, 0.5, 0.5, "n/a", transform=axes.transAxes, color=_GREY, ha="center")


def _draw_mask(axes: Axes, mask: Sequence[Any]) -> None:
  mask = enlarged(mask)
  blocks, (height, width) = mask_blocks(mask)
  wavelet = is_wavelet(mask)
  drawn = axes.imshow(
    mask_layout(mask),
    cmap=colormaps["magma"].with_extremes(bad=_FAINT),
    norm=PowerNorm(0.5, vmin=0, vmax=1),
    # Larger masks are averaged, so that an isolated entry fades but does not vanish.
    interpolation="nearest" if max(height, width) <= _PANEL_PIXELS else "antialiased",
  )
  _bare(axes)
  _heading(axes, _mask_heading(len(blocks), wavelet), up=20)
  _draw_colour_bar(axes, drawn)
  for leaf, orientation, rows, columns in blocks:
    diagonal = wavelet and (orientation == 2 or leaf == 0)
    if diagonal and columns.stop - columns.start > 0.04 * max(height, width):
      level = f"J={len(mask) - leaf}" if leaf else "A"
      middle = (columns.start + columns.stop) / 2
      _write(
        axes, middle, 1.015 * height, level, size=7, color=_GREY, ha="center", va="top"
      )
    if wavelet and leaf == len(mask) - 1:
      corner = columns.stop - 0.02 * width, rows.start + 0.02 * height
      _write(axes, *corner, "HVD"[orientation], **_ON_ANY_COLOUR, ha="right", va="top")


def _mask_heading(num_blocks: int, wavelet: bool) -> str:
  if wavelet:
    return "Mask by scale and orientation"
  return "Mask" if num_blocks == 1 else "Mask, leaf by leaf"


def _draw_colour_bar(axes: Axes, drawn: Any) -> None:
  bar = axes.figure.colorbar(
    drawn, cax=axes.inset_axes((1.03, 0, 0.03, 1)), ticks=[0, 0.1, 0.5, 1]
  )
  bar.ax.set_yticks([0, 0.1, 0.5, 1], ["0", ".1", ".5", "1"])
  bar.ax.yaxis.set_minor_locator(NullLocator())
  bar.ax.tick_params(labelsize=8, labelcolor=_GREY, length=0, pad=3)
  bar.outline.set_visible(False)


def _terms(e: Explanation) -> dict[str, np.ndarray]:
  """The curves that add up to the objective."""
  h = e.history
  objective, distortion = (
    np.asarray(h.objective, float),
    np.asarray(h.distortion, float),
  )
  rate_term = np.asarray(h.lagrange_multiplier, float) * np.asarray(h.rate, float)
  terms = {"objective": objective, "distortion": distortion, "λ · rate": rate_term}
  if h.penalties:
    terms["other terms"] = objective - distortion - rate_term
  return terms


def _draw_curves(axes: Axes, heading: str, curves: Mapping[str, Any]) -> None:
  """Draws what is positive and finite, on a log axis of at most six decades."""
  arrays = {name: np.asarray(curve, float) for name, curve in curves.items()}
  visible = {n: np.where(a > 0, a, np.nan) for n, a in arrays.items()}
  for name, curve in visible.items():
    colour = _COLOURS.get(name, _INK)
    axes.plot(curve, color=colour, linewidth=0.7, alpha=0.25)
    axes.plot(_running_mean(curve), label=name, color=colour, linewidth=1.3)
  values = np.concatenate(list(visible.values()))
  values = values[np.isfinite(values)]
  if values.size:
    axes.set_yscale("log")
    bottom, top = max(values.min(), 1e-6 * values.max()) / 2, values.max() * 2
    axes.set_ylim(bottom, top)
    subs = (1, 2, 5) if top < 50 * bottom else (1,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
  else:
    axes.set_yticks([])
    _write(axes, 0.5, 0.5, "n/a", transform=axes.transAxes, color=_GREY)
  axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
  axes.tick_params(labelsize=8.5, labelcolor=_GREY, color=_FAINT)
  axes.spines[:].set_color(_FAINT)
  axes.spines[["top", "right"]].set_visible(False)
  axes.margins(x=0.01)
  _heading(axes, heading, up=8, left=29)
  if len(curves) > 1:
    axes.legend(
      loc="lower right",
      bbox_to_anchor=(1, 1.02),
      ncols=len(curves),
      frameon=False,
      fontsize=9.5,
      handlelength=1.3,
      columnspacing=1.6,
      borderpad=0,
      borderaxespad=0,
      labelcolor=_INK,
    )


def _running_mean(curve: np.ndarray) -> np.ndarray:
  """Over 2 % of the run: a step's few draws say little."""
  half = len(curve) // 100
  windows = (curve[max(i - half, 0) : i + half + 1] for i in range(len(curve)))
  return np.array(
    [w[~np.isnan(w)].mean() if (~np.isnan(w)).any() else np.nan for w in windows]
  )


def _draw_numbers(axes: Axes, e: Explanation) -> None:
  error = _number(e.distortion_standard_error)
  rows = {
    "distortion ± s.e.": f"{_number(e.distortion)} ± {error}",
    "rate: l1 / l0": f"{_number(e.rate)} / {_number(e.rate_l0)}",
    "objective": f"{_number(e.objective)} at λ = {_number(e.lagrange_multiplier)}",
    "steps": f"{int(e.num_steps):,}",
    "network evaluations": f"{int(e.model_evaluations):,}",
  }
  axes.set_axis_off()
  _heading(axes, "Numbers", up=8)
  for i, (label, value) in enumerate(rows.items()):
    place = {"transform": axes.transAxes, "va": "center", "size": 9.5}
    height = 0.93 - 0.235 * i
    _write(axes, 0, height, label, color=_GREY, **place)
    _write(axes, 1, height, value, ha="right", **place)


def _notice(e: Explanation) -> str:
  """What a reader must know before trusting the pictures; often nothing."""
  at = f"at λ = {_number(e.lagrange_multiplier)}"
  if doubt := optimality.doubt(e):
    return doubt
  if nothing := emptiness.notice(e):
    return nothing
  if float(e.retained_probability) < LOW_RATIO:
    percent = _percent(e.retained_probability)
    return f"Weak explanation: the mask found {at} keeps only {percent} of p."
  if float(e.explanation_probability) < LOW_RATIO:
    percent = _percent(e.explanation_probability)
    return f"With the rest left out, the masked image keeps only {percent} of p."
  return ""


def _heading(axes: Axes, text: str, up: float, left: float = 0) -> None:
  """Bold text above the panel; `up` and `left` of its corner in points."""
  _above(axes, text, (-left, up), size=12, weight="bold")


def _subtitle(axes: Axes, text: str) -> None:
  _above(axes, text, (0, 6), size=10.5, color=_GREY)


def _above(axes: Axes, text: str, offset: tuple[float, float], **style: Any) -> None:
  axes.annotate(
    text,
    (0, 1),
    offset,
    xycoords="axes fraction",
    textcoords="offset points",
    parse_math=False,
    **{"color": _INK, **style},
  )


def _write(where: Figure | Axes, x: float, y: float, text: str, **style: Any) -> None:
  where.text(x, y, text, parse_math=False, **{"color": _INK, **style})


def _bare(axes: Axes) -> None:
  axes.set_anchor("NW")  # images of any shape line up with their headings
  axes.set_xticks([])
  axes.set_yticks([])
  axes.spines[:].set_visible(False)


def _number(value: Any) -> str:
  number = float(value)
  return f"{number:.3g}" if math.isfinite(number) else "n/a"


def _percent(value: Any) -> str:
  number = 100 * float(value)
  digits = f"{number:.0f}" if number >= 10 else f"{number:.2g}"
  return f"{digits} %" if math.isfinite(number) else "n/a"


def _shorten(text: str, width: int) -> str:
  """One line of at most `width` characters."""
  text = " ".join(text.split())
  return text if len(text) <= width else text[: width - 1].rstrip(" ,") + "…"
