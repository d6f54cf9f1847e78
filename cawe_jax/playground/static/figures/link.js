/* The link to what figure 4 shows: in the address, and as a button that copies it. */

import { button, h } from "../dom.js";
import { toFragment } from "../permalink.js";

/**
 * @returns {{element: HTMLElement, set: function(object, object): void}} `set(state, image)`.
 */
export function createLink() {
  let fragment = "";
  const said = h("span", { class: "hint", role: "status" });
  const copy = button("Copy link", async () => {
    history.replaceState(null, "", fragment);
    try {
      await navigator.clipboard.writeText(location.href);
      said.textContent = "Copied.";
    } catch {
      said.textContent = "Copying is not allowed here; the link is in the address bar.";
    }
  });
  const element = h("div", { class: "row" }, said, copy);

  function set({ lambda, ...others }, image) {
    const sample = image.source.sample ?? null;
    fragment = toFragment({ image: sample, lambda: Number(lambda.toPrecision(6)), ...others });
    copy.disabled = sample === null;
    said.textContent = sample === null
      ? "A photograph of yours stays here; it cannot be part of a link." : "";
  }
  return { element, set };
}
