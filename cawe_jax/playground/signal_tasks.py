"""What figures 2 and 3 get from the server: answers of :mod:`cawe_jax.signals`.

Arrays travel as base64 of little-endian float32, row by row. What does not depend on a
visitor's signal (mother wavelets, filters of the discrete transform, colours) is in the
catalogue.
"""

from __future__ import annotations

import base64
import functools
from typing import Any

import numpy as np
import pywt

from cawe_jax import signals
from cawe_jax.figures.colours import colour_table
from cawe_jax.playground.messages import Analyse, SignalAnalysed
from cawe_jax.signals import Signal

SCALOGRAM_WAVELETS = {
  "cmor1.5-1.0": "Complex Morlet",
  "cmor6.0-1.0": "Complex Morlet, longer",
  "morl": "Morlet, real",
  "mexh": "Mexican hat",
  "gaus1": "Slope of a Gaussian",
}
MOTHER_WAVELETS = SCALOGRAM_WAVELETS | {
  "haar": "Haar",
  "db2": "Daubechies 2",
  "db3": "Daubechies 3",
  "sym4": "Symlet 4",
}
IMAGE_WAVELETS = {
  "haar": "Haar",
  "db2": "Daubechies 2",
  "db3": "Daubechies 3",
  "db4": "Daubechies 4",
  "sym4": "Symlet 4",
  "coif1": "Coiflet 1",
  "bior2.2": "Biorthogonal 2.2",
  "bior4.4": "Biorthogonal 4.4",
}
"""The wavelet of figure 3; in two dimensions, periodised."""
IMAGE_SIZE = 128
"""Pixels a side of what is drawn in figure 3."""
COLOURS = {
  "sequential": "viridis",
  # Zero is the colour of the page: white on a light one, nearly black on a dark one.
  "diverging_light": "RdBu_r",
  "diverging_dark": "berlin",
}


def analyse(request: Analyse) -> SignalAnalysed:
  """Fourier spectrum and scalogram of what a visitor chose or drew.

  Raises:
    ValueError: Neither or both of name and samples, or one that is not allowed.

  Example:
    >>> answer = analyse(Analyse(7, name="delta"))
    >>> answer.id, answer.analysis["title"], answer.analysis["shape"]
    (7, 'Peak', [64, 257])
  """
  wavelet = request.wavelet or signals.DEFAULT_WAVELET
  if wavelet not in SCALOGRAM_WAVELETS:
    allowed = ", ".join(SCALOGRAM_WAVELETS)
    raise ValueError(f"wavelet is {wavelet!r}; allowed are {allowed}")
  if (request.name is None) == (request.samples is None):
    raise ValueError("one of name and samples must be given, and not both")
  if request.samples is not None:
    return SignalAnalysed(
      request.id, _analyse(signals.custom(request.samples), wavelet)
    )
  if request.name not in signals.SIGNALS:
    allowed = ", ".join(signals.SIGNALS)
    raise ValueError(f"name is {request.name!r}; allowed are {allowed}")
  return SignalAnalysed(request.id, _analyse_named(request.name, wavelet))


@functools.cache
def _analyse_named(name: str, wavelet: str) -> dict[str, Any]:
  """Remembered: there are few, and everybody asks for them."""
  return _analyse(signals.SIGNALS[name](), wavelet)


def _analyse(signal: Signal, wavelet: str) -> dict[str, Any]:
  spectrum = signals.fourier(signal)
  scalogram = signals.scalogram(signal, wavelet)
  return {
    "name": signal.name,
    "title": signal.title,
    "source": signal.source,
    "time_unit": signal.time_unit,
    "value_unit": signal.value_unit,
    "time_start": signal.time_start,
    "sampling_period": signal.sampling_period,
    "values": floats(signal.values),
    "frequency_step": float(spectrum.frequencies[1]),
    "amplitudes": floats(spectrum.amplitudes),
    "wavelet": wavelet,
    "periods": floats(scalogram.periods),
    "magnitude": floats(scalogram.magnitude),
    "shape": list(scalogram.magnitude.shape),
    "magnitude_unit": f"{signal.value_unit} √{signal.time_unit}".strip(),
    "cone_of_influence": floats(scalogram.cone_of_influence),
  }


def offer() -> dict[str, Any]:
  """The part of the catalogue that figures 2 and 3 read.

  Example:
    >>> [signal["name"] for signal in offer()["signals"]]
    ['sines', 'delta', 'el-nino']
  """
  named = [make() for make in signals.SIGNALS.values()]
  return {
    "signals": [{"name": s.name, "title": s.title} for s in named],
    "wavelets": [{"name": n, "title": t} for n, t in SCALOGRAM_WAVELETS.items()],
    "mother_wavelets": [_mother(n, t) for n, t in MOTHER_WAVELETS.items()],
    "image_size": IMAGE_SIZE,
    "image_wavelets": [
      {"name": n, "title": t, "max_levels": pywt.dwt_max_level(IMAGE_SIZE, n)}
      for n, t in IMAGE_WAVELETS.items()
    ],
    "filters": wavelet_filters(),
    "colours": {
      use: base64.b64encode(colour_table(name).tobytes()).decode()
      for use, name in COLOURS.items()
    },
  }


def wavelet_filters() -> dict[str, dict[str, list[float]]]:
  """PyWavelets' filters of the image wavelets, as numbers that JSON keeps exactly.

  Example:
    >>> [round(tap, 4) for tap in wavelet_filters()["haar"]["dec_hi"]]
    [-0.7071, 0.7071]
  """
  kinds = ("dec_lo", "dec_hi", "rec_lo", "rec_hi")
  return {
    name: {kind: list(getattr(pywt.Wavelet(name), kind)) for kind in kinds}
    for name in IMAGE_WAVELETS
  }


def floats(values: np.ndarray) -> str:
  """Base64 of little-endian float32, row by row.

  Example:
    >>> floats(np.ones(1))
    'AACAPw=='
  """
  return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def _mother(name: str, title: str) -> dict[str, Any]:
  x, psi = signals.mother_wavelet(name)
  return {
    "name": name,
    "title": title,
    "x_start": float(x[0]),
    "x_step": float(x[1] - x[0]),
    "real": floats(psi.real),
    "imaginary": floats(psi.imag) if np.iscomplexobj(psi) else None,
    "cycles_per_scale": signals.cycles_per_scale(name),
  }
