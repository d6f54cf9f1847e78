"""Figure 2 as a person uses it; the numbers that it says are the library's."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from cawe_jax import signals
from cawe_jax.figures.colours import colour_table

# The frame of a plot inside its canvas, in CSS pixels (signal_plots.js).
LEFT, TOP, BOTTOM, COLOUR_BAR = 52, 26, 42, 74


@pytest.fixture
def figure(page):
  figure = page.locator("#signals .figure")
  figure.scroll_into_view_if_needed()
  wait(figure, "Scalogram of El Niño|scalogram of El Niño")
  return figure


def wait(figure, label):
  """Until the scalogram is described so."""
  canvas = figure.locator("canvas.scalogram")
  canvas.page.wait_for_function(
    "label => new RegExp(label).test("
    "document.querySelector('#signals canvas.scalogram').ariaLabel)",
    arg=label,
  )
  figure.page.wait_for_timeout(100)  # it is drawn in the next frame


def settle(page):
  """Until what was drawn is analysed: the page waits 120 ms for the pen to rest."""
  page.wait_for_timeout(250)
  page.wait_for_selector("#signals .stack:not([aria-busy])")
  page.wait_for_timeout(100)


def readout(figure):
  """Time, period, magnitude and what follows."""
  text = figure.locator(".readout").inner_text()
  pattern = r"([\d.]+)(?: \w+)?, period ([\d.]+) \w+ \([^)]*\): \|W\| = (\S+) (.*)"
  time, period, magnitude, rest = re.fullmatch(pattern, text).groups()
  magnitude = 0.0 if magnitude == "<" else float(magnitude)
  return float(time), float(period), magnitude, rest


def strongest(result):
  """Row and column of the largest magnitude inside the cone."""
  inside = result.periods[:, None] <= result.cone_of_influence
  return np.unravel_index(np.argmax(result.magnitude * inside), inside.shape)


def check(figure, signal, result, row, column):
  time, period, magnitude, rest = readout(figure)
  # As printed: two decimals at least, or three digits.
  assert time == pytest.approx(
    signal.time_start + column * signal.sampling_period, abs=0.06
  )
  assert period == pytest.approx(result.periods[row], rel=5e-3)
  assert magnitude == pytest.approx(result.magnitude[row, column], rel=5e-3, abs=1e-3)
  outside = result.periods[row] > result.cone_of_influence[column]
  assert ("felt by an end" in rest) == outside


def test_el_nino_is_what_the_library_says(figure, screenshot):
  signal = signals.el_nino()
  result = signals.scalogram(signal)
  row, column = strongest(result)
  check(figure, signal, result, row, column)
  assert "1950 to 2015" in figure.inner_text()
  label = figure.locator("canvas.spectrum").get_attribute("aria-label")
  amplitude, frequency = re.search(
    r"amplitude ([\d.]+) at ([\d.]+) cycles per year", label
  ).groups()
  spectrum = signals.fourier(signal)
  # It is said with three digits.
  assert float(amplitude) == pytest.approx(spectrum.amplitudes.max(), rel=5e-3)
  assert float(frequency) == 1.0
  screenshot(figure.page, "signals")


def test_arrow_keys_pointer_and_sliders_move_one_cursor(figure):
  page = figure.page
  signal = signals.el_nino()
  result = signals.scalogram(signal)
  row, column = strongest(result)
  scalogram = figure.locator("canvas.scalogram")
  scalogram.focus()
  for key in ("ArrowUp", "ArrowUp", "ArrowLeft", "Shift+ArrowLeft"):
    page.keyboard.press(key)
  page.wait_for_timeout(100)
  check(figure, signal, result, row - 2, column - 9)

  position = figure.get_by_label("Position b")
  assert position.input_value() == str(column - 9)
  position.fill("3")
  figure.get_by_label("Scale a").fill("60")
  page.wait_for_timeout(100)
  check(figure, signal, result, 60, 3)  # outside the cone

  box = scalogram.bounding_box()
  at = (box["width"] - LEFT - COLOUR_BAR) / 2 + LEFT
  scalogram.hover(position={"x": at, "y": TOP + 60})
  page.wait_for_timeout(100)
  time, period, _, _ = readout(figure)
  # Halfway of the time, by which one pixel is 0.2 years.
  assert time == pytest.approx(1950 + 65.75 / 2, abs=0.4)
  # The axis runs from two samples to the whole length, in steps of the logarithm.
  share = 60 / (box["height"] - TOP - BOTTOM)
  assert period == pytest.approx(0.5 * (66 / 0.5) ** share, rel=0.04)
  assert figure.get_by_label("Position b").input_value() == str(
    round((time - 1950) * 4)
  )


def test_the_picture_has_the_colours_of_the_magnitudes(figure):
  page = figure.page
  figure.get_by_role("button", name="Sines").click()
  wait(figure, "of Sines")
  signal = signals.sines()
  result = signals.scalogram(signal)
  figure.get_by_label("Scale a").fill("0")  # the cursor out of the way
  page.wait_for_timeout(100)
  rows = np.arange(6, 50, 3)
  columns = np.arange(150, 360, 15)
  picture = figure.locator("canvas.scalogram").screenshot()
  pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), float)
  height, width = pixels.shape[0] - TOP - BOTTOM, pixels.shape[1] - LEFT - COLOUR_BAR
  # Both axes from the first sample, or two samples, to the whole length.
  shares = np.log(result.periods[rows] / result.periods[0]) / np.log(512 / 2)
  y = TOP + height * shares
  x = LEFT + width * columns / 511
  colours = pixels[np.ix_(y.astype(int), x.astype(int))]
  table = colour_table("viridis").astype(float)
  distance = np.linalg.norm(colours[:, :, None] - table, axis=-1)
  shown = distance.argmin(-1) / 255
  expected = result.magnitude[np.ix_(rows, columns)] / result.magnitude.max()
  # A pixel lies beside the middle of its cell, and cells are blended.
  assert np.abs(shown - expected).max() < 0.12
  assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.99


def test_another_wavelet_is_another_scalogram(figure):
  signal = signals.el_nino()
  result = signals.scalogram(signal, "mexh")
  figure.get_by_label("Wavelet of the scalogram").select_option("Mexican hat")
  row, column = strongest(result)
  period = f"{result.periods[row]:.3g}"
  wait(figure, f"period of {period} years")
  check(figure, signal, result, row, column)
  # The same wavelet lies over the signal; another one can be looked at, whose scale of
  # the same period is another.
  assert figure.get_by_label("Mother wavelet").input_value() == "mexh"
  figure.get_by_label("Mother wavelet").select_option("Haar")
  figure.page.wait_for_timeout(100)
  scale = float(
    re.match("[0-9.]+", figure.get_by_label("Scale a").get_attribute("aria-valuetext"))[
      0
    ]
  )
  expected = result.periods[row] * signals.cycles_per_scale("haar")
  # It is said with three digits.
  assert scale == pytest.approx(expected, rel=5e-3)


def test_a_drawn_signal_is_analysed(figure):
  page = figure.page
  figure.get_by_role("button", name="Your own").click()
  wait(figure, "of Your own")
  canvas = figure.locator("canvas.signal")
  canvas.scroll_into_view_if_needed()
  box = canvas.bounding_box()
  width, height = box["width"] - LEFT - 14, box["height"] - TOP - BOTTOM
  before = figure.locator("canvas.scalogram").get_attribute("aria-label")
  # Eight periods of a triangle wave.
  page.mouse.move(box["x"] + LEFT, box["y"] + TOP + height / 2)
  page.mouse.down()
  for i in range(1, 33):
    level = (0, -0.4, 0, 0.4)[i % 4]
    page.mouse.move(
      box["x"] + LEFT + width * i / 32, box["y"] + TOP + height * (0.5 + level), steps=3
    )
  page.mouse.up()
  page.wait_for_function(
    "before => before !=="
    " document.querySelector('#signals canvas.scalogram').ariaLabel",
    arg=before,
  )
  settle(page)
  _, period, _, _ = readout(figure)
  label = figure.locator("canvas.spectrum").get_attribute("aria-label")
  frequency = float(re.search(r"at ([\d.]+) cycles per sample", label)[1])
  assert frequency == pytest.approx(8 / 256, abs=1e-4)  # as printed
  assert period == pytest.approx(32, rel=0.1)
  # By the keyboard too: the pen, at the end, goes up and draws 80 samples back.
  canvas.focus()
  for key in ("ArrowUp",) * 5 + ("Shift+ArrowLeft",) * 10:
    page.keyboard.press(key)
  settle(page)
  changed = figure.locator("canvas.spectrum").get_attribute("aria-label")
  assert changed != label
  figure.get_by_role("button", name="Clear").click()
  settle(page)
  assert readout(figure)[2] == 0
  assert readout(figure)[3].startswith("√samples")


def test_on_a_phone_nothing_is_wider_than_the_screen(open_page):
  page = open_page(width=360, height=740)
  page.locator("#signals").scroll_into_view_if_needed()
  page.wait_for_selector("#signals canvas.scalogram[aria-label*='El Niño']")
  assert page.evaluate("document.documentElement.scrollWidth") <= 360
  for canvas in page.locator("#signals canvas.plot").all():
    box = canvas.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360


def test_a_finger_moves_the_cursor(open_page):
  page = open_page(width=390, height=800, has_touch=True)
  figure = page.locator("#signals .figure")
  wait(figure, "of El Niño")
  canvas = figure.locator("canvas.scalogram")
  canvas.scroll_into_view_if_needed()
  box = canvas.bounding_box()
  width = box["width"] - LEFT - COLOUR_BAR
  page.touchscreen.tap(box["x"] + LEFT + width / 4, box["y"] + TOP + 80)
  page.wait_for_timeout(100)
  # A pixel is a third of a year here.
  assert readout(figure)[0] == pytest.approx(1950 + 65.75 / 4, abs=0.7)
