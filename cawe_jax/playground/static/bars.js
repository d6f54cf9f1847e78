/* Probabilities as bars: the photograph's in orange, the perturbed input's in blue. */

import { h, percent } from "./dom.js";

/**
 * A titled list of classes with their probabilities.
 *
 * @param {string} title
 * @param {Array<{class: string, probability: number, standard_error: number|undefined}>} classes
 * @param {string} target The class that is explained; set in bold.
 * @param {boolean} perturbed Which of the two colours.
 */
export function probabilityBars(title, classes, target, perturbed) {
  return h("div", {},
    h("h3", { class: perturbed ? "perturbed" : "input" }, title),
    h("ol", { class: perturbed ? "bars perturbed-bars" : "bars" },
      ...classes.map((row) => bar(row, row.class === target))));
}

function bar(row, isTarget) {
  const fill = h("span", { class: "bar" });
  fill.style.width = `${100 * row.probability}%`;
  const track = h("span", { class: "track" }, fill);
  if (row.standard_error) {
    const whisker = h("span", { class: "whisker" });
    const low = Math.max(0, row.probability - row.standard_error);
    const high = Math.min(1, row.probability + row.standard_error);
    whisker.style.left = `${100 * low}%`;
    whisker.style.width = `${100 * (high - low)}%`;
    track.append(whisker);
  }
  return h("li", { class: isTarget ? "target" : null },
    h("span", { class: isTarget ? "name target" : "name", title: row.class }, row.class),
    h("span", { class: "numbers" }, percent(row.probability)),
    track);
}
