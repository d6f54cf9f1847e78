r"""Signals in one dimension, their Fourier spectrum and their wavelet transform.

What the second figure of the article compares: the Fourier transform says which
frequencies occur, the continuous wavelet transform

.. math:: W(a, b) = a^{-1/2} \int \overline{\psi\Big(\frac{t - b}{a}\Big)} f(t) dt

also when, for every scale a and position b. Everything is NumPy in float64, because a
signal of some hundred samples takes milliseconds.

The transform is PyWavelets' ``cwt``. jaxwt's is a port of it and equals it to rounding
where both sample the wavelet alike (tested), but compiles anew for each scale and
length: ten to sixty seconds for the 64 scales of a signal of a new length, against some
milliseconds. It also fixes that sampling at what PyWavelets has found too coarse.

Two things are done here, since PyWavelets leaves them out or is rough. The period that
belongs to a scale is the one of the sine that answers most strongly (Torrence and Compo
1998, Sec. 3h); PyWavelets reads it off a spectrum of steps of 1/16, 11 % off for the
Mexican hat. And the cone of influence says where the ends of the signal are felt.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pywt
import pywt.data

MIN_SAMPLES, MAX_SAMPLES = 8, 1024
"""Lengths that :func:`custom` takes."""
DEFAULT_WAVELET = "cmor1.5-1.0"
"""Complex Morlet: its magnitude does not oscillate along a steady sine."""
_PRECISION = 18
"""log2 of the points that ``cwt`` samples a wavelet with. Rounded to them, a step of a
signal is wrong by 10 % at a scale of 25 samples with the default of 12, for the 16
units of a Morlet wavelet; with 18 by 0.2 %."""


class Signal(NamedTuple):
  """A signal sampled at equal steps.

  Attributes:
    name: Short, e.g. ``el-nino``.
    title: For people.
    values: Samples in ``value_unit``, float64 ``[N]``.
    sampling_period: Step between two samples, in ``time_unit``.
    time_start: Time of the first sample, in ``time_unit``.
    time_unit: What time is counted in, in the plural, e.g. ``years``.
    value_unit: What the values are; empty for plain numbers.
    source: Where the signal is from, one sentence.
  """

  name: str
  title: str
  values: np.ndarray
  sampling_period: float
  time_start: float
  time_unit: str
  value_unit: str
  source: str


class Spectrum(NamedTuple):
  """What :func:`fourier` returns.

  Attributes:
    frequencies: From 0 to the Nyquist frequency, in cycles per time unit,
      ``[N // 2 + 1]``.
    amplitudes: Amplitude of the sine of each frequency, in the values' unit,
      ``[N // 2 + 1]``.
  """

  frequencies: np.ndarray
  amplitudes: np.ndarray


class Scalogram(NamedTuple):
  """What :func:`scalogram` returns; S scales from small to large.

  Attributes:
    scales: Scales a in time units, equal steps of their logarithm, ``[S]``.
    periods: Period of the sine that answers most at each scale, time units, ``[S]``.
    frequencies: ``1 / periods``.
    magnitude: ``|W(a, b)|`` in the values' unit times the square root of the time unit,
      ``[S, N]``; b is the time of each sample.
    cone_of_influence: Longest period at each time that the ends of the signal leave
      alone, ``[N]``.
  """

  scales: np.ndarray
  periods: np.ndarray
  frequencies: np.ndarray
  magnitude: np.ndarray
  cone_of_influence: np.ndarray


class MotherWavelet(NamedTuple):
  """What :func:`mother_wavelet` returns.

  Attributes:
    x: Equal steps over the wavelet's support, its middle at 0, ``[P]``.
    psi: Values there, float64 or complex128 ``[P]``.
  """

  x: np.ndarray
  psi: np.ndarray


def sines() -> Signal:
  """Four seconds of sines that come and go.

  4 Hz all the time; 12 Hz in the first half, 24 Hz in the second; 48 Hz for the half
  second around the middle.

  Example:
    >>> sines().values.shape
    (512,)
  """
  period = 1 / 128
  time = np.arange(512) * period
  windows = [
    (4, time >= 0),
    (12, time < 2),
    (24, time >= 2),
    (48, np.abs(time - 2) < 0.25),
  ]
  values = sum(np.sin(2 * np.pi * f * time) * inside for f, inside in windows)
  source = "4 Hz throughout, 12 Hz then 24 Hz, 48 Hz for half a second in the middle."
  return Signal("sines", "Sines", np.asarray(values), period, 0.0, "s", "", source)


def delta() -> Signal:
  """Four seconds of zeros but for one sample of 1 at 2 seconds.

  Example:
    >>> int(delta().values.argmax()), float(delta().values.sum())
    (128, 1.0)
  """
  values = np.zeros(257)
  values[128] = 1
  source = "Zero everywhere but for one sample."
  return Signal("delta", "Peak", values, 1 / 64, 0.0, "s", "", source)


def el_nino() -> Signal:
  """Sea-surface temperature of the eastern Pacific (NINO3), quarterly, 1950 to 2015.

  The article shows the years 1871 to 1997. PyWavelets once pointed to those and ships
  these: NOAA's ERSSTv4, three-month means, centred and divided by their standard
  deviation, seasons included.

  Example:
    >>> signal = el_nino()
    >>> len(signal.values), signal.time_start, signal.sampling_period
    (264, 1950.0, 0.25)
  """
  time, values = pywt.data.nino()
  return Signal(
    "el-nino",
    "El Niño",
    np.asarray(values, float),
    float(time[1] - time[0]),
    float(time[0]),
    "years",
    "standard deviations",
    "Sea-surface temperature of the eastern Pacific (NINO3), three-month means from "
    "1950 to 2015, NOAA ERSSTv4 as shipped by PyWavelets.",
  )


SIGNALS: dict[str, Callable[[], Signal]] = {
  "sines": sines,
  "delta": delta,
  "el-nino": el_nino,
}
"""The named signals."""


def custom(samples: Sequence[float] | np.ndarray) -> Signal:
  """A signal of one's own, one sample per unit of time.

  Args:
    samples: 8 to 1024 finite numbers of magnitude up to 1e6.

  Raises:
    ValueError: Another number of samples, or values outside.

  Example:
    >>> custom([0, 1] * 4).time_unit
    'samples'
  """
  values = np.asarray(samples, float)
  if values.ndim != 1 or not MIN_SAMPLES <= values.size <= MAX_SAMPLES:
    raise ValueError(
      f"samples has shape {list(values.shape)}; allowed are {MIN_SAMPLES} to "
      f"{MAX_SAMPLES} numbers"
    )
  # Also false for NaN. Far larger ones would overflow when they are squared or sent.
  if not np.all(np.abs(values) <= 1e6):
    raise ValueError("samples has values that are not finite or beyond 1e6")
  return Signal("custom", "Your own", values, 1.0, 0.0, "samples", "", "Drawn by hand.")


def fourier(signal: Signal) -> Spectrum:
  """One-sided amplitude spectrum, the mean removed.

  A sine of amplitude A that fits a whole number of times has one line of height A. Half
  the sum of the squared amplitudes, the Nyquist frequency's of an even length counted
  twice, is the variance (Parseval).

  Example:
    >>> spectrum = fourier(custom(3 * np.sin(2 * np.pi * np.arange(64) / 8)))
    >>> k = spectrum.amplitudes.argmax()
    >>> float(spectrum.frequencies[k]), round(float(spectrum.amplitudes[k]), 6)
    (0.125, 3.0)
  """
  values = signal.values - signal.values.mean()
  size = values.size
  amplitudes = 2 * np.abs(np.fft.rfft(values)) / size
  if size % 2 == 0:
    amplitudes[-1] /= 2  # This line has no twin among the negative frequencies.
  amplitudes[0] = 0.0
  return Spectrum(np.fft.rfftfreq(size, signal.sampling_period), amplitudes)


def scalogram(
  signal: Signal, wavelet: str = DEFAULT_WAVELET, num_scales: int = 64
) -> Scalogram:
  """Magnitude of the continuous wavelet transform, the mean removed.

  Scales run from a period of two samples (and one sample of the wavelet's own unit) to
  where the cone of influence closes in the middle (at least one octave). Outside, the
  signal counts as its mean: at periods beyond the cone a jump at an end may weigh as
  much as what is inside. The transform takes samples as steps, which weakens a sine of
  frequency f by the factor sin(x)/x, x = pi f times the sampling period, and PyWavelets
  places each scale with an error of up to half a sample.

  Args:
    signal: At least 8 samples.
    wavelet: A continuous wavelet of PyWavelets, e.g. ``morl``, ``mexh``, ``gaus1`` or
      ``cmor1.5-1.0`` with its bandwidth and centre frequency. For a real one the
      magnitude oscillates along a sine.
    num_scales: Number S of scales, 2 to 256.

  Raises:
    ValueError: The wavelet is unknown or discrete, or the number of scales outside.

  Example:
    >>> signal = custom(np.sin(2 * np.pi * np.arange(256) / 20))
    >>> result = scalogram(signal)
    >>> round(float(result.periods[result.magnitude[:, 128].argmax()]))
    20

  References:
    Torrence and Compo, A Practical Guide to Wavelet Analysis, BAMS 79, 1998.
  """
  if not 2 <= num_scales <= 256:
    raise ValueError(f"num_scales is {num_scales}; allowed are 2 to 256")
  if not isinstance(_wavelet(wavelet), pywt.ContinuousWavelet):
    raise ValueError(
      f"wavelet {wavelet!r} is discrete; a scalogram needs a continuous one, e.g. "
      f"cmor1.5-1.0, morl, mexh, gaus1"
    )
  size, step = signal.values.size, signal.sampling_period
  cycles, radius = cycles_per_scale(wavelet), _radius(wavelet)
  # In samples. The widest fits between the ends, unless the signal is so short.
  narrowest = max(2 * cycles, 1.0)
  widest = max(size / 2 / radius, 2 * narrowest)
  scales = np.geomspace(narrowest, widest, num_scales)
  coefficients, _ = pywt.cwt(
    signal.values - signal.values.mean(), scales, wavelet, precision=_PRECISION
  )
  periods = scales * step / cycles
  # A sample stands for the step around it, so the ends are half a step outside.
  to_end = np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5
  return Scalogram(
    scales=scales * step,
    periods=periods,
    frequencies=1 / periods,
    magnitude=np.abs(coefficients) * np.sqrt(step),
    cone_of_influence=to_end * step / radius / cycles,
  )


def mother_wavelet(name: str, num_points: int = 512) -> MotherWavelet:
  """Values of a mother wavelet, ready to be drawn.

  Args:
    name: A continuous or an orthogonal or biorthogonal discrete wavelet of PyWavelets;
      of a biorthogonal one the wavelet that analyses.
    num_points: Number P of points, 16 to 4096. A wavelet that has no formula is the
      tenth iterate of its filters, linear between them.

  Raises:
    ValueError: The wavelet is unknown.

  Example:
    >>> x, psi = mother_wavelet("haar", 16)
    >>> float(x[0]), float(x[-1]), psi[1:-1].round().astype(int).tolist()
    (-0.5, 0.5, [1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1])
  """
  if not 16 <= num_points <= 4096:
    raise ValueError(f"num_points is {num_points}; allowed are 16 to 4096")
  wavelet = _wavelet(name)
  if isinstance(wavelet, pywt.ContinuousWavelet):
    psi, x = wavelet.wavefun(length=num_points)
    return MotherWavelet(x - (x[0] + x[-1]) / 2, psi)
  # Approximations of the scaling function and the wavelet, and for biorthogonal ones
  # those of the synthesis.
  _, psi, *_, x = wavelet.wavefun(level=10)
  # The support, without the zeros that PyWavelets adds at its ends.
  support = float(wavelet.dec_len - 1)
  points = np.linspace(0, support, num_points)
  return MotherWavelet(points - support / 2, np.interp(points, x, psi))


@functools.cache
def cycles_per_scale(name: str) -> float:
  """Frequency of the sine that answers most strongly at scale 1, in cycles.

  The maximum of ``sqrt(u) |Psi(u)|`` over the frequency u, with Psi the wavelet's
  Fourier transform: a sine of frequency f has its ridge at ``a = u / f``.

  Raises:
    ValueError: The wavelet is unknown.

  Example:
    >>> round(cycles_per_scale("mexh"), 3)  # sqrt(5 / 2) / (2 pi)
    0.252
  """
  x, psi = mother_wavelet(name, 1024)
  # Zeros behind the wavelet make the steps of the spectrum fine: 1e-4 for a support of
  # 16, and the maximum lies between 0.25 and 1.1.
  size = 2**19
  response = np.abs(np.fft.fft(psi, size))[: size // 2]
  frequencies = np.arange(size // 2) / (size * (x[1] - x[0]))
  return float(frequencies[np.argmax(np.sqrt(frequencies) * response)])


@functools.cache
def _radius(name: str) -> float:
  """Distance from the middle, at scale 1, beyond which |psi| is below its maximum / e.

  For the complex Morlet wavelet this is where Torrence and Compo's power of a jump has
  fallen by 1 / e^2; the rule holds for every shape.
  """
  x, psi = mother_wavelet(name, 4096)
  magnitude = np.abs(psi)
  return float(np.abs(x[magnitude >= magnitude.max() / np.e]).max())


def _wavelet(name: str) -> Any:
  """PyWavelets' object, or one clear line."""
  with warnings.catch_warnings():
    # A family without its numbers (cmor) is a warning there.
    warnings.simplefilter("error")
    try:
      return pywt.DiscreteContinuousWavelet(name)
    except (ValueError, FutureWarning):
      raise ValueError(
        f"wavelet {name!r} is unknown; allowed are PyWavelets' (pywt.wavelist()), a "
        f"family with parameters as cmor1.5-1.0"
      ) from None
