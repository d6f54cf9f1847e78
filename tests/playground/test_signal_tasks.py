"""What the server says of signals is what the library computes."""

import base64
import re

import numpy as np
import pytest
import pywt

from cawe_jax import signals
from cawe_jax.playground import signal_tasks
from cawe_jax.playground.messages import Analyse


def floats(text):
  return np.frombuffer(base64.b64decode(text), "<f4")


def check(analysis, signal, wavelet):
  spectrum, result = signals.fourier(signal), signals.scalogram(signal, wavelet)
  assert analysis["shape"] == list(result.magnitude.shape)
  for name, expected in [
    ("values", signal.values),
    ("amplitudes", spectrum.amplitudes),
    ("periods", result.periods),
    ("magnitude", result.magnitude.ravel()),
    ("cone_of_influence", result.cone_of_influence),
  ]:
    np.testing.assert_array_equal(floats(analysis[name]), np.float32(expected))
  frequencies = analysis["frequency_step"] * np.arange(len(spectrum.frequencies))
  np.testing.assert_allclose(frequencies, spectrum.frequencies)


@pytest.mark.parametrize("name", signals.SIGNALS)
def test_named_signals(name):
  answer = signal_tasks.analyse(Analyse(3, name=name, wavelet="mexh"))
  assert answer.id == 3
  check(answer.analysis, signals.SIGNALS[name](), "mexh")


def test_a_drawn_signal_through_the_socket(page):
  samples = np.sin(np.arange(100.0)).round(4).tolist()
  (answer,) = page.ask({"type": "signal", "id": 5, "samples": samples})
  assert (answer["type"], answer["id"]) == ("signal", 5)
  check(answer["analysis"], signals.custom(samples), signals.DEFAULT_WAVELET)


@pytest.mark.parametrize(
  ("wish", "named"),
  [
    ({}, ["name and samples"]),
    ({"name": "delta", "samples": [0.0] * 8}, ["name and samples"]),
    ({"name": "noise"}, ["name is 'noise'", "sines, delta, el-nino"]),
    ({"samples": [0.0] * 7}, ["samples has shape [7]", "8 to 1024"]),
    # What PyWavelets knows and the page does not offer.
    ({"name": "delta", "wavelet": "shan1-1"}, ["wavelet is 'shan1-1'", "cmor1.5-1.0"]),
    ({"name": "delta", "wavelet": "haar"}, ["wavelet is 'haar'"]),
  ],
)
def test_errors_name_value_and_allowed(wish, named):
  with pytest.raises(ValueError, match=re.escape(named[0])) as error:
    signal_tasks.analyse(Analyse(0, **wish))
  assert "\n" not in str(error.value)
  assert all(part in str(error.value) for part in named)


def test_the_catalogue_has_what_the_page_draws(client):
  offer = client.get("/catalogue.json").json()["signals"]
  assert [s["name"] for s in offer["signals"]] == list(signals.SIGNALS)
  for mother in offer["mother_wavelets"]:
    x, psi = signals.mother_wavelet(mother["name"])
    np.testing.assert_array_equal(floats(mother["real"]), np.float32(psi.real))
    assert (mother["imaginary"] is None) == np.isrealobj(psi)
    last = mother["x_start"] + mother["x_step"] * (len(x) - 1)
    assert last == pytest.approx(x[-1])
  for wavelet in offer["image_wavelets"]:
    filters = offer["filters"][wavelet["name"]]
    reference = pywt.Wavelet(wavelet["name"])
    # Exactly, through JSON.
    assert [*filters.values()] == [list(taps) for taps in reference.filter_bank]
    assert wavelet["max_levels"] == pywt.dwt_max_level(128, reference)
  for table in offer["colours"].values():
    assert len(base64.b64decode(table)) == 3 * 256
