"""Figure 1 as a person uses it; its numbers are the library's for the same seed."""

import re

import jax
import numpy as np
import pytest

from cawe_jax import distortions, methods, obfuscations, perturbations

SIZE = 224
FIRST_BRUSH = 14  # pixels, the radius
KEY_STEP = 4  # pixels that an arrow key moves the brush by


@pytest.fixture
def figure(page):
  return open_figure(page)


def open_figure(page):
  figure = page.locator("#draw-mask .figure")
  figure.locator("canvas").scroll_into_view_if_needed()
  return figure


def capsule(start, end, radius):
  """Pixels whose centres are within the radius of a segment, bool ``[SIZE, SIZE]``."""
  centres = np.stack(np.mgrid[:SIZE, :SIZE], axis=-1) + 0.5
  start, along = np.array(start), np.subtract(end, start)
  share = (centres - start) @ along / max(along @ along, 1)
  nearest = start + np.clip(share, 0, 1)[..., None] * along
  return ((centres - nearest) ** 2).sum(-1) <= radius**2


def kept(figure):
  text = figure.locator("output.budget").inner_text()
  return int(re.match(r"([\d,]+) of 50,176", text)[1].replace(",", ""))


def paint_with_keys(figure, page):
  """A dab in the middle, then a stroke to the right; the mask that it makes."""
  figure.locator("canvas").focus()
  page.keyboard.press("Space")
  for _ in range(5):
    page.keyboard.press("ArrowUp")
  page.keyboard.down("Space")
  for _ in range(3):
    page.keyboard.press("ArrowRight")
  page.keyboard.up("Space")
  row, column = SIZE / 2 - 5 * KEY_STEP, SIZE / 2
  stroke = capsule((row, column), (row, column + 3 * KEY_STEP), FIRST_BRUSH)
  return capsule((SIZE / 2,) * 2, (SIZE / 2,) * 2, FIRST_BRUSH) | stroke


def paint_around_the_cup(figure, page):
  """With the mouse, an ellipse along the rim."""
  box = figure.locator("canvas").bounding_box()
  scale = box["width"] / SIZE
  for i, angle in enumerate(np.linspace(0, 2 * np.pi, 40)):
    row, column = 62 + 36 * np.sin(angle), 104 + 52 * np.cos(angle)
    page.mouse.move(box["x"] + column * scale, box["y"] + row * scale)
    if i == 0:
      page.mouse.down()
  page.mouse.up()


def predict(figure):
  figure.get_by_role("button", name="Predict", exact=True).click()
  figure.locator(".outcome .bars").first.wait_for()


def shown_distortion(scope):
  """Mean, standard error, and half the last digit shown."""
  mean, error = scope.locator("[data-value=distortion]").inner_text().split(" ± ")
  return float(mean), float(error), 0.51 * 10.0 ** -len(mean.split(".")[1])


def shown_bars(figure, title):
  """Classes and probabilities of a list of bars; they are shown to 0.1 %."""
  group = figure.locator(".outcome .columns > div").filter(has_text=title)
  names = group.locator(".name").all_inner_texts()
  shares = group.locator(".numbers").all_inner_texts()
  return names, [float(share.rstrip("%").strip()) / 100 for share in shares]


def library(settings, sample, keep, perturbation, seed=0):
  """What the page's server is to have computed."""
  return obfuscations.obfuscate(
    settings.classifier,
    settings.samples[sample],
    obfuscations.pixel_mask(keep),
    methods.pixel_rde(perturbation=perturbation),
    key=jax.random.key(seed),
    draws=8,
  )


def test_a_predicted_mask_has_the_librarys_numbers(figure, page, playground_settings):
  settings = playground_settings
  keep = paint_with_keys(figure, page)
  assert kept(figure) == keep.sum()
  predict(figure)
  seen = library(settings, "coffee", keep, perturbations.adaptive_gaussian())
  expected = obfuscations.distortion(seen, distortions.l2)
  mean, error, rounding = shown_distortion(figure.locator(".outcome"))
  assert mean == pytest.approx(float(expected.value), abs=rounding)
  assert error == pytest.approx(float(expected.standard_error), abs=rounding)
  names, shares = shown_bars(figure, "With the mask")
  after = obfuscations.probabilities(seen).value
  order = np.argsort(-after)[:5]
  assert names == [settings.classifier.class_name(int(i)) for i in order]
  # The page shows tenths of a per cent.
  np.testing.assert_allclose(shares, after[order], atol=5.1e-4)
  names, shares = shown_bars(figure, "The photograph")
  clean = np.asarray(jax.nn.softmax(seen.clean_outputs))
  assert names[0] == settings.classifier.class_name(int(clean.argmax()))
  assert shares[0] == pytest.approx(clean.max(), abs=5.1e-4)


def test_filling_and_seed_are_those_chosen(figure, page, playground_settings):
  keep = paint_with_keys(figure, page)
  figure.get_by_label("Seed").fill("7")
  figure.get_by_label("Seed").blur()
  predict(figure)
  noise = library(
    playground_settings, "coffee", keep, perturbations.adaptive_gaussian(), seed=7
  )
  expected = float(obfuscations.distortion(noise, distortions.l2).value)
  mean, _, rounding = shown_distortion(figure.locator(".outcome"))
  assert mean == pytest.approx(expected, abs=rounding)
  figure.get_by_label("The rest becomes").select_option("blur")
  # What was answered for noise is gone at once.
  assert figure.locator(".outcome .bars").count() == 0
  predict(figure)
  blurred = library(playground_settings, "coffee", keep, perturbations.blur(), seed=7)
  expected = float(obfuscations.distortion(blurred, distortions.l2).value)
  mean, _, rounding = shown_distortion(figure.locator(".outcome"))
  assert mean == pytest.approx(expected, abs=rounding)


def test_painting_with_the_mouse_erasing_and_taking_back(figure, page):
  canvas = figure.locator("canvas")
  box = canvas.bounding_box()
  x, y, scale = box["x"], box["y"], box["width"] / SIZE
  page.mouse.move(x + 60 * scale, y + 60 * scale)
  page.mouse.down()
  # One event for the whole stroke: without interpolation it would be two dabs.
  page.mouse.move(x + 160 * scale, y + 110 * scale)
  page.mouse.up()
  stroke = kept(figure)
  # The pointer is on whole screen pixels, half a mask's pixel at most.
  assert stroke == pytest.approx(
    capsule((60, 60), (110, 160), FIRST_BRUSH).sum(), rel=0.02
  )
  button = lambda name: figure.get_by_role("button", name=name, exact=True)  # noqa: E731
  button("Invert").click()
  assert kept(figure) == SIZE**2 - stroke
  button("Undo").click()
  assert kept(figure) == stroke
  button("Redo").click()
  assert kept(figure) == SIZE**2 - stroke
  button("Clear").click()
  assert kept(figure) == 0
  canvas.focus()
  page.keyboard.press("Control+z")
  page.keyboard.press("Control+z")
  assert kept(figure) == stroke
  button("Erase").click()
  canvas.click(position={"x": 60 * scale, "y": 60 * scale})
  assert 0 < kept(figure) < stroke - 200
  page.keyboard.press("Control+z")
  page.keyboard.press("Control+z")
  assert kept(figure) == 0
  page.keyboard.press("e")
  for _ in range(3):
    page.keyboard.press("[")
  page.keyboard.press("Space")
  small = capsule((60, 60), (60, 60), FIRST_BRUSH - 6).sum()
  # Pixels on the rim of a disc of a dozen pixels are half covered.
  assert kept(figure) == pytest.approx(small, rel=0.05)


def test_painting_with_a_finger_on_a_phone(open_page):
  page = open_page(width=390, has_touch=True, is_mobile=True)
  figure = open_figure(page)
  box = figure.locator("canvas").bounding_box()
  page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
  expected = capsule((112, 112), (112, 112), FIRST_BRUSH).sum()
  # As above.
  assert kept(figure) == pytest.approx(expected, rel=0.05)


def test_the_machine_searches_the_same_budget(figure, page, screenshot):
  paint_around_the_cup(figure, page)
  budget = kept(figure)
  if not screenshot.wanted:
    # It is not random, so that one draw tells all and the search is fast.
    figure.get_by_label("The rest becomes").select_option("mean")
  card = figure.locator("[data-card='Pixel RDE']")
  search = card.get_by_role("button", name="Show Pixel RDE’s mask")
  assert search.is_disabled()  # there is no budget yet
  predict(figure)
  search.click()
  card.locator("progress").wait_for()
  card.locator("dl").wait_for()
  assert f"{budget:,} pixels" in card.inner_text()
  yours, your_error, _ = shown_distortion(figure.locator("[data-card='You']"))
  its, its_error, _ = shown_distortion(card)
  verdict = figure.locator(".verdict").inner_text()
  if abs(yours - its) <= 2 * np.hypot(your_error, its_error):
    assert "too close" in verdict
  else:
    assert ("You win" if yours < its else "Pixel RDE is ahead") in verdict
  ahead = figure.locator(".card.leads")
  assert ahead.get_attribute("data-card") == ("You" if yours < its else "Pixel RDE")
  if screenshot.wanted:
    other = figure.locator("[data-card=CartoonX]")
    other.get_by_role("button", name="Show CartoonX’s mask").click()
    other.locator("dl").wait_for()
  screenshot(page, "draw-mask")
  # Another budget makes the comparison void.
  figure.get_by_role("button", name="Invert").click()
  predict_again = figure.get_by_role("button", name="Predict", exact=True)
  predict_again.click()
  figure.locator("[data-card='You']").get_by_text(f"{SIZE**2 - budget:,}").wait_for()
  assert figure.locator(".card.leads").count() == 0


def test_a_search_can_be_taken_back(figure, page):
  paint_with_keys(figure, page)
  predict(figure)
  card = figure.locator("[data-card='Pixel RDE']")
  card.get_by_role("button", name="Show Pixel RDE’s mask").click()
  card.get_by_role("button", name="Cancel").click()
  search = card.get_by_role("button", name="Show Pixel RDE’s mask")
  search.wait_for()
  assert search.is_enabled()
  assert figure.locator(".error").all_inner_texts() == ["", ""]
