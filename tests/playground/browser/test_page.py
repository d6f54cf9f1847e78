"""What all figures share: the text, colours, photographs, the connection."""

import base64
import io

import jax
import numpy as np
import pytest
from PIL import Image

FIGURES = ("draw-mask", "signals", "haar", "cartoonx")
# Text on what it stands on, by the tokens of the stylesheet.
READABLE = [
  (text, ground)
  for text in ("--ink", "--muted", "--input", "--perturbed", "--bad")
  for ground in ("--paper", "--card", "--sunken")
]


def test_four_figures_are_mounted(page):
  for name in FIGURES:
    figure = page.locator(f"#{name} .figure")
    assert figure.locator("canvas, img, svg").count() > 0, name
    assert figure.get_by_role("alert").filter(has_text="does not work").count() == 0
  assert page.get_by_role("link", name="CC-BY 4.0").count() == 1


@pytest.mark.parametrize("width", [360, 390, 1280])
def test_nothing_is_wider_than_the_window(open_page, width):
  page = open_page(width=width)
  page.locator("#cartoonx summary").click()
  assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(open_page, scheme):
  page = open_page(color_scheme=scheme)
  read = """async (tokens) => {
    const { readColour } = await import("/static/dom.js");
    return tokens.map(readColour);
  }"""
  for pair in READABLE:
    text, ground = map(luminance, page.evaluate(read, list(pair)))
    ratio = (max(text, ground) + 0.05) / (min(text, ground) + 0.05)
    assert ratio >= 4.5, (scheme, pair, ratio)


def luminance(colour):
  """Relative luminance of ``rgb(r, g, b)`` (WCAG 2.1)."""
  channels = np.array([float(c) for c in colour[4:-1].split(",")]) / 255
  linear = np.where(
    channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
  )
  return linear @ [0.2126, 0.7152, 0.0722]


def test_the_switch_changes_the_colours(page):
  colour = "getComputedStyle(document.documentElement).backgroundColor"
  before = page.evaluate(colour)
  page.get_by_role("button", name="Use dark colours").click()
  dark = page.evaluate(colour)
  assert dark != before
  page.get_by_role("button", name="Use light colours").click()
  assert page.evaluate(colour) == before


def test_everything_has_a_name(page):
  """Controls have labels, pictures descriptions, for those who do not see them."""
  page.locator("#cartoonx summary").click()
  nameless = page.evaluate("""() => [
    ...[...document.querySelectorAll("button, input:not([hidden]), select, a")].filter(
      (control) => !control.textContent.trim() && !control.labels?.length
        && !control.getAttribute("aria-label")),
    ...[...document.querySelectorAll("img:not([alt])")],
    ...[...document.querySelectorAll("canvas")].filter((canvas) =>
      !canvas.getAttribute("aria-label") && !canvas.getAttribute("aria-labelledby")
        && canvas.getAttribute("aria-hidden") !== "true"),
  ].map((element) => element.outerHTML)""")
  assert nameless == []


def png(pixels):
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "PNG")
  return file.getvalue()


def upload(figure, name, kind, data):
  figure.locator("input[type=file]").set_input_files(
    {"name": name, "mimeType": kind, "buffer": data}
  )


def test_an_upload_is_seen_by_the_network(page, playground_settings):
  settings = playground_settings
  pixels = (settings.samples["coffee"] * 255).round().astype(np.uint8)
  figure = page.locator("#draw-mask .figure")
  upload(figure, "mine.png", "image/png", png(pixels))
  figure.get_by_role("button", name="mine.png").wait_for()
  caption = figure.locator(".picker .row").inner_text()
  probabilities = jax.jit(lambda network, x: jax.nn.softmax(network(x)))(
    settings.classifier, pixels[None] / np.float32(255)
  )[0]
  name = settings.classifier.class_name(int(probabilities.argmax()))
  assert f"The network sees {name} with" in caption
  value = float(caption.partition(" with ")[2].rstrip("%").strip()) / 100
  assert value == pytest.approx(float(probabilities.max()), abs=5.1e-4)
  # Every figure offers it; a link cannot.
  other = page.locator("#cartoonx .figure")
  other.get_by_role("button", name="mine.png").click()
  assert other.get_by_role("button", name="Copy link").is_disabled()
  assert "cannot be part of a link" in other.inner_text()


GIVE_FILE = """(element, [event, data]) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  transfer.items.add(new File([bytes], `${event}.png`, { type: "image/png" }));
  const made = event === "drop"
    ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
    : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true });
  element.dispatchEvent(made);
}"""


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_file_that_is_dropped_or_pasted_is_taken(page, playground_settings, event):
  pixels = (playground_settings.samples["coffee"] * 255).round().astype(np.uint8)
  data = base64.b64encode(png(pixels)).decode()
  picker = page.locator("#draw-mask .picker")
  picker.scroll_into_view_if_needed()
  picker.evaluate(GIVE_FILE, [event, data])
  taken = picker.get_by_role("button", name=f"{event}.png")
  taken.wait_for()
  assert taken.get_attribute("aria-pressed") == "true"


def test_a_picture_is_enlarged_and_put_back(page):
  figure = page.locator("#cartoonx .figure")
  figure.locator(".explanations").scroll_into_view_if_needed()
  figure.locator("[data-method=CartoonX][data-state=done]").wait_for()
  small = figure.get_by_role("button", name="Enlarge CartoonX")
  small.click()
  dialog = page.get_by_role("dialog", name="CartoonX")
  large = dialog.locator("img")
  assert large.get_attribute("src") == small.locator("img").get_attribute("src")
  assert large.bounding_box()["width"] > 1.5 * small.bounding_box()["width"]
  page.keyboard.press("Escape")
  dialog.wait_for(state="detached")


def test_the_page_jumps_for_those_who_asked_for_it(open_page):
  scrolling = "getComputedStyle(document.documentElement).scrollBehavior"
  page = open_page(reduced_motion="no-preference")
  assert page.evaluate(scrolling) == "smooth"
  page = open_page(reduced_motion="reduce")
  assert page.evaluate(scrolling) == "auto"
  assert page.evaluate("document.getAnimations().length") == 0


def test_what_is_no_image_is_said_where_it_was_dropped(open_page):
  page = open_page()
  figure = page.locator("#draw-mask .figure")
  upload(figure, "notes.png", "image/png", b"no image at all")
  alert = figure.locator(".picker .error:not(:empty)")
  alert.wait_for()
  assert "image" in alert.inner_text()
  assert page.locator("#cartoonx .picker .error").inner_text() == ""
  # The browser itself reports the status on the console.
  assert all("415" in complaint for complaint in open_page.complaints)
  open_page.complaints.clear()


def test_a_lost_connection_is_said_and_made_again(open_page, browser):
  page = open_page()
  page.evaluate("""() => {
    // The next attempts fail, as if the server were away.
    window.RealSocket = window.WebSocket;
    window.WebSocket = class extends EventTarget {
      static OPEN = 1;
      constructor() {
        super();
        setTimeout(() => this.dispatchEvent(new Event("close")), 10);
      }
    };
  }""")
  # A frame that is no JSON of the schema makes the server close this connection.
  page.evaluate("""async () => {
    const { connect } = await import("/static/connection.js");
    window.said = [];
    window.other = connect((text) => window.said.push(text));
    const failure = await window.other.request({ type: "cancel" }).promise.catch(
      (error) => error.message);
    window.said.push(failure);
    window.WebSocket = window.RealSocket;
  }""")
  said = page.evaluate("window.said")
  assert "No connection" in said[0]
  assert "connection to the server was lost" in said[1]
  # After its pause the connection is opened again, and the message taken back.
  page.evaluate("""async () => {
    while (window.said.at(-1) !== "") await new Promise((go) => setTimeout(go, 50));
  }""")
  answer = page.evaluate("""() => window.other.request(
    { type: "explain", image: { sample: "nobody" }, method: "cartoonx" })
    .promise.catch((error) => error.message)""")
  assert "nobody" in answer
