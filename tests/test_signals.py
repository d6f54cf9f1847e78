"""Signals against closed forms, jaxwt and a direct evaluation of the integral.

Where a pure sine is compared with its closed form, the transform's only large error is
that it takes samples as steps: the factor sin(x)/x of the docstring, 1 - x^2 / 6.
"""

import re

import jaxwt
import numpy as np
import pytest
import pywt

from cawe_jax import signals
from cawe_jax.signals import Signal, custom, cycles_per_scale, fourier, scalogram

CONTINUOUS = ("cmor1.5-1.0", "cmor6.0-1.0", "morl", "mexh", "gaus1")


def sine(frequency, size=512, sampling_period=0.05, amplitude=3.0):
  time = np.arange(size) * sampling_period
  values = amplitude * np.sin(2 * np.pi * frequency * time + 0.4)
  return Signal("sine", "Sine", values, sampling_period, 10.0, "years", "K", "")


def nearest(values, value):
  return int(np.abs(values - value).argmin())


# Fourier


@pytest.mark.parametrize("cycles", [1, 7, 100, 255])
def test_a_sine_that_fits_is_one_line_of_its_amplitude(cycles):
  spectrum = fourier(sine(cycles / (512 * 0.05)))
  expected = np.zeros(257)
  expected[cycles] = 3.0
  # Sums of 512 terms of order 1 in 64 bits.
  np.testing.assert_allclose(spectrum.amplitudes, expected, atol=1e-12)
  assert spectrum.frequencies[cycles] == pytest.approx(cycles / (512 * 0.05))


def test_the_mean_is_not_in_the_spectrum():
  values = np.random.default_rng(0).normal(5, 1, 64)
  both = fourier(custom(values)), fourier(custom(values + 100))
  np.testing.assert_allclose(both[0].amplitudes, both[1].amplitudes, atol=1e-12)
  assert both[0].amplitudes[0] == 0


@pytest.mark.parametrize("size", [64, 65])
def test_parseval(size):
  values = np.random.default_rng(1).normal(2, 3, size)
  power = fourier(custom(values)).amplitudes ** 2 / 2
  if size % 2 == 0:
    power[-1] *= 2  # The Nyquist frequency alternates: its mean square is not halved.
  assert power.sum() == pytest.approx(values.var(), rel=1e-12)


def test_frequencies_end_at_half_the_sampling_rate():
  for name, make in signals.SIGNALS.items():
    signal = make()
    assert signal.name == name
    frequencies = fourier(signal).frequencies
    last = (len(signal.values) // 2) / (len(signal.values) * signal.sampling_period)
    assert (frequencies[0], frequencies[-1]) == (0, pytest.approx(last))


# Scale and period


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    # Maxima of sqrt(u) times the transforms exp(-pi^2 B (u - 1)^2),
    # exp(-(w - 5)^2 / 2), w^2 exp(-w^2 / 2) and w exp(-w^2 / 4), where w = 2 pi u
    # (Torrence and Compo, Sec. 3h, in PyWavelets' scaling).
    ("cmor1.5-1.0", (1 + np.sqrt(1 + 1 / (1.5 * np.pi**2))) / 2),
    ("cmor6.0-1.0", (1 + np.sqrt(1 + 1 / (6 * np.pi**2))) / 2),
    ("morl", (5 + np.sqrt(27)) / (4 * np.pi)),
    ("mexh", np.sqrt(5 / 2) / (2 * np.pi)),
    ("gaus1", np.sqrt(3) / (2 * np.pi)),
  ],
)
def test_cycles_per_scale_equal_their_closed_form(name, expected):
  # Steps of 1.2e-4 and a flat maximum.
  assert cycles_per_scale(name) == pytest.approx(expected, abs=3e-4)


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("period", [0.6, 2.0])
def test_a_sine_has_its_ridge_at_its_period(name, period):
  result = scalogram(sine(1 / period), name, num_scales=128)
  # Real wavelets oscillate along the sine, so the strongest answer of the middle.
  middle = result.magnitude[:, 200:312].max(axis=1)
  ridge = result.periods[middle.argmax()]
  # One step between neighbouring scales is at most 5 %. The slope of sin(x)/x moves the
  # maximum by less where a period has 12 samples or more.
  assert ridge == pytest.approx(period, rel=0.05)
  spectrum = fourier(sine(1 / period))
  line = spectrum.frequencies[spectrum.amplitudes.argmax()]
  assert line == pytest.approx(1 / period, abs=spectrum.frequencies[1])


def test_complex_morlet_of_a_sine_equals_its_closed_form():
  frequency, step = 0.5, 0.05
  result = scalogram(sine(frequency, 512, step))
  # |W(a, b)| = A/2 sqrt(a) Psi(a f) for every b far from the ends, f's negative twin
  # being 1e-6 of it.
  gain = np.exp(-(np.pi**2) * 1.5 * (result.scales * frequency - 1) ** 2)
  expected = 1.5 * np.sqrt(result.scales) * gain
  fits = result.periods < result.cone_of_influence[256] / 3
  assert fits.sum() > 30
  difference = np.abs(result.magnitude[fits, 256] - expected[fits])
  # The steps weaken by (pi f dt)^2 / 6 = 0.1 %; the mean removed and the scale's index
  # that cwt rounds down (16384 points) are smaller still.
  assert difference.max() < 0.004 * expected.max()


def test_energy_is_conserved():
  """A packet's energy is the scalogram's, integrated over scale and position."""
  time = np.arange(512) * 0.05
  packet = np.exp(-(((time - 12.8) / 2) ** 2)) * np.cos(2 * np.pi * 1.1 * time)
  signal = Signal("packet", "Packet", packet, 0.05, 0.0, "s", "", "")
  result = scalogram(signal, num_scales=200)
  log_step = np.log(result.scales[1] / result.scales[0])
  # da db / a^2, where da is a times the step of the logarithm.
  energy = (result.magnitude**2 / result.scales[:, None]).sum() * log_step * 0.05
  u = np.linspace(1e-3, 3, 20001)
  admissibility = (np.exp(-(np.pi**2) * 3 * (u - 1) ** 2) / u).sum() * (u[1] - u[0])
  expected = admissibility / 2 * (packet**2).sum() * 0.05
  # sin(x)/x at 1.1 Hz is 1 - 0.005, squared for an energy.
  assert energy == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_equals_the_integral_of_steps(name):
  """The transform of a random signal, held for one sample each, in plain sums."""
  values = np.random.default_rng(2).normal(size=32)
  result = scalogram(custom(values), name, num_scales=4)
  per_sample = 16
  steps = np.repeat(values - values.mean(), per_sample)
  time = (np.arange(steps.size) + 0.5) / per_sample
  x, psi = signals.mother_wavelet(name, 4096)

  def integral(scale, delay):
    distance = (time - np.arange(32)[:, None] - delay) / scale
    real, imaginary = (
      np.interp(distance, x, part, 0, 0) for part in (psi.real, np.imag(psi))
    )
    return np.abs((real - 1j * imaginary) @ steps) / per_sample / np.sqrt(scale)

  # Sample n covers [n, n + 1), and its coefficient lies there up to half a sample from
  # the middle: PyWavelets cuts supports of fractional length at whole samples.
  delays = np.linspace(0, 1, 41)
  for scale, magnitude in zip(result.scales, result.magnitude, strict=True):
    errors = [np.abs(magnitude - integral(scale, d)).max() for d in delays]
    # The nearest delay is at most 1/80 sample off, 4 % of a period of two samples, and
    # a wavelet of that period is weakened by the steps to half of its answer.
    assert min(errors) < 0.08 * magnitude.max()


@pytest.mark.slow  # jaxwt compiles each scale.
@pytest.mark.parametrize("name", ["cmor1.5-1.0", "mexh"])
def test_equals_jaxwt_where_both_sample_the_wavelet_alike(name, monkeypatch):
  monkeypatch.setattr(signals, "_PRECISION", 10)  # jaxwt's, which cannot be chosen
  signal = signals.el_nino()
  result = scalogram(signal, name, num_scales=4)
  theirs, _ = jaxwt.cwt(
    (signal.values - signal.values.mean())[None], result.scales / 0.25, name
  )
  theirs = np.abs(np.asarray(theirs)[:, 0]) * np.sqrt(0.25)
  # Differences of sums of 264 terms in 32 bits, times the square root of the scale.
  np.testing.assert_allclose(result.magnitude, theirs, atol=1e-4 * theirs.max())


def test_a_peak_fills_a_cone_as_wide_as_the_wavelet():
  signal = signals.delta()
  result = scalogram(signal)
  time = np.arange(257) * signal.sampling_period
  # Of 4 samples or more, and such that the ends do not cut the wavelet.
  fits = (result.scales > 4 / 64) & (result.scales < 0.4)
  assert fits.sum() > 20
  for scale, row in zip(result.scales[fits], result.magnitude[fits], strict=True):
    centre = (row * time).sum() / row.sum()
    assert abs(centre - time[128]) < 0.6 * signal.sampling_period  # half at most
    # |psi| is exp(-t^2 / B) / sqrt(pi B) at scale 1.
    expected = signal.sampling_period / np.sqrt(scale * 1.5 * np.pi)
    # The mean over a step of a wavelet that turns once per scale.
    expected *= np.sinc(signal.sampling_period / scale)
    assert row.max() == pytest.approx(expected, rel=0.02)
    # Above 1 / e of that for sqrt(B) scales on both sides, in whole samples.
    width = (row > expected / np.e).sum() * signal.sampling_period
    expected = 2 * np.sqrt(1.5) * scale
    assert width == pytest.approx(expected, abs=1.5 * signal.sampling_period)


def test_cone_of_influence():
  signal = sine(0.5)
  cone = scalogram(signal).cone_of_influence
  np.testing.assert_allclose(cone, cone[::-1])
  # sqrt(B) scales are the distance to the end, 1.01661 periods a scale; 16 points of
  # the wavelet and the frequency's step are 3e-3.
  expected = 100.5 * 0.05 / np.sqrt(1.5) / 1.01661
  assert cone[100] == pytest.approx(expected, rel=5e-3)
  # A jump at the end is felt below the cone and hardly above it.
  jump = np.zeros(256)
  jump[0] = 1.0
  result = scalogram(custom(jump))
  power = result.magnitude**2
  outside = result.periods[:, None] > result.cone_of_influence
  felt = power >= power[:, :1] / np.e**2
  # Torrence and Compo's definition, e^-2 of the power, but for half a sample.
  assert np.all(outside[felt][:].mean() > 0.9)
  assert not np.any(felt[:, 200:] & ~outside[:, 200:])


def test_periods_run_from_two_samples_to_where_the_cone_closes():
  for make in signals.SIGNALS.values():
    result = scalogram(make())
    assert result.periods[0] == pytest.approx(2 * make().sampling_period)
    # The cone ends between two samples, of which half are some hundred at least.
    assert result.periods[-1] == pytest.approx(result.cone_of_influence.max(), rel=1e-2)
    ratios = result.scales[1:] / result.scales[:-1]
    np.testing.assert_allclose(ratios, ratios[0])
    np.testing.assert_allclose(result.frequencies * result.periods, 1)
    assert result.magnitude.shape == (64, len(make().values))


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("size", [8, 1024])
def test_shortest_and_longest_signals(name, size):
  result = scalogram(custom(np.sin(np.arange(size))), name)
  assert np.all(np.isfinite(result.magnitude))
  assert np.all(np.diff(result.periods) > 0)


# The signals


def test_el_nino():
  signal = signals.el_nino()
  time = signal.time_start + np.arange(264) * signal.sampling_period
  assert (time[0], time[-1]) == (1950, 2015.75)
  frequencies, amplitudes = fourier(signal)
  power, periods = amplitudes**2, 1 / np.maximum(frequencies, 1e-9)
  # The seasons are the strongest line; of what is slower than them El Niño, which
  # returns every two to seven years, has most.
  assert periods[power.argmax()] == pytest.approx(1.0)
  slow = (periods > 1.5) & (frequencies > 0)
  band = slow & (periods >= 2) & (periods <= 7)
  assert power[band].sum() > 0.6 * power[slow].sum()
  result = scalogram(signal)
  power = (result.magnitude**2).mean(axis=1) / result.scales
  slow, band = result.periods > 1.5, (result.periods >= 2) & (result.periods <= 7)
  assert power[band].sum() > 0.6 * power[slow].sum()
  # The great ones of 1982/83 and 1997/98 stand out at those periods.
  energy = (result.magnitude[band] ** 2 / result.scales[band, None]).mean(axis=0)
  typical = np.median(energy)
  for year in (1983.0, 1997.75):
    around = energy[nearest(time, year - 4) : nearest(time, year + 4)]
    peak = time[nearest(time, year - 4) + around.argmax()]
    assert abs(peak - year) <= 1
    assert around.max() > 2 * typical


def test_sines_are_where_they_are_said_to_be():
  result = scalogram(signals.sines())
  early, late, middle = 128, 384, 256

  def strength(frequency, column):
    row = nearest(result.frequencies, frequency)
    return result.magnitude[row, column]

  assert strength(12, early) > 10 * strength(12, late)
  assert strength(24, late) > 10 * strength(24, early)
  assert strength(48, middle) > 5 * strength(48, early)
  # The wavelet has other sines in its window there.
  assert strength(4, early) == pytest.approx(strength(4, late), rel=0.1)
  amplitudes = fourier(signals.sines()).amplitudes
  assert amplitudes[16] == pytest.approx(1.0, abs=0.1)  # 4 Hz, all the time
  assert amplitudes[48] == pytest.approx(0.5, abs=0.1)  # 12 Hz, half of it


def test_a_peak_has_all_frequencies_alike():
  amplitudes = fourier(signals.delta()).amplitudes[1:]
  np.testing.assert_allclose(amplitudes, amplitudes[0])


# Mother wavelets


def test_haar_and_the_mexican_hat_equal_their_formulas():
  x, psi = signals.mother_wavelet("haar", 1001)
  inside = (np.abs(x) < 0.498) & (np.abs(x) > 0.002)  # not at the jumps
  np.testing.assert_allclose(psi[inside], np.where(x < 0, 1.0, -1.0)[inside])
  x, psi = signals.mother_wavelet("mexh")
  expected = 2 / (np.sqrt(3) * np.pi**0.25) * np.exp(-(x**2) / 2) * (1 - x**2)
  np.testing.assert_allclose(psi, expected, atol=1e-12)
  x, psi = signals.mother_wavelet("cmor1.5-1.0")
  expected = np.exp(2j * np.pi * x - x**2 / 1.5) / np.sqrt(1.5 * np.pi)
  np.testing.assert_allclose(psi, expected, atol=1e-12)


@pytest.mark.parametrize("name", ["haar", "db2", "db3", "sym4"])
def test_orthogonal_wavelets_have_unit_energy_and_no_mean(name):
  x, psi = signals.mother_wavelet(name, 4096)
  step = x[1] - x[0]
  assert x[-1] - x[0] == pywt.Wavelet(name).dec_len - 1
  # Linear between 1024 points a unit, of functions with kinks.
  assert (psi**2).sum() * step == pytest.approx(1, abs=5e-3)
  assert psi.sum() * step == pytest.approx(0, abs=5e-3)


# Errors


@pytest.mark.parametrize(
  ("call", "named"),
  [
    (lambda: custom(np.zeros(7)), ["samples has shape [7]", "8 to 1024"]),
    (lambda: custom(np.zeros(1025)), ["samples has shape [1025]", "8 to 1024"]),
    (lambda: custom(np.zeros((8, 2))), ["samples has shape [8, 2]", "8 to 1024"]),
    (lambda: custom([0.0] * 9 + [np.nan]), ["samples", "finite"]),
    (lambda: custom([0.0] * 9 + [1e7]), ["samples", "1e6"]),
    (lambda: scalogram(signals.delta(), "db3"), ["wavelet 'db3'", "continuous"]),
    (lambda: scalogram(signals.delta(), "morlet"), ["wavelet 'morlet'", "allowed"]),
    (lambda: scalogram(signals.delta(), "cmor"), ["wavelet 'cmor'", "cmor1.5-1.0"]),
    (lambda: scalogram(signals.delta(), num_scales=1), ["num_scales is 1", "2 to 256"]),
    (lambda: signals.mother_wavelet("haar", 4), ["num_points is 4", "16 to 4096"]),
  ],
)
def test_errors_name_value_and_allowed(call, named):
  with pytest.raises(ValueError, match=re.escape(named[0])) as error:
    call()
  message = str(error.value)
  assert "\n" not in message
  assert all(part in message for part in named)
