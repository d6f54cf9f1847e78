/* The three pictures of figure 3: the drawing, its coefficients, the reconstruction.

   Coefficients have a sign, so their colours diverge from zero, which is the page's own
   ground. Every level has a scale of its own, because details are a hundred times smaller
   than averages; the legend says which. */

import { setColour } from "../plots.js";
import { h, readColour } from "../dom.js";

const RESOLUTION = 512; // pixels a side of a canvas, four for one of the image

/** A square canvas and the drawing of one cell per value on it. */
export function createPicture(size, attributes) {
  const canvas = h("canvas", { width: RESOLUTION, height: RESOLUTION, ...attributes });
  const context = canvas.getContext("2d");
  const cells = document.createElement("canvas");
  cells.width = cells.height = size;
  const inner = cells.getContext("2d");
  const image = inner.createImageData(size, size);
  context.imageSmoothingEnabled = false;
  return {
    canvas,
    context,
    scale: RESOLUTION / size,
    /** `paint(data)` fills RGBA of all cells. */
    draw(paint) {
      paint(image.data);
      inner.putImageData(image, 0, 0);
      context.drawImage(cells, 0, 0, RESOLUTION, RESOLUTION);
    },
  };
}

/** Grey levels in [0, 1], and the brush if there is one. */
export function drawGrey(picture, values, brush = null) {
  picture.draw((data) => {
    for (let i = 0; i < values.length; i++) {
      data.fill(Math.round(255 * Math.min(1, Math.max(0, values[i]))), 4 * i, 4 * i + 3);
      data[4 * i + 3] = 255;
    }
  });
  if (!brush) return;
  const { context, scale } = picture;
  for (const [colour, width] of [["rgb(0 0 0 / 0.8)", 4.5], ["#fff", 2]]) {
    context.beginPath();
    context.arc(brush.x * scale, brush.y * scale, brush.radius * scale, 0, 2 * Math.PI);
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke();
  }
}

/**
 * Coefficients in quadrants, one colour scale per level, and the frame of one of them.
 *
 * @param {object} picture
 * @param {Float64Array} coefficients
 * @param {import("../wavelets.js").Band[]} bands
 * @param {number[]} scales Of each band: the magnitude of the strongest colours.
 * @param {Uint8Array} table The diverging colours.
 * @param {{row: number, column: number}|null} cell In the picture.
 */
export function drawCoefficients(picture, coefficients, bands, scales, table, cell) {
  const size = Math.sqrt(coefficients.length);
  picture.draw((data) => {
    bands.forEach((band, k) => {
      const place = placeOf(band);
      const slope = 127.5 / (scales[k] || 1);
      for (let row = 0; row < band.size; row++) {
        for (let column = 0; column < band.size; column++) {
          const value = coefficients[(band.row + row) * size + band.column + column];
          setColour(data, (place.row + row) * size + place.column + column, table,
            127.5 + slope * value);
        }
      }
    });
  });
  const { context, scale } = picture;
  context.strokeStyle = readColour("--edge");
  context.lineWidth = 2; // seen on a phone too, where the canvas is shrunk
  for (const band of bands.filter((band) => band.orientation === "diagonal")) {
    const side = band.size * scale;
    context.beginPath();
    context.moveTo(side, 0);
    context.lineTo(side, 2 * side);
    context.moveTo(0, side);
    context.lineTo(2 * side, side);
    context.stroke();
  }
  if (cell) {
    context.strokeStyle = readColour("--input");
    context.lineWidth = 2;
    context.strokeRect(cell.column * scale - 2, cell.row * scale - 2, scale + 4, scale + 4);
  }
}

/**
 * Where a band lies in the picture: horizontal details top right, vertical ones bottom
 * left, as in the masks of figure 4.
 */
export function placeOf({ orientation, row, column }) {
  const swapped = orientation === "horizontal" || orientation === "vertical";
  return swapped ? { row: column, column: row } : { row, column };
}

/** The band and the index of the coefficient that a cell of the picture shows. */
export function coefficientAt(bands, { row, column }, size) {
  for (const band of bands) {
    const place = placeOf(band);
    const [y, x] = [row - place.row, column - place.column];
    if (y >= 0 && x >= 0 && y < band.size && x < band.size) {
      return { band, row: y, column: x, index: (band.row + y) * size + band.column + x };
    }
  }
  return null;
}

/** The largest magnitude of every level, for each band; the average's for itself. */
export function levelScales(coefficients, bands) {
  const size = Math.sqrt(coefficients.length);
  const largest = new Map();
  const key = (band) => (band.orientation === "approximation" ? 0 : band.level);
  for (const band of bands) {
    let most = largest.get(key(band)) ?? 0;
    for (let row = band.row; row < band.row + band.size; row++) {
      for (let column = band.column; column < band.column + band.size; column++) {
        most = Math.max(most, Math.abs(coefficients[row * size + column]));
      }
    }
    largest.set(key(band), most);
  }
  // What is only rounding stays blank.
  return bands.map((band) => (largest.get(key(band)) > 1e-9 ? largest.get(key(band)) : 0));
}
