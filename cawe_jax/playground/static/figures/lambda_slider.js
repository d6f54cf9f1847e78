/* The price of the mask on a logarithmic scale: a slider over a few multipliers, and a
   field for any other. */

import { field, h } from "../dom.js";

/**
 * @param {number[]} multipliers Rising, equally spaced on the logarithmic scale.
 * @param {[number, number]} limits Of other multipliers.
 * @param {function(number): void} onchange
 * @returns {{element: HTMLElement, set: function(number): void}}
 */
export function createSlider(multipliers, limits, onchange) {
  const [least, most] = limits;
  const last = multipliers.length - 1;
  const range = h("input", {
    type: "range", min: 0, max: last, step: 1,
    oninput: () => onchange(multipliers[range.value]),
  });
  const exact = h("input", {
    type: "number", min: least, max: most, step: "any", "aria-label": "Lambda, exactly",
    onchange() {
      const value = Number(exact.value);
      onchange(value ? Math.min(most, Math.max(least, value)) : multipliers[range.value]);
    },
  });
  const ticks = h("div", { class: "ticks", "aria-hidden": "true" },
    ...multipliers.map((value, i) => {
      const tick = h("span", {}, i % 4 === 0 ? written(value) : "");
      tick.style.left = `${(100 * i) / last}%`;
      return tick;
    }));
  const element = h("div", { class: "lambda" },
    h("div", { class: "scale" },
      field("Price of the mask, λ", range),
      ticks,
      h("div", { class: "ends" },
        h("span", {}, "keeps more"), h("span", {}, "keeps less"))),
    exact);

  function set(value) {
    exact.value = written(value);
    const position = multipliers.reduce((best, other, i) =>
      (Math.abs(Math.log(other / value)) < Math.abs(Math.log(multipliers[best] / value))
        ? i : best), 0);
    range.value = position;
    range.setAttribute("aria-valuetext", `lambda ${written(value)}`);
  }
  return { element, set };
}

/** As many digits as tell the multipliers apart: 11.3, not 11.313708. */
function written(value) {
  return String(Number(value.toPrecision(3)));
}
