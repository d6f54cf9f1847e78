/* The photograph with a mask over it: what is kept is clear and outlined in orange, the
   rest lies behind a veil. The mask has the network's pixels; the canvas is larger, so
   that the photograph and the outline look smooth. */

import { readColour } from "../dom.js";

const RESOLUTION = 896;

/**
 * @param {number} size Pixels a side of the mask.
 * @returns {{canvas: HTMLCanvasElement, draw: function(object): void}} `draw({picture,
 *   mask, brush})`: an image or null, `Uint8Array [size * size]`, and `{x, y, radius}` in
 *   the mask's pixels or null.
 */
export function createMaskCanvas(size) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = RESOLUTION;
  const context = canvas.getContext("2d");
  const scale = RESOLUTION / size;
  const veil = document.createElement("canvas");
  veil.width = veil.height = size;

  function draw({ picture, mask, brush }) {
    context.clearRect(0, 0, RESOLUTION, RESOLUTION);
    if (picture) context.drawImage(picture, 0, 0, RESOLUTION, RESOLUTION);
    paintVeil(veil, mask, size);
    context.imageSmoothingEnabled = false;
    context.drawImage(veil, 0, 0, RESOLUTION, RESOLUTION);
    context.imageSmoothingEnabled = true;
    // Light under dark, so that the outline is seen on every photograph.
    const path = outline(mask, size, scale);
    stroke(context, path, "rgb(0 0 0 / 0.45)", 5);
    stroke(context, path, readColour("--input-fill"), 2.5);
    if (brush) {
      const circle = new Path2D();
      circle.arc(brush.x * scale, brush.y * scale, brush.radius * scale, 0, 2 * Math.PI);
      stroke(context, circle, "rgb(0 0 0 / 0.7)", 5);
      stroke(context, circle, "#fff", 2.5);
    }
  }
  return { canvas, draw };
}

/**
 * What is kept, for a small picture: the rest is grey.
 *
 * @param {CanvasImageSource} picture
 * @param {Uint8Array} mask
 * @param {number} size
 * @returns {string} A data URL.
 */
export function keptPicture(picture, mask, size) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0, size, size);
  const pixels = context.getImageData(0, 0, size, size);
  mask.forEach((keep, i) => { if (!keep) pixels.data.set([128, 128, 128, 255], 4 * i); });
  context.putImageData(pixels, 0, 0);
  return canvas.toDataURL();
}

function paintVeil(canvas, mask, size) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.clearRect(0, 0, size, size);
  context.fillStyle = readColour("--card");
  context.globalAlpha = 0.74;
  context.fillRect(0, 0, size, size);
  context.globalAlpha = 1;
  const pixels = context.getImageData(0, 0, size, size);
  mask.forEach((keep, i) => { if (keep) pixels.data[4 * i + 3] = 0; });
  context.putImageData(pixels, 0, 0);
}

/** The borders between kept and masked pixels. */
function outline(mask, size, scale) {
  const path = new Path2D();
  const at = (row, column) =>
    row >= 0 && column >= 0 && row < size && column < size && mask[row * size + column] === 1;
  const line = (row0, column0, row1, column1) => {
    path.moveTo(column0 * scale, row0 * scale);
    path.lineTo(column1 * scale, row1 * scale);
  };
  for (let row = 0; row <= size; row++) {
    for (let column = 0; column <= size; column++) {
      const here = at(row, column);
      if (here !== at(row - 1, column)) line(row, column, row, column + 1);
      if (here !== at(row, column - 1)) line(row, column, row + 1, column);
    }
  }
  return path;
}

function stroke(context, path, colour, width) {
  context.lineCap = "round";
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke(path);
}
