/* One method's explanation: the picture as it grows, its numbers, its files. */

import { button, formatNumber, h, lightbox, percent, plusMinus } from "../dom.js";

/** The pictures of an answer that can be looked at. */
export const VIEWS = [
  { value: "picture", label: "Explanation" },
  { value: "masked_picture", label: "In colour" },
  { value: "mask_picture", label: "Mask" },
];

const EMPTY = "At this price the best mask is empty: no part is worth what it costs. "
  + "Lower λ, or choose a photograph that the network is surer of.";

/**
 * @param {string} title
 * @param {function(): void} compute Asks for files of an answer that has none yet.
 * @returns {{element: HTMLElement, wait: function(string): void, grow: function(object): void,
 *   finish: function(object): void, fail: function(string): void, look: function(string): void}}
 */
export function createPanel(title, compute) {
  let answer = null;
  let view = "picture";
  const image = h("img", { alt: "", hidden: true });
  const enlarge = h("button", {
    class: "plain", type: "button", "aria-label": `Enlarge ${title}`, disabled: true,
    onclick: () => lightbox(image.src, title),
  }, image);
  const progress = h("progress", {
    class: "progress", max: 1, value: 0, "aria-label": `${title}: progress`,
  });
  const state = h("p", { class: "state" });
  const facts = h("dl", { class: "numbers facts", "aria-live": "polite" });
  const notice = h("p", { class: "notice", role: "status" });
  const error = h("p", { class: "error", role: "alert" });
  const files = h("div", { class: "row files" });
  const element = h("figure", { class: "picture explanation", "data-method": title },
    h("div", { class: "frame" }, enlarge),
    progress,
    h("figcaption", {}, h("h3", {}, title), state, error, facts, notice, files));

  function show(url, alt) {
    image.src = url;
    image.alt = alt;
    image.hidden = false;
    enlarge.disabled = false;
  }

  function clearWords() {
    error.textContent = notice.textContent = "";
    files.replaceChildren();
  }

  /** Nothing of this question has been answered yet; the last picture fades. */
  function wait(text) {
    answer = null;
    element.classList.add("stale");
    element.dataset.state = "waiting";
    progress.value = 0;
    state.textContent = text;
    facts.replaceChildren();
    clearWords();
  }

  function grow({ step, num_steps, picture, rate, distortion }) {
    element.classList.remove("stale");
    element.dataset.state = "growing";
    facts.setAttribute("aria-busy", "true"); // a screen reader waits for the last numbers
    progress.value = step / num_steps;
    show(picture, `${title} after ${step} of ${num_steps} steps`);
    // A hard budget is met after the last step, by exchanging entries.
    state.textContent = step < num_steps
      ? `Step ${step} of ${num_steps}` : "Choosing the last entries…";
    setFacts([
      ["kept, the rate", percent(rate)],
      ["distortion so far", formatNumber(distortion)],
    ]);
  }

  function finish(found) {
    answer = found;
    element.classList.remove("stale");
    element.dataset.state = "done";
    facts.setAttribute("aria-busy", "false");
    progress.value = 1;
    state.textContent = found.cached
      ? "Computed before"
      : `Computed in ${formatNumber(found.seconds)} s`;
    setFacts([
      ["retained probability", percent(found.retained_probability)],
      [found.target.class, `${percent(found.probability)} → ${percent(found.score_with_noise)}`],
      ["kept, the rate", percent(found.rate)],
      ["distortion", plusMinus(found.distortion, found.standard_error)],
    ]);
    clearWords();
    notice.textContent = found.notice ?? (found.rate === 0 ? EMPTY : "");
    showFiles(found);
    look(view);
  }

  function setFacts(rows) {
    facts.replaceChildren(...rows.flatMap(([name, value]) =>
      [h("dt", {}, name), h("dd", { "data-value": name }, value)]));
  }

  function showFiles({ result }) {
    files.replaceChildren(...(result
      ? ["png", "npz"].map((kind) => h("a", {
        href: `results/${result}.${kind}`, download: "",
        "aria-label": `Download ${title} as ${kind.toUpperCase()}`,
      }, kind === "png" ? "Figure (PNG)" : "Mask and numbers (NPZ)"))
      : [button("Compute the files to download", compute, { class: "quiet" })]));
  }

  function fail(message) {
    element.dataset.state = "failed";
    progress.value = 0;
    state.textContent = "";
    clearWords();
    error.textContent = message;
  }

  function look(name) {
    view = name;
    if (!answer) return;
    const label = VIEWS.find(({ value }) => value === name).label.toLowerCase();
    show(answer[name], `${title}, ${label}, of ${answer.target.class}`);
  }

  return { element, wait, grow, finish, fail, look };
}
