/* The advanced panel of figure 4: everything that a method is made of, each with the
   default as its first choice. */

import { button, field, h, select, titled } from "../dom.js";

const DEFAULT = "";

/**
 * @param {object} catalogue
 * @param {function(Object<string, string|number|null>): void} onchange Gets what changed;
 *   null is the default.
 * @returns {{element: HTMLElement, set: function(object): void}} `set(state)` shows a state.
 */
export function createAdvanced(catalogue, onchange) {
  const { classes, defaults, limits, methods } = catalogue;
  const most = Math.min(...methods.map(({ max_budget }) => max_budget));
  const controls = {
    wavelet: choice("wavelet", titled(catalogue.wavelets)),
    levels: number("levels", 1, maxLevels(catalogue, null)),
    perturbation: choice("perturbation", titled(catalogue.perturbations)),
    distortion: choice("distortion", titled(catalogue.distortions)),
    budget: number("budget", 1, most, "none"),
    seed: number("seed", ...limits.seed),
  };
  const names = h("datalist", { id: "class-names" });
  const target = h("input", {
    type: "search", list: "class-names", placeholder: "the predicted class",
    autocomplete: "off", spellcheck: "false", onchange: chooseTarget,
    // A thousand options are made when somebody asks for them.
    onfocus: () => {
      if (!names.childElementCount) {
        names.append(...classes.map((name, i) => h("option", { value: classTitle(name, i) })));
      }
    },
  });
  const error = h("p", { class: "error", role: "alert" });

  function choice(name, options) {
    const standard = options.find(({ value }) => value === defaults[name]);
    return select(
      [{ value: DEFAULT, label: `${standard.label} (default)` },
        ...options.filter((option) => option !== standard)],
      DEFAULT,
      (value) => onchange({ [name]: value === DEFAULT ? null : value }));
  }

  function number(name, min, max, placeholder = String(defaults[name])) {
    const input = h("input", {
      type: "number", min, max, step: 1, placeholder,
      onchange() {
        const value = Math.round(Number(input.value));
        onchange({ [name]: input.value === ""
          ? null : Math.min(Number(input.max), Math.max(min, value)) });
      },
    });
    return input;
  }

  function chooseTarget() {
    const text = target.value.trim();
    const index = text === "" ? null : findClass(classes, text);
    error.textContent = index === undefined
      ? `No class is called “${text}”; choose one of the list.` : "";
    if (index !== undefined) onchange({ target: index });
  }

  function set(state) {
    for (const [name, control] of Object.entries(controls)) {
      control.value = state[name] ?? DEFAULT;
    }
    // A long wavelet fits fewer times into the image.
    controls.levels.max = maxLevels(catalogue, state.wavelet);
    target.value = state.target === null ? "" : classTitle(classes[state.target], state.target);
    error.textContent = "";
  }

  const element = h("details", { class: "advanced" },
    h("summary", {}, "Advanced: wavelet, noise, distortion, class, budget"),
    h("div", { class: "stack" },
      h("div", { class: "settings" },
        field("Wavelet (CartoonX)", controls.wavelet),
        field("Levels (CartoonX)", controls.levels),
        field("What replaces the rest", controls.perturbation),
        field("Distortion", controls.distortion),
        field("Explained class", target),
        field("Hard budget, in entries", controls.budget),
        field("Seed", controls.seed)),
      names, error,
      h("p", { class: "hint" },
        "For a class that the network does not predict, “nothing may change” would be "
        + "cheap to fulfil; its probability is maximised instead. A hard budget makes the "
        + "mask zeros and ones, exactly so many of them."),
      h("div", { class: "row" }, button("Back to the defaults", () => onchange({
        ...Object.fromEntries(Object.keys(controls).map((name) => [name, null])),
        target: null,
      })))));
  return { element, set };
}

/** Levels at most for a wavelet's name, null for the default's. */
export function maxLevels({ wavelets, defaults }, wavelet) {
  return wavelets.find(({ name }) => name === (wavelet ?? defaults.wavelet)).max_levels;
}

function classTitle(name, index) {
  return `${name} (${index})`;
}

/** The index of "tabby (281)", or of a name; undefined if there is none. */
function findClass(classes, text) {
  const index = Number(/\((\d+)\)$/.exec(text)?.[1] ?? NaN);
  if (classes[index] && text === classTitle(classes[index], index)) return index;
  const found = classes.findIndex((name) => name.toLowerCase() === text.toLowerCase());
  return found < 0 ? undefined : found;
}
