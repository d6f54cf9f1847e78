/* Figure 4: one image, one price of the mask, two explanations side by side.

   Every change cancels what runs and asks again after a short rest, so that a moving
   slider costs the server nothing. Nothing is asked before the figure is first seen. */

import { Cancelled } from "../connection.js";
import { debounce, h, segmented } from "../dom.js";
import { fromFragment } from "../permalink.js";
import { createAdvanced, maxLevels } from "./advanced.js";
import { waiting } from "./draw_mask.js";
import { createPanel, VIEWS } from "./explanation_panel.js";
import { createLink } from "./link.js";
import { createSlider } from "./lambda_slider.js";

const REST = 400; // ms without a change before the server is asked

/** Everything but the image and the multiplier; null is the server's default. */
const DEFAULTS = {
  wavelet: null, levels: null, perturbation: null, distortion: null, target: null,
  budget: null, seed: null,
};

/**
 * Mounts the figure.
 *
 * @param {HTMLElement} section
 * @param {{connection: object, catalogue: object, images: object}} context
 */
export function mount(section, { connection, catalogue, images }) {
  const lambda = catalogue.defaults.lagrange_multiplier;
  const state = { ...DEFAULTS, lambda };
  const running = {};
  let image = null;
  let seen = false;

  const methods = Object.fromEntries(
    catalogue.methods.map((method) => [method.name, method]));
  const names = Object.keys(methods);
  const panels = Object.fromEntries(names.map((name) =>
    [name, createPanel(methods[name].title, () => ask(name, true))]));
  const advanced = createAdvanced(catalogue, change);
  const slider = createSlider(
    catalogue.slider, catalogue.limits.lagrange_multiplier,
    (lambda) => change({ lambda }));
  const link = createLink();
  const photograph = h("img", { alt: "" });
  const views = segmented("What the pictures show", VIEWS, "picture", (view) => {
    for (const panel of Object.values(panels)) panel.look(view);
  });
  const askSoon = debounce(askAll, REST);
  const picker = images.picker((picked) => {
    image = picked;
    photograph.src = image.url;
    photograph.alt = `The photograph: ${image.title}`;
    // A class of the old photograph says nothing about the new one.
    change({ target: null });
  });

  /** Takes new values, shows them everywhere, and drops what is answered to the old. */
  function change(values) {
    Object.assign(state, values);
    if (state.levels > maxLevels(catalogue, state.wavelet)) state.levels = null;
    slider.set(state.lambda);
    advanced.set(state);
    link.set(state, image);
    for (const method of names) {
      running[method]?.cancel();
      panels[method].wait("");
    }
    askSoon();
  }

  function askAll() {
    if (!seen) return;
    for (const method of names) ask(method, false);
  }

  async function ask(method, fresh) {
    const panel = panels[method];
    running[method]?.cancel();
    panel.wait("Asking…");
    const request = connection.request({ ...question(method), fresh }, {
      onQueued: ({ position }) => panel.wait(waiting(position)),
      onProgress: panel.grow,
    });
    running[method] = request;
    try {
      const answer = await request.promise;
      if (running[method] === request) panel.finish(answer);
    } catch (failure) {
      if (!(failure instanceof Cancelled)) panel.fail(failure.message);
    }
  }

  function question(method) {
    const { lambda, wavelet, levels, ...others } = state;
    const wavelets = methods[method].has_wavelet ? { wavelet, levels } : {};
    return {
      type: "explain",
      image: image.source,
      method,
      lagrange_multiplier: lambda,
      ...wavelets,
      ...others,
    };
  }

  /** Follows the address, if it is one of this figure's. */
  function restore() {
    const wanted = fromFragment(location.hash);
    if (!wanted) return;
    if (wanted.image) picker.pick(`sample:${wanted.image}`);
    change({ ...DEFAULTS, lambda, ...allowed(wanted, catalogue) });
    section.scrollIntoView();
  }

  section.querySelector(".figure").append(h("div", { class: "stack" },
    picker.element,
    slider.element,
    h("div", { class: "row between" }, views.element, link.element),
    h("div", { class: "explanations" },
      h("figure", { class: "picture" },
        h("div", { class: "frame" }, photograph),
        h("figcaption", {}, h("h3", { class: "input" }, "The photograph"))),
      ...Object.values(panels).map((panel) => panel.element)),
    advanced.element));

  addEventListener("hashchange", restore);
  restore();
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    seen = true;
    observer.disconnect();
    askSoon(); // and not twice, if the first photograph was chosen a moment ago
  });
  observer.observe(section.querySelector(".explanations"));
}

/** Of a link's values those that the server would take. */
function allowed(wanted, catalogue) {
  const { limits } = catalogue;
  const among = (list) => (value) => list.some(({ name }) => name === value);
  const within = ([least, most]) => (value) => least <= value && value <= most;
  const whole = (bounds) => (value) => Number.isInteger(value) && within(bounds)(value);
  const isWavelet = among(catalogue.wavelets);
  const wavelet = isWavelet(wanted.wavelet) ? wanted.wavelet : null;
  const budgets = catalogue.methods.map(({ max_budget }) => max_budget);
  const tests = {
    lambda: within(limits.lagrange_multiplier),
    wavelet: isWavelet,
    levels: whole([1, maxLevels(catalogue, wavelet)]),
    perturbation: among(catalogue.perturbations),
    distortion: among(catalogue.distortions),
    target: whole([0, catalogue.classes.length - 1]),
    budget: whole([1, Math.min(...budgets)]),
    seed: whole(limits.seed),
  };
  return Object.fromEntries(Object.entries(tests)
    .filter(([name, test]) => name in wanted && test(wanted[name]))
    .map(([name]) => [name, wanted[name]]));
}
