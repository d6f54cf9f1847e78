/* Figure 3: a drawing and its two-dimensional wavelet transform, live.

   Everything happens here, without the server: a transform of 128 x 128 pixels takes a
   millisecond or two. After each one the section gets an event `transformed` whose detail
   has the numbers, for whoever wants more than a picture. */

import { button, debounce, field, formatNumber, h, onThemeChange, percent, perFrame,
  readColour, select } from "../dom.js";
import { createHistory, listenToBrush, listenToShortcuts, paintSegment } from "../painting.js";
import { decodeBytes, heatMap } from "../plots.js";
import { bands, compare, countNonZero, forward, inverse, keepLargest } from "../wavelets.js";
import { coefficientAt, createPicture, drawCoefficients, drawGrey,
  levelScales } from "./haar_pictures.js";

const BRUSH = { least: 0.5, most: 20, first: 4, factor: 1.3 };
const FIRST_LEVELS = 5;
const LEAST_SHARE = 0.0005; // eight coefficients
const ROUNDING = 1e-9; // of values in [0, 1] in 64 bits, and more
const STEPS = {
  ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
};
const RAMP = Array.from({ length: 256 }, (_, i) => i);

/** Mounts the figure into its section. */
export function mount(section, { catalogue, images }) {
  const offer = catalogue.signals;
  const size = offer.image_size;
  const wavelets = new Map(offer.image_wavelets.map((wavelet) => [wavelet.name, wavelet]));
  const tables = {
    light: decodeBytes(offer.colours.diverging_light),
    dark: decodeBytes(offer.colours.diverging_dark),
  };
  const image = firstDrawing(size);
  const history = createHistory(image);
  const state = { wavelet: "haar", levels: FIRST_LEVELS, radius: BRUSH.first, grey: 1,
    share: 0.01, hover: null, cell: null };
  let coefficients = null;
  let layout = [];

  const drawing = createPicture(size, { class: "pixels painting", tabindex: 0,
    role: "application",
    "aria-label": "Drawing. Arrow keys move the brush, space holds it down." });
  const transform = createPicture(size, { class: "pixels", tabindex: 0, role: "application",
    "aria-label": "Wavelet coefficients in quadrants. Arrow keys read one after the other." });
  const rebuilt = createPicture(size, { class: "pixels", role: "img",
    "aria-label": "Reconstruction from the kept coefficients" });
  const update = perFrame(redraw);
  const view = createView(state, wavelets, {
    drawing, transform, rebuilt,
    onWavelet(name) { state.wavelet = name; state.levels = fillLevels(); update(); },
    onLevels(levels) { state.levels = levels; update(); },
    onRadius(radius) { state.radius = radius; },
    onGrey(grey) { state.grey = grey; },
    onShare(share) { state.share = share; update(); },
    onClear() { change(() => image.fill(0)); },
    onInvert() { change(() => image.forEach((value, i) => { image[i] = 1 - value; })); },
    onUndo: undo,
    onRedo: redo,
  });
  section.querySelector(".figure").append(view.element);

  listenToBrush(drawing.canvas, size, {
    start() { history.record(); },
    segment(from, to) {
      paintSegment(image, size, from, to, state.radius, state.grey);
      update();
    },
    end: update,
    hover(point) { state.hover = point; update(); },
  });
  listenToShortcuts(view.element, {
    undo, redo,
    resize(direction) { view.setRadius(state.radius * BRUSH.factor ** direction); },
  });
  listenToCells(transform.canvas, size, (cell) => { state.cell = cell; update(); });
  view.photographs.addEventListener("toggle", () => {
    if (!view.photographs.open || view.photographs.children.length > 1) return;
    view.photographs.append(images.picker(async (photograph) => {
      try {
        const pixels = grey(await images.load(photograph), size);
        change(() => image.set(pixels));
      } catch (error) {
        view.say(`The photograph could not be loaded (${error.message}).`);
      }
    }).element);
  });

  function change(action) {
    history.record();
    action();
    update();
  }
  function undo() { if (history.undo()) update(); }
  function redo() { if (history.redo()) update(); }

  function fillLevels() {
    const most = wavelets.get(state.wavelet).max_levels;
    const levels = Math.min(state.levels, most);
    view.levels.replaceChildren(...Array.from({ length: most }, (_, i) =>
      h("option", { value: i + 1 }, String(i + 1))));
    view.levels.value = levels;
    return levels;
  }

  const announce = debounce(() => { view.live.textContent = view.sparsity.textContent; }, 700);

  function redraw() {
    const filters = offer.filters[state.wavelet];
    const start = performance.now();
    coefficients = forward(image, size, filters, state.levels);
    const milliseconds = performance.now() - start;
    layout = bands(size, state.levels);
    const scales = levelScales(coefficients, layout);
    const count = Math.round(state.share * coefficients.length);
    const kept = keepLargest(coefficients, count);
    const back = inverse(kept, size, filters, state.levels);

    const table = isDark() ? tables.dark : tables.light;
    view.ramp.getContext("2d").drawImage(heatMap(RAMP, 1, 256, table, 0, 255), 0, 0);
    drawGrey(drawing, image, state.hover && { ...state.hover, radius: state.radius });
    drawCoefficients(transform, coefficients, layout, scales, table, state.cell);
    drawGrey(rebuilt, back);
    const found = state.cell && coefficientAt(layout, state.cell, size);
    view.showCoefficient(found, coefficients, state.levels);
    view.showScales(layout, scales);
    view.showNumbers(countNonZero(coefficients), coefficients.length, count,
      compare(image, back));
    view.undo.disabled = !history.canUndo;
    view.redo.disabled = !history.canRedo;
    announce();
    section.dispatchEvent(new CustomEvent("transformed",
      { detail: { image, coefficients, bands: layout, reconstruction: back, milliseconds } }));
  }

  state.levels = fillLevels();
  onThemeChange(update);
  update();
}

/** The elements of the figure, and what fills them. */
function createView(state, wavelets, { drawing, transform, rebuilt, onWavelet, onLevels,
  onRadius, onGrey, onShare, onClear, onInvert, onUndo, onRedo }) {
  const range = (attributes, oninput) => {
    const input = h("input", { type: "range", ...attributes });
    const output = h("output");
    const show = () => {
      output.textContent = oninput(Number(input.value));
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", show);
    return { input, output, show };
  };
  // Sliders of factors, so that small values are as easy to set as large ones.
  const ofRadius = (value) => toSlider(value, BRUSH.least, BRUSH.most);
  const radius = range({ min: 0, max: 1, step: 0.01, value: ofRadius(state.radius) }, (at) => {
    const value = fromSlider(at, BRUSH.least, BRUSH.most);
    onRadius(value);
    return `${formatNumber(Math.max(1, Math.round(2 * value)))} pixels`;
  });
  const tone = range({ min: 0, max: 1, step: 0.05, value: state.grey }, (value) => {
    onGrey(value);
    return value === 1 ? "white" : value === 0 ? "black" : percent(value);
  });
  const firstShare = toSlider(state.share, LEAST_SHARE, 1);
  const share = range({ min: 0, max: 1, step: 0.005, value: firstShare }, (at) => {
    const value = fromSlider(at, LEAST_SHARE, 1);
    onShare(value);
    return percent(value);
  });
  const view = {
    undo: button("Undo", onUndo),
    redo: button("Redo", onRedo),
    levels: h("select", { onchange: () => onLevels(Number(view.levels.value)) }),
    photographs: h("details", {}, h("summary", {}, "Load a photograph")),
    coefficient: h("p", { class: "numbers coefficient" }),
    ramp: h("canvas", { class: "ramp", width: 256, height: 1, "aria-hidden": "true" }),
    scales: h("p", { class: "hint numbers" }),
    sparsity: h("p"),
    quality: h("dl", { class: "numbers quality" }),
    live: h("p", { class: "visually-hidden", "aria-live": "polite" }),
    error: h("p", { class: "error", role: "alert" }),
  };
  view.element = h("div", { class: "stack" },
    h("div", { class: "columns" },
      h("div", { class: "stack" },
        picture("Your drawing", drawing.canvas),
        h("div", { class: "row" }, button("Clear", onClear), view.undo, view.redo,
          button("Invert", onInvert)),
        h("div", { class: "pair" }, field("Brush", radius.input, radius.output),
          field("Grey level", tone.input, tone.output)),
        view.photographs),
      h("div", { class: "stack" },
        picture("Its wavelet coefficients", transform.canvas),
        view.coefficient,
        h("div", { class: "pair" },
          field("Wavelet", select([...wavelets.values()].map(({ name, title }) =>
            ({ value: name, label: title })), state.wavelet, onWavelet)),
          field("Levels", view.levels)),
        h("div", { class: "colour-scale" }, h("span", {}, "−"), view.ramp, h("span", {}, "+")),
        view.scales)),
    h("div", { class: "columns keep" },
      picture("Reconstruction", rebuilt.canvas),
      h("div", { class: "stack" },
        h("h3", {}, "Throw coefficients away"),
        field("Keep the largest", share.input, share.output),
        view.sparsity, view.quality,
        h("p", { class: "hint" }, "Most of the right picture is blank: that is sparsity. An "
          + "area without edges costs nothing, and a few coefficients rebuild the image. In a "
          + "photograph few are exactly zero, but nearly all are small. Strong lines at the "
          + "rims of a quadrant are where opposite edges do not fit: the transform continues "
          + "the image periodically."))),
    view.live, view.error);
  for (const slider of [radius, tone, share]) slider.show();

  return Object.assign(view, {
    say(text) { view.error.textContent = text; },
    setRadius(value) {
      radius.input.value = ofRadius(value); // which clips it
      radius.show();
    },
    showCoefficient(found, coefficients, levels) {
      view.coefficient.replaceChildren(...(found ? describe(found, coefficients, levels)
        : [h("span", { class: "hint" }, "Point at a coefficient to read it.")]));
    },
    showScales(layout, scales) {
      const parts = layout.map((band, k) => [band, scales[k]])
        .filter(([band]) => ["approximation", "diagonal"].includes(band.orientation))
        .map(([band, scale]) => {
          const name = band.orientation === "approximation" ? "averages" : `level ${band.level}`;
          return `${name} ±${formatNumber(scale)}`;
        });
      view.scales.textContent =
        `Each level has its own scale, so that fine details are seen: ${parts.join(", ")}.`;
    },
    showNumbers(nonZero, total, count, { relative, psnr }) {
      view.sparsity.replaceChildren(h("b", {}, nonZero.toLocaleString("en")),
        ` of ${total.toLocaleString("en")} coefficients are not zero `
        + `(${percent(nonZero / total)}).`);
      view.quality.replaceChildren(
        ...entry("Kept", `${Math.min(count, nonZero).toLocaleString("en")} coefficients`),
        ...entry("Relative error", percent(relative)),
        ...entry("PSNR", psnr > 140 ? "exact" : `${psnr.toFixed(1)} dB`));
    },
  });
}

const entry = (term, text) => [h("dt", {}, term), h("dd", {}, text)];

function picture(title, canvas) {
  return h("figure", { class: "picture" }, canvas, h("figcaption", {}, title));
}

function describe({ band, row, column, index }, coefficients, levels) {
  const what = band.orientation === "approximation" ? "Averages"
    : `Level ${band.level} of ${levels}, ${band.orientation} details`;
  const value = coefficients[index];
  const text = Math.abs(value) < ROUNDING ? "0"
    : Math.abs(value) < 0.001 ? "below 0.001" : formatNumber(value).replace("-", "−");
  return [`${what}, ${2 ** band.level} pixels wide, at (${column}, ${row}): `,
    h("b", {}, text)];
}

/** Reads one cell after the other, by pointer and by arrow keys. */
function listenToCells(canvas, size, read) {
  let cell = { row: 0, column: 0 };
  const clip = (value) => Math.min(size - 1, Math.max(0, value));
  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    cell = { row: clip(Math.floor(((event.clientY - box.top) / box.height) * size)),
      column: clip(Math.floor(((event.clientX - box.left) / box.width) * size)) };
    read(cell);
  };
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointerleave", () => read(null));
  canvas.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step) return;
    const length = event.shiftKey ? 8 : 1;
    cell = { row: clip(cell.row + length * step[0]), column: clip(cell.column + length * step[1]) };
    read(cell);
    event.preventDefault();
  });
}

/** Mean of the colours of a photograph, scaled to the square, in [0, 1]. */
function grey(photograph, size) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(photograph, 0, 0, size, size);
  const { data } = context.getImageData(0, 0, size, size);
  return Float32Array.from({ length: size * size }, (_, i) =>
    (data[4 * i] + data[4 * i + 1] + data[4 * i + 2]) / 765);
}

/** Something to look at before the first stroke: a disc over a slope. */
function firstDrawing(size) {
  const image = new Float32Array(size * size);
  const at = (x, y) => ({ x: x * size, y: y * size });
  paintSegment(image, size, at(0.1, 0.88), at(0.9, 0.76), 0.035 * size, 0.6);
  paintSegment(image, size, at(0.42, 0.42), at(0.42, 0.42), 0.24 * size, 1);
  return image;
}

/** Whether the page is dark now, by its own ground. */
function isDark() {
  return Number(readColour("--card").match(/\d+/)[0]) < 128;
}

function toSlider(value, least, most) {
  return Math.log(value / least) / Math.log(most / least);
}

function fromSlider(at, least, most) {
  return least * (most / least) ** at;
}
