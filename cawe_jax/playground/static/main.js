/* Starts the page: the catalogue, the connection, and one module per figure.

   A figure that fails says so in its own card; the others go on. */

import { connect } from "./connection.js";
import { h, themeChanged } from "./dom.js";
import { createImages } from "./images.js";
import { mount as drawMask } from "./figures/draw_mask.js";
import { mount as signals } from "./figures/signals.js";
import { mount as haar } from "./figures/haar.js";
import { mount as cartoonx } from "./figures/cartoonx.js";

const FIGURES = { "draw-mask": drawMask, signals, haar, cartoonx };

function followTheme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const toggle = document.getElementById("theme");
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  function show() {
    toggle.textContent = isDark() ? "Light" : "Dark";
    toggle.setAttribute("aria-label", `Use ${isDark() ? "light" : "dark"} colours`);
    themeChanged();
  }
  toggle.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    show();
  });
  system.addEventListener("change", show);
  show();
}

async function start() {
  followTheme();
  const status = document.getElementById("status");
  // A browser says with POST alone where the page comes from, and so the server can
  // say at once why it would refuse the socket.
  const response = await fetch("catalogue.json", { method: "POST" });
  const catalogue = await response.json();
  if (!response.ok) throw new Error(catalogue.error);
  const connection = connect((text) => { status.textContent = text; });
  const context = { connection, catalogue, images: createImages(catalogue) };
  for (const [id, mount] of Object.entries(FIGURES)) {
    const section = document.getElementById(id);
    try {
      await mount(section, context);
    } catch (error) {
      section.querySelector(".figure").append(
        h("p", { class: "error", role: "alert" }, `This figure does not work: ${error.message}`));
      console.error(error);
    }
  }
  document.documentElement.dataset.ready = "";
}

start().catch((error) => {
  document.getElementById("status").textContent =
    `The figures could not be loaded (${error.message}). Please reload the page.`;
});
