/* The two-dimensional discrete wavelet transform, periodised, in plain numbers.

   PyWavelets' `wavedec2(..., mode="periodization")` on a square whose side is a multiple
   of 2^levels, tested against it. Coefficients lie in the square of the image, each scale
   around the coarser ones; within a scale the three orientations lie as the transform
   makes them, `bands` says where. The filters come from the server, which has them from
   PyWavelets. */

/**
 * @typedef {{dec_lo: number[], dec_hi: number[], rec_lo: number[], rec_hi: number[]}} Filters
 *
 * @typedef {{level: number, orientation: "approximation"|"horizontal"|"vertical"|"diagonal",
 *   row: number, column: number, size: number}} Band `level` 1 is the finest.
 */

/**
 * Coefficients of an image.
 *
 * @param {ArrayLike<number>} image Row by row, `size * size`.
 * @param {number} size
 * @param {Filters} filters
 * @param {number} levels
 * @returns {Float64Array} In the layout of {@link bands}.
 */
export function forward(image, size, filters, levels) {
  const values = Float64Array.from(image);
  const line = new Float64Array(size);
  for (let side = size, level = 0; level < levels; level++, side /= 2) {
    for (let i = 0; i < side; i++) analyse(values, i * size, 1, side, filters, line);
    for (let i = 0; i < side; i++) analyse(values, i, size, side, filters, line);
  }
  return values;
}

/**
 * The image of coefficients: undoes {@link forward}.
 *
 * @param {ArrayLike<number>} coefficients
 * @param {number} size
 * @param {Filters} filters
 * @param {number} levels
 * @returns {Float64Array} Row by row.
 */
export function inverse(coefficients, size, filters, levels) {
  const values = Float64Array.from(coefficients);
  const line = new Float64Array(size);
  for (let level = levels; level > 0; level--) {
    const side = size / 2 ** (level - 1);
    for (let i = 0; i < side; i++) synthesise(values, i, size, side, filters, line);
    for (let i = 0; i < side; i++) synthesise(values, i * size, 1, side, filters, line);
  }
  return values;
}

/**
 * Where the sub-bands lie, coarsest first.
 *
 * @param {number} size
 * @param {number} levels
 * @returns {Band[]}
 */
export function bands(size, levels) {
  const coarsest = size / 2 ** levels;
  const list = [
    { level: levels, orientation: "approximation", row: 0, column: 0, size: coarsest },
  ];
  for (let level = levels; level > 0; level--) {
    const side = size / 2 ** level;
    list.push(
      // Horizontal details change from row to row.
      { level, orientation: "horizontal", row: side, column: 0, size: side },
      { level, orientation: "vertical", row: 0, column: side, size: side },
      { level, orientation: "diagonal", row: side, column: side, size: side },
    );
  }
  return list;
}

/**
 * The largest coefficients, all others zero; of equal ones the first.
 *
 * @param {Float64Array} coefficients
 * @param {number} count How many to keep.
 * @returns {Float64Array}
 */
export function keepLargest(coefficients, count) {
  const kept = new Float64Array(coefficients.length);
  if (count < 1) return kept;
  const magnitudes = coefficients.map(Math.abs);
  const threshold = magnitudes.slice().sort()[coefficients.length - count];
  let left = count - magnitudes.reduce((sum, value) => sum + (value > threshold), 0);
  for (let i = 0; i < kept.length; i++) {
    const equal = magnitudes[i] === threshold && left-- > 0;
    if (magnitudes[i] > threshold || equal) kept[i] = coefficients[i];
  }
  return kept;
}

/** Coefficients that are not zero but for the rounding of values in [0, 1]. */
export function countNonZero(coefficients) {
  return coefficients.reduce((count, value) => count + (Math.abs(value) > 1e-9), 0);
}

/**
 * How far an approximation is from an image.
 *
 * @param {ArrayLike<number>} image In [0, 1].
 * @param {ArrayLike<number>} approximation
 * @returns {{relative: number, psnr: number}} `||image - approximation|| / ||image||`,
 *   0 for two empty ones, and the peak signal-to-noise ratio in dB for a peak of 1.
 */
export function compare(image, approximation) {
  let error = 0;
  let energy = 0;
  for (let i = 0; i < image.length; i++) {
    error += (image[i] - approximation[i]) ** 2;
    energy += image[i] ** 2;
  }
  return {
    relative: error === 0 ? 0 : Math.sqrt(error / energy),
    psnr: -10 * Math.log10(error / image.length),
  };
}

/** One level of one line, in place: averages in its first half, details in the second. */
function analyse(values, start, stride, length, { dec_lo, dec_hi }, line) {
  for (let i = 0; i < length; i++) line[i] = values[start + i * stride];
  const half = length / 2;
  const taps = dec_lo.length;
  for (let k = 0; k < half; k++) {
    let low = 0;
    let high = 0;
    for (let j = 0; j < taps; j++) {
      const value = line[wrap(2 * k + taps / 2 - j, length)];
      low += dec_lo[j] * value;
      high += dec_hi[j] * value;
    }
    values[start + k * stride] = low;
    values[start + (k + half) * stride] = high;
  }
}

/** Undoes {@link analyse}. */
function synthesise(values, start, stride, length, { rec_lo, rec_hi }, line) {
  line.fill(0, 0, length);
  const half = length / 2;
  const taps = rec_lo.length;
  for (let k = 0; k < half; k++) {
    const low = values[start + k * stride];
    const high = values[start + (k + half) * stride];
    for (let j = 0; j < taps; j++) {
      line[wrap(2 * k + 1 - taps / 2 + j, length)] += rec_lo[j] * low + rec_hi[j] * high;
    }
  }
  for (let i = 0; i < length; i++) values[start + i * stride] = line[i];
}

/** The index in [0, length) that a periodic line has there. */
function wrap(index, length) {
  const rest = index % length;
  return rest < 0 ? rest + length : rest;
}
