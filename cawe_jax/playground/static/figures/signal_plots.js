/* The four plots of figure 2: signal, spectrum, scalogram, mother wavelet.

   Spectrum and scalogram share their vertical axis, frequency and its inverse, so that
   a line of the one lies beside a ridge of the other. Each function draws one canvas
   anew and returns the frame and the scales, by which a pointer finds its value. */

import { bottomAxis, clip, curve, leftAxis, line, linearScale, linearTicks, logScale, logTicks,
  plotColours, prepare } from "../plots.js";
import { formatNumber } from "../dom.js";

const LEFT = 52; // room for the numbers of a vertical axis
const TOP = 26;
const BOTTOM = 42;

/** The signal over time, with the cursor; `range` is that of the vertical axis. */
export function drawSignal(canvas, analysis, cursor, range = valueRange(analysis.values)) {
  const { context, width, height } = prepare(canvas);
  const colours = plotColours();
  const frame = { left: LEFT, top: TOP, right: width - 14, bottom: height - BOTTOM };
  const x = timeScale(analysis, frame);
  const y = linearScale(...range, frame.bottom, frame.top);
  bottomAxis(context, frame, x, linearTicks(x.low, x.high, frame.right / 70),
    `time (${analysis.time_unit})`, colours);
  leftAxis(context, frame, y, linearTicks(y.low, y.high, 4),
    analysis.value_unit ? `value (${analysis.value_unit})` : "value", colours);
  curve(context, frame, points(analysis, x, y), colours.curve);
  if (cursor) timeMark(context, frame, x(timeAt(analysis, cursor.column)), colours);
  return { frame, x, y };
}

/** Amplitudes to the right, frequencies upwards. */
export function drawSpectrum(canvas, analysis, cursor) {
  const { context, width, height } = prepare(canvas);
  const colours = plotColours();
  const frame = { left: LEFT, top: TOP, right: width - 14, bottom: height - BOTTOM };
  const period = periodScale(analysis, frame);
  const most = analysis.amplitudes.reduce((a, b) => Math.max(a, b), 0) || 1;
  const x = linearScale(0, 1.06 * most, frame.left, frame.right);
  const unit = analysis.value_unit ? ` (${analysis.value_unit})` : "";
  bottomAxis(context, frame, x, linearTicks(0, x.high, 4), `amplitude${unit}`, colours);
  leftAxis(context, frame, (frequency) => period(1 / frequency),
    logTicks(1 / period.high, 1 / period.low), `frequency (${frequencyUnit(analysis)})`, colours);
  const lines = Array.from(analysis.amplitudes, (amplitude, k) =>
    [x(amplitude), period(1 / (k * analysis.frequency_step))]).slice(1);
  context.save();
  clip(context, frame);
  context.beginPath();
  context.moveTo(frame.left, lines[0][1]);
  for (const [right, top] of lines) context.lineTo(right, top);
  context.lineTo(frame.left, lines.at(-1)[1]);
  context.globalAlpha = 0.22;
  context.fillStyle = colours.curve;
  context.fill();
  context.restore();
  curve(context, frame, lines, colours.curve);
  if (cursor) {
    const y = period(analysis.periods[cursor.row]);
    line(context, frame.left, y, frame.right, y, colours.mark, { width: 1.5 });
  }
  return { frame };
}

/**
 * Time to the right, periods downwards, with the bar of colours.
 *
 * @param {HTMLCanvasElement} heat The magnitudes as a picture, by `heatMap`.
 * @param {HTMLCanvasElement} bar The colours as a picture of one column, highest first.
 */
export function drawScalogram(canvas, analysis, cursor, heat, bar) {
  const { context, width, height } = prepare(canvas);
  const colours = plotColours();
  const frame = { left: LEFT, top: TOP, right: width - 74, bottom: height - BOTTOM };
  const period = periodScale(analysis, frame);
  const x = timeScale(analysis, frame);
  context.fillStyle = colours.sunken;
  context.fillRect(frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top);
  bottomAxis(context, frame, x, linearTicks(x.low, x.high, frame.right / 70),
    `time (${analysis.time_unit})`, colours);
  leftAxis(context, frame, period, logTicks(period.low, period.high),
    `period (${analysis.time_unit})`, colours);
  // A row and a column stand for half a step on both sides.
  const half = Math.sqrt(analysis.periods[1] / analysis.periods[0]);
  const top = period(analysis.periods[0] / half);
  const bottom = period(analysis.periods.at(-1) * half);
  const left = x(timeAt(analysis, -0.5));
  const right = x(timeAt(analysis, analysis.values.length - 0.5));
  context.save();
  clip(context, frame);
  context.drawImage(heat, left, top, right - left, bottom - top);
  shadeCone(context, frame, analysis, x, period, colours);
  context.restore();
  drawBar(context, frame, bar, analysis, colours);
  if (cursor) {
    const y = period(analysis.periods[cursor.row]);
    const at = x(timeAt(analysis, cursor.column));
    for (const [colour, width] of [["#000", 3.5], ["#fff", 1.5]]) {
      line(context, frame.left, y, frame.right, y, colour, { width });
      line(context, at, frame.top, at, frame.bottom, colour, { width });
    }
  }
  return { frame, x, period };
}

/**
 * A mother wavelet, scaled and moved, over the signal.
 *
 * @param {object} mother From the catalogue, its arrays decoded.
 * @param {number} scale a, in time units.
 * @param {number} position b.
 * @param {number} narrowest The scale at which the wavelet just fits the axis's height.
 */
export function drawMother(canvas, analysis, mother, scale, position, narrowest) {
  const { context, width, height } = prepare(canvas);
  const colours = plotColours();
  const frame = { left: LEFT, top: TOP, right: width - 14, bottom: height - BOTTOM };
  const x = timeScale(analysis, frame);
  const values = linearScale(...valueRange(analysis.values), frame.bottom, frame.top);
  const largest = mother.largest / Math.sqrt(Math.min(scale, narrowest));
  const y = linearScale(-1.1 * largest, 1.1 * largest, frame.bottom, frame.top);
  bottomAxis(context, frame, x, linearTicks(x.low, x.high, frame.right / 70),
    `time (${analysis.time_unit})`, colours);
  leftAxis(context, frame, y, linearTicks(y.low, y.high, 4),
    `wavelet (1/√${analysis.time_unit})`, colours);
  context.globalAlpha = 0.45;
  curve(context, frame, points(analysis, x, values), colours.curve);
  context.globalAlpha = 1;
  const drawPart = (part, style) => {
    const list = Array.from(part, (value, i) => [
      x(position + scale * (mother.x_start + i * mother.x_step)),
      y(value / Math.sqrt(scale))]);
    const [from, to] = [list[0][0], list.at(-1)[0]];
    curve(context, frame, [[Math.min(from, frame.left), y(0)], [from, y(0)], ...list,
      [to, y(0)], [Math.max(to, frame.right), y(0)]], colours.mark, style);
  };
  if (mother.imaginary) drawPart(mother.imaginary, { width: 1.5, dash: [4, 4] });
  drawPart(mother.real, { width: 2.2 });
  return { frame, x };
}

/** Time of a column. */
export function timeAt(analysis, column) {
  return analysis.time_start + column * analysis.sampling_period;
}

/** Hz where time is in seconds, else cycles per unit. */
export function frequencyUnit({ time_unit: unit }) {
  return unit === "s" ? "Hz" : `cycles per ${unit.replace(/s$/, "")}`;
}

function timeScale(analysis, frame) {
  return linearScale(analysis.time_start, timeAt(analysis, analysis.values.length - 1),
    frame.left, frame.right);
}

/** From two samples at the top to the whole signal at the bottom. */
function periodScale(analysis, frame) {
  return logScale(2 * analysis.sampling_period,
    analysis.values.length * analysis.sampling_period, frame.top, frame.bottom);
}

function valueRange(values) {
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const room = 0.08 * (high - low) || 1;
  return [low - room, high + room];
}

function points(analysis, x, y) {
  return Array.from(analysis.values, (value, i) => [x(timeAt(analysis, i)), y(value)]);
}

function timeMark(context, frame, x, colours) {
  line(context, x, frame.top, x, frame.bottom, colours.mark, { width: 1.5 });
}

/** Veils what the ends of the signal reach, and what no scale covers. */
function shadeCone(context, frame, analysis, x, period, colours) {
  const edge = Array.from(analysis.cone_of_influence, (longest, i) =>
    [x(timeAt(analysis, i)), period(longest)]);
  context.beginPath();
  context.moveTo(frame.left, frame.top);
  for (const point of edge) context.lineTo(...point);
  context.lineTo(frame.right, frame.top);
  context.lineTo(frame.right, frame.bottom);
  context.lineTo(frame.left, frame.bottom);
  context.closePath();
  context.globalAlpha = 0.55;
  context.fillStyle = colours.card;
  context.fill();
  context.globalAlpha = 1;
  for (const [colour, width] of [["#000", 2.5], ["#fff", 1.2]]) {
    curve(context, frame, edge, colour, { width });
  }
}

function drawBar(context, frame, bar, analysis, colours) {
  const [left, right] = [frame.right + 14, frame.right + 26];
  context.drawImage(bar, left, frame.top, right - left, frame.bottom - frame.top);
  const y = linearScale(0, analysis.strongest, frame.bottom, frame.top);
  context.fillStyle = colours.muted;
  context.textAlign = "left";
  context.textBaseline = "middle";
  for (const tick of linearTicks(0, analysis.strongest, 4)) {
    context.fillText(formatNumber(tick), right + 5, y(tick));
  }
  context.fillStyle = colours.ink;
  context.textAlign = "right";
  context.textBaseline = "bottom";
  context.fillText("|W|", right, frame.top - 7);
}
