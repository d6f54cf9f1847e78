/* Figure 2: a signal, its Fourier spectrum, its scalogram, and the wavelet between them.

   One cursor (a row and a column of the scalogram, that is a scale and a position) links
   all four plots: it marks the time in the signal, the frequency in the spectrum, and
   places the mother wavelet. All numbers come from the server; this file arranges and
   draws them. */

import { debounce, field, formatNumber, h, onThemeChange, perFrame, segmented,
  select } from "../dom.js";
import { Cancelled } from "../connection.js";
import { decodeBytes, decodeFloats, heatMap, onResize } from "../plots.js";
import { drawMother, drawScalogram, drawSignal, drawSpectrum, frequencyUnit,
  timeAt } from "./signal_plots.js";
import { createPen, PEN_RANGE } from "./signal_pen.js";

const NUM_DRAWN = 256; // samples of a drawn signal
const FIRST = "el-nino";
/** Row and column; periods grow downwards. */
const STEPS = {
  ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
};

/** Mounts the figure into its section. */
export async function mount(section, { connection, catalogue }) {
  const offer = catalogue.signals;
  const table = decodeBytes(offer.colours.sequential);
  const bar = heatMap(Array.from({ length: 256 }, (_, i) => 255 - i), 256, 1, table, 0, 255);
  const mothers = new Map(offer.mother_wavelets.map((m) => [m.name, decodeMother(m)]));
  const state = { signal: FIRST, wavelet: offer.wavelets[0].name,
    mother: offer.wavelets[0].name, drawn: new Float32Array(NUM_DRAWN) };
  let analysis = null;
  let cursor = null;
  let heat = null;
  let places = {};
  let request = null;

  const view = createView(offer, state, {
    onSignal: choose,
    onWavelet(name) { state.wavelet = name; state.mother = name; view.mother.value = name; ask(); },
    onMother(name) { state.mother = name; show(); },
    onSlider() { moveTo({ row: +view.scale.value, column: +view.position.value }); },
    onClear() { state.drawn.fill(0); pen.home(); ask(); },
  });
  section.querySelector(".figure").append(view.element);
  const pen = createPen(view.signal, state.drawn, {
    isActive: () => state.signal === "own",
    frame: () => places.signal,
    onChange: () => { showDrawn(); askSoon(); },
  });
  linkPointer(view.scalogram, () => places.scalogram, ({ x, y }) =>
    moveTo({
      row: nearestRow(places.scalogram.period.invert(y)),
      column: columnAt(places.scalogram, x),
    }));
  linkPointer(view.signal, () => state.signal !== "own" && places.signal, ({ x }) =>
    moveTo({ row: cursor.row, column: columnAt(places.signal, x) }));
  linkPointer(view.wavelet, () => places.mother, ({ x }) =>
    moveTo({ row: cursor.row, column: columnAt(places.mother, x) }));
  view.scalogram.addEventListener("keydown", onKey);

  function choose(name) {
    state.signal = name;
    view.own.hidden = name !== "own";
    view.signal.classList.toggle("painting", name === "own");
    view.signal.tabIndex = name === "own" ? 0 : -1;
    ask();
  }

  async function ask() {
    request?.cancel();
    const what = state.signal === "own"
      ? { samples: Array.from(state.drawn, (value) => Number(value.toFixed(4))) }
      : { name: state.signal };
    request = connection.request({ type: "signal", ...what, wavelet: state.wavelet });
    view.element.setAttribute("aria-busy", "true");
    try {
      const answer = await request.promise;
      take(decode(answer.analysis));
      view.error.textContent = "";
    } catch (error) {
      if (error instanceof Cancelled) return;
      view.error.textContent = error.message;
    }
    view.element.removeAttribute("aria-busy");
  }
  const askSoon = debounce(ask, 120);

  function take(received) {
    // A drawn signal is another one after every stroke.
    const isNew = analysis?.name !== received.name || analysis.wavelet !== received.wavelet
      || received.name === "custom";
    analysis = received;
    heat = heatMap(analysis.magnitude, ...analysis.shape, table, 0, analysis.strongest);
    if (isNew) cursor = strongest(analysis);
    Object.assign(view.scale, { max: analysis.shape[0] - 1 });
    Object.assign(view.position, { max: analysis.shape[1] - 1 });
    view.source.textContent = analysis.name === "custom" ? "" : analysis.source;
    view.unit.textContent = `|W| in ${analysis.magnitude_unit}`;
    describe(view, analysis);
    moveTo(cursor);
  }

  function showDrawn() {
    if (analysis?.name !== "custom") return;
    analysis.values = state.drawn;
    show();
  }

  function moveTo({ row, column }) {
    const clip = (value, size) => Math.min(size - 1, Math.max(0, Math.round(value)));
    cursor = { row: clip(row, analysis.shape[0]), column: clip(column, analysis.shape[1]) };
    view.scale.value = cursor.row;
    view.position.value = cursor.column;
    show();
  }

  function onKey(event) {
    const step = STEPS[event.key];
    if (!step || !analysis) return;
    const size = event.shiftKey ? 8 : 1;
    moveTo({ row: cursor.row + size * step[0], column: cursor.column + size * step[1] });
    event.preventDefault();
  }

  const show = perFrame(() => {
    if (!analysis || !view.signal.clientWidth) return;
    const mother = mothers.get(state.mother);
    const own = state.signal === "own";
    const isDrawing = own && document.activeElement === view.signal;
    const scaleOf = (period) => period * mother.cycles_per_scale;
    const period = analysis.periods[cursor.row];
    const time = timeAt(analysis, cursor.column);
    places = {
      signal: drawSignal(view.signal, analysis, isDrawing ? pen.place(cursor) : cursor,
        own ? PEN_RANGE : undefined),
      spectrum: drawSpectrum(view.spectrum, analysis, cursor),
      scalogram: drawScalogram(view.scalogram, analysis, cursor, heat, bar),
      mother: drawMother(view.wavelet, analysis, mother, scaleOf(period), time,
        scaleOf(8 * analysis.sampling_period)),
    };
    const unit = analysis.time_unit;
    view.scaleOutput.textContent = `${formatNumber(scaleOf(period))} ${unit}`;
    view.positionOutput.textContent = `${formatTime(time)} ${unit}`;
    view.scale.setAttribute("aria-valuetext", view.scaleOutput.textContent);
    view.position.setAttribute("aria-valuetext", view.positionOutput.textContent);
    view.readout.replaceChildren(...readout(analysis, cursor));
  });

  function nearestRow(period) {
    const [first, last] = [analysis.periods[0], analysis.periods.at(-1)];
    return Math.log(period / first) / Math.log(last / first) * (analysis.shape[0] - 1);
  }

  function columnAt(place, x) {
    return (place.x.invert(x) - analysis.time_start) / analysis.sampling_period;
  }

  for (const canvas of [view.signal, view.spectrum, view.scalogram, view.wavelet]) {
    onResize(canvas, show);
  }
  for (const name of ["focus", "blur"]) view.signal.addEventListener(name, show);
  onThemeChange(show);
  await ask();
}

/** The elements of the figure. */
function createView(offer, state, { onSignal, onWavelet, onMother, onSlider, onClear }) {
  const titled = (list) => list.map(({ name, title }) => ({ value: name, label: title }));
  const canvas = (name, label) =>
    h("canvas", { class: `plot ${name}`, role: "img", "aria-label": label });
  const slider = () => h("input", { type: "range", min: 0, step: 1, oninput: onSlider });
  const view = {
    signal: canvas("signal", "The signal"),
    spectrum: canvas("spectrum", "Fourier spectrum"),
    scalogram: canvas("scalogram", "Scalogram"),
    wavelet: canvas("wavelet", "The wavelet over the signal"),
    mother: select(titled(offer.mother_wavelets), state.mother, onMother),
    scale: slider(),
    position: slider(),
    scaleOutput: h("output"),
    positionOutput: h("output"),
    readout: h("p", { class: "readout numbers", "aria-live": "polite" }),
    source: h("small"),
    unit: h("small"),
    error: h("p", { class: "error", role: "alert" }),
    own: h("div", { class: "row", hidden: true },
      h("span", { class: "hint" }, "Draw on the axis: drag, or focus it and use the arrow keys."),
      h("button", { type: "button", onclick: onClear }, "Clear")),
  };
  view.scalogram.tabIndex = 0;
  const chooser = segmented("Signal",
    [...titled(offer.signals), { value: "own", label: "Your own" }], state.signal, onSignal);
  view.element = h("div", { class: "stack" },
    h("div", { class: "row between" }, chooser.element,
      field("Wavelet of the scalogram", select(titled(offer.wavelets), state.wavelet, onWavelet))),
    view.own,
    plot("Signal", view.signal),
    view.source,
    h("div", { class: "columns spectra" },
      plot("Fourier spectrum", view.spectrum),
      plot(h("span", {}, "Wavelet scalogram ", view.unit), view.scalogram)),
    view.readout,
    h("p", { class: "hint" }, "Move over the scalogram, or focus it and use the arrow keys "
      + "(with Shift in larger steps). Below the curve, where it is veiled, the ends of the "
      + "signal are felt; bare ground has no scale."),
    h("h3", {}, "The wavelet at work"),
    h("div", { class: "sliders" },
      field("Mother wavelet ψ", view.mother),
      field("Scale a", view.scale, view.scaleOutput),
      field("Position b", view.position, view.positionOutput)),
    plot("ψ((t − b)/a)/√a over the signal (pale); dashed, an imaginary part", view.wavelet),
    view.error);
  return view;
}

function plot(title, canvas) {
  return h("figure", { class: "plot-figure" }, h("figcaption", {}, title), canvas);
}

/** Calls `move` with the place in CSS pixels, by mouse, pen and finger. */
function linkPointer(canvas, place, move) {
  const follow = (event) => {
    if (!place()) return;
    const box = canvas.getBoundingClientRect();
    move({ x: event.clientX - box.left, y: event.clientY - box.top });
  };
  canvas.addEventListener("pointermove", follow);
  canvas.addEventListener("pointerdown", follow);
}

function readout(analysis, cursor) {
  const period = analysis.periods[cursor.row];
  const magnitude = analysis.magnitude[cursor.row * analysis.shape[1] + cursor.column];
  const outside = period > analysis.cone_of_influence[cursor.column];
  const time = formatTime(timeAt(analysis, cursor.column));
  const unit = analysis.time_unit;
  return [
    h("b", {}, analysis.time_unit === "years" ? time : `${time} ${unit}`), ", period ",
    h("b", {}, `${formatNumber(period)} ${unit}`),
    ` (${formatNumber(1 / period)} ${frequencyUnit(analysis)}): |W| = `,
    h("b", {}, formatNumber(magnitude)), ` ${analysis.magnitude_unit}`,
    outside ? ", felt by an end of the signal" : null,
  ].filter((part) => part !== null);
}

/** Says in words what the plots show. */
function describe(view, analysis) {
  const unit = analysis.time_unit;
  const top = strongest(analysis);
  const k = analysis.amplitudes.indexOf(analysis.amplitudes.reduce((a, b) => Math.max(a, b)));
  const last = timeAt(analysis, analysis.values.length - 1);
  const label = {
    signal: `${analysis.title}: ${analysis.values.length} samples from `
      + `${formatTime(analysis.time_start)} to ${formatTime(last)} ${unit}`,
    spectrum: `Fourier spectrum of ${analysis.title}: largest amplitude `
      + `${formatNumber(analysis.amplitudes[k])} at ${formatNumber(k * analysis.frequency_step)} `
      + frequencyUnit(analysis),
    scalogram: `Wavelet scalogram of ${analysis.title}: strongest at a period of `
      + `${formatNumber(analysis.periods[top.row])} ${unit}, at the time `
      + `${formatTime(timeAt(analysis, top.column))}`,
  };
  for (const [name, text] of Object.entries(label)) view[name].setAttribute("aria-label", text);
}

/** Row and column of the largest magnitude inside the cone; the middle of a blank one. */
function strongest({ magnitude, shape: [rows, columns], periods, cone_of_influence: cone }) {
  let best = { row: rows >> 1, column: columns >> 1 };
  let largest = 1e-6;
  for (let i = 0; i < magnitude.length; i++) {
    const [row, column] = [Math.floor(i / columns), i % columns];
    if (magnitude[i] > largest && periods[row] <= cone[column]) {
      largest = magnitude[i];
      best = { row, column };
    }
  }
  return best;
}

/** Years with a decimal and seconds with two, always as many. */
function formatTime(time) {
  return time.toFixed(Number.isInteger(time) || Math.abs(time) >= 100 ? 1 : 2).replace(/\.0$/, "");
}

function decode(analysis) {
  const arrays = ["values", "amplitudes", "periods", "magnitude", "cone_of_influence"];
  const decoded = Object.fromEntries(arrays.map((name) => [name, decodeFloats(analysis[name])]));
  const strongest = decoded.magnitude.reduce((a, b) => Math.max(a, b), 0) || 1;
  return { ...analysis, ...decoded, strongest };
}

function decodeMother(mother) {
  const real = decodeFloats(mother.real);
  const imaginary = mother.imaginary === null ? null : decodeFloats(mother.imaginary);
  const largest = [...real, ...(imaginary ?? [])].reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  return { ...mother, real, imaginary, largest };
}
