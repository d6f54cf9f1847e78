/* Small helpers that every figure uses: elements, numbers, colours, timers. */

/**
 * An element with attributes and children.
 *
 * Functions under `on...` become listeners, true and false boolean attributes; children
 * that are null or undefined are left out. Text is never read as HTML.
 *
 * @param {string} tag
 * @param {Object<string, any>} [attributes]
 * @param {...(Node|string|number|null|undefined)} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A button; `attributes` as for {@link h}. */
export function button(label, onclick, attributes = {}) {
  return h("button", { type: "button", onclick, ...attributes }, label);
}

let numFields = 0;

/**
 * A control under its visible label.
 *
 * @param {string} label
 * @param {HTMLElement} control An input, select or the like.
 * @param {HTMLElement} [output] Shown at the right of the label.
 */
export function field(label, control, output = null) {
  control.id ||= `field-${++numFields}`;
  const text = h("label", { for: control.id }, label);
  const head = output ? h("span", {}, text, output) : text;
  return h("div", { class: "field" }, head, control);
}

/**
 * A `<select>`.
 *
 * @param {Array<string|{value: string, label: string}>} options
 * @param {string} value
 * @param {function(string): void} onchange
 */
export function select(options, value, onchange) {
  const element = h("select", { onchange: () => onchange(element.value) });
  for (const option of options) {
    const { value, label } = option.value === undefined
      ? { value: option, label: option }
      : option;
    element.append(h("option", { value }, label));
  }
  element.value = value;
  return element;
}

/** What the catalogue lists, as the options of {@link select}. */
export function titled(list) {
  return list.map(({ name, title }) => ({ value: name, label: title }));
}

/**
 * Buttons of which one is pressed.
 *
 * @param {string} label For screen readers.
 * @param {Array<{value: string, label: string}>} options
 * @param {string} value
 * @param {function(string): void} onchange
 * @returns {{element: HTMLElement, set: function(string): void}}
 */
export function segmented(label, options, value, onchange) {
  const buttons = options.map((option) =>
    button(option.label, () => { set(option.value); onchange(option.value); }));
  const element = h("div", { class: "segmented", role: "group", "aria-label": label },
    ...buttons);
  function set(value) {
    options.forEach((option, i) =>
      buttons[i].setAttribute("aria-pressed", String(option.value === value)));
  }
  set(value);
  return { element, set };
}

/** Three significant digits, without exponents: 0.0123, 1.23, 12,345. */
export function formatNumber(x) {
  if (!Number.isFinite(x)) return "–";
  if (Math.abs(x) >= 100) return Math.round(x).toLocaleString("en");
  if (x !== 0 && Math.abs(x) < 0.001) return "< 0.001";
  return String(Number(x.toPrecision(3)));
}

/** A mean and its standard error, both to the error's second digit: 1.070 ± 0.020. */
export function plusMinus(mean, error) {
  if (!Number.isFinite(mean)) return "–";
  const digits = error > 0 ? Math.min(5, Math.max(2, 1 - Math.floor(Math.log10(error)))) : 3;
  return `${mean.toFixed(digits)} ± ${(error ?? NaN).toFixed(digits)}`;
}

/** A share as per cent: 0.1234 is 12.3 %. */
export function percent(share) {
  if (!Number.isFinite(share)) return "–";
  const value = 100 * share;
  return `${value.toFixed(value < 10 ? 2 : 1)}\u00a0%`;
}

/** Calls `action` once `delay` ms have passed since the last call. */
export function debounce(action, delay) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), delay);
  };
}

/** Calls `draw` at most once per frame of the screen. */
export function perFrame(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  };
}

const themed = new Set();

/** Calls `redraw` whenever light and dark change. */
export function onThemeChange(redraw) {
  themed.add(redraw);
}

/** To be called by whoever changes the theme. */
export function themeChanged() {
  for (const redraw of themed) redraw();
}

/** A colour token of style.css as canvas takes it: `readColour("--ink")`. */
export function readColour(token) {
  const probe = h("span", { hidden: true });
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

/** Shows a picture large until it is clicked or Escape is pressed. */
export function lightbox(url, caption) {
  const dialog = h("dialog", { class: "lightbox", "aria-label": caption },
    h("img", { src: url, alt: caption }), h("p", {}, caption));
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
