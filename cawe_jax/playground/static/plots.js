/* Plots on a canvas: scales, axes, curves and heat maps, sharp on every screen.

   A plot is drawn anew as a whole, in the page's own colours, whenever something in it
   or its size changes. Lengths are CSS pixels. */

import { readColour } from "./dom.js";

/**
 * @typedef {{left: number, top: number, right: number, bottom: number}} Frame
 * @typedef {function(number): number} Scale Value to pixels; has `invert`, `low`, `high`.
 */

/**
 * An empty canvas with as many pixels as the screen has there.
 *
 * @param {HTMLCanvasElement} canvas Sized by CSS.
 * @returns {{context: CanvasRenderingContext2D, width: number, height: number}}
 */
export function prepare(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = `12px ${getComputedStyle(canvas).fontFamily}`;
  return { context, width, height };
}

/** The colours of a plot under the current theme. */
export function plotColours() {
  const tokens = { ink: "--ink", muted: "--muted", line: "--line", card: "--card",
    sunken: "--sunken", curve: "--perturbed-fill", mark: "--input", other: "--input-fill" };
  return Object.fromEntries(
    Object.entries(tokens).map(([name, token]) => [name, readColour(token)]));
}

/** @returns {Scale} `low` and `high` lie at the pixels `from` and `to`. */
export function linearScale(low, high, from, to) {
  const slope = (to - from) / (high - low || 1);
  const scale = (value) => from + (value - low) * slope;
  return Object.assign(scale, { invert: (pixel) => low + (pixel - from) / slope, low, high });
}

/** @returns {Scale} In steps of the logarithm; `low` and `high` are positive. */
export function logScale(low, high, from, to) {
  const inner = linearScale(Math.log(low), Math.log(high), from, to);
  const scale = (value) => inner(Math.log(value));
  return Object.assign(scale, { invert: (pixel) => Math.exp(inner.invert(pixel)), low, high });
}

/** About `count` round numbers between two, in steps of 1, 2 or 5 times a power of 10. */
export function linearTicks(low, high, count) {
  if (!(high > low)) return [low];
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  // Rounded, so that 3 * 0.1 reads 0.3.
  return Array.from({ length: last - first + 1 }, (_, i) =>
    Number(((first + i) * step).toPrecision(12)));
}

/** 1, 2 and 5 times powers of 10 between two positive numbers. */
export function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const factor of [1, 2, 5]) {
      const tick = Number((factor * 10 ** power).toPrecision(12));
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  }
  return ticks;
}

/**
 * The axis below a frame, with its grid lines and its name.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Frame} frame
 * @param {Scale} scale
 * @param {number[]} ticks
 * @param {string} name With the unit.
 * @param {object} colours
 */
export function bottomAxis(context, frame, scale, ticks, name, colours) {
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const tick of ticks) {
    const x = crisp(scale(tick));
    line(context, x, frame.top, x, frame.bottom, colours.line);
    context.fillStyle = colours.muted;
    context.fillText(label(tick), x, frame.bottom + 6);
  }
  context.fillStyle = colours.ink;
  context.fillText(name, (frame.left + frame.right) / 2, frame.bottom + 23);
}

/** The axis at the left of a frame; its name stands above it. */
export function leftAxis(context, frame, scale, ticks, name, colours) {
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const tick of ticks) {
    const y = crisp(scale(tick));
    line(context, frame.left, y, frame.right, y, colours.line);
    context.fillStyle = colours.muted;
    context.fillText(label(tick), frame.left - 6, y);
  }
  context.textAlign = "left";
  context.textBaseline = "bottom";
  context.fillStyle = colours.ink;
  context.fillText(name, 0, frame.top - 7);
}

/** A curve through points, clipped to the frame. */
export function curve(context, frame, points, colour, { width = 1.6, dash = [] } = {}) {
  context.save();
  clip(context, frame);
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.lineJoin = "round";
  context.setLineDash(dash);
  context.stroke();
  context.restore();
}

/** One straight line. */
export function line(context, x0, y0, x1, y1, colour, { width = 1, dash = [] } = {}) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.setLineDash(dash);
  context.stroke();
  context.setLineDash([]);
}

/** Restricts what follows to a frame, until `context.restore()`. */
export function clip(context, frame) {
  context.beginPath();
  context.rect(frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top);
  context.clip();
}

/**
 * A picture of an array by a table of colours.
 *
 * @param {ArrayLike<number>} values Row by row.
 * @param {number} rows
 * @param {number} columns
 * @param {Uint8Array} table RGB of 256 colours, the lowest value's first.
 * @param {number} low Gets the first colour.
 * @param {number} high Gets the last.
 * @returns {HTMLCanvasElement} One pixel per value, to be drawn on another canvas.
 */
export function heatMap(values, rows, columns, table, low, high) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [columns, rows];
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  const slope = 255 / (high - low || 1);
  for (let i = 0; i < rows * columns; i++) {
    setColour(image.data, i, table, (values[i] - low) * slope);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Sets pixel `i` to a colour of the table; `index` is clipped to [0, 255]. */
export function setColour(data, i, table, index) {
  const j = 3 * Math.round(Math.min(255, Math.max(0, index)));
  data[4 * i] = table[j];
  data[4 * i + 1] = table[j + 1];
  data[4 * i + 2] = table[j + 2];
  data[4 * i + 3] = 255;
}

/** Calls `draw` when an element has a size and whenever that changes. */
export function onResize(element, draw) {
  new ResizeObserver(draw).observe(element);
}

/** The float32 numbers of a base64 string of the server. */
export function decodeFloats(text) {
  return new Float32Array(decodeBytes(text).buffer);
}

/** The bytes of a base64 string. */
export function decodeBytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** A line of one pixel is sharp in the middle of it. */
function crisp(pixel) {
  return Math.round(pixel - 0.5) + 0.5;
}

/** A tick's number: a year needs no separator, a small one no exponent. */
function label(tick) {
  return String(tick).replace("-", "−");
}
