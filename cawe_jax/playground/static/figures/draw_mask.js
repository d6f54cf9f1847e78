/* Figure 1: paint what the network may keep, see whether its answer stays.

   The mask is exact in the network's own pixels. Numbers and draws come from the server;
   nothing here is computed twice. */

import { probabilityBars } from "../bars.js";
import { Cancelled } from "../connection.js";
import {
  button, field, h, lightbox, onThemeChange, percent, perFrame, plusMinus, segmented, select,
  titled,
} from "../dom.js";
import {
  createHistory, listenToBrush, listenToShortcuts, paintSegment,
} from "../painting.js";
import { createMaskCanvas, keptPicture } from "./mask_canvas.js";
import { createScoreboard } from "./scoreboard.js";

/**
 * Mounts the figure.
 *
 * @param {HTMLElement} section
 * @param {{connection: object, catalogue: object, images: object}} context
 */
export function mount(section, { connection, catalogue, images }) {
  const [size] = catalogue.image_size;
  const mask = new Uint8Array(size * size);
  const history = createHistory(mask);
  const settings = { filling: catalogue.defaults.perturbation, draws: catalogue.defaults.draws, seed: 0 };
  const brush = { radius: 14, value: 1, at: null };
  const shown = { image: null, picture: null };
  // What has been asked and answered for the image and the settings of now.
  let answers = { you: null, machines: {}, running: {} };
  let prediction = null;

  const view = createMaskCanvas(size);
  const { canvas } = view;
  canvas.className = "pixels painting";
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label",
    "Mask. Arrow keys move the brush, hold the space bar to paint, E changes between keep "
    + "and erase.");
  const redraw = perFrame(() => view.draw({
    picture: shown.picture,
    mask,
    brush: brush.at && { ...brush.at, radius: brush.radius },
  }));
  onThemeChange(redraw);

  const budget = h("output", { class: "budget numbers", "aria-live": "polite" });
  const error = h("p", { class: "error", role: "alert" });
  const outcome = h("div", { class: "outcome", "aria-live": "polite" });
  const draws = h("div", { class: "draws" });
  const predictButton = button("Predict", predict, { class: "primary" });
  const undoButton = button("Undo", undo);
  const redoButton = button("Redo", redo);
  const titleOf = (method) =>
    catalogue.methods.find(({ name }) => name === method).title;
  const scoreboard = createScoreboard(catalogue.methods, {
    start: search,
    cancel: (name) => answers.running[name]?.request.cancel(),
    details: (name) => showOutcome(answers.machines[name], `${titleOf(name)}’s mask`),
  });

  listenToBrush(canvas, size, {
    start: () => history.record(),
    segment(from, to) {
      paintSegment(mask, size, from, to, brush.radius, brush.value);
      changed();
    },
    end: () => {},
    hover(point) { brush.at = point; redraw(); },
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "e") setTool(brush.value ? "erase" : "keep");
  });

  const tool = segmented("What the brush does",
    [{ value: "keep", label: "Keep" }, { value: "erase", label: "Erase" }], "keep", setTool);
  function setTool(name) {
    brush.value = name === "keep" ? 1 : 0;
    tool.set(name);
  }

  const brushOutput = h("output", {});
  const brushSlider = h("input", {
    type: "range", min: 1, max: 60, value: brush.radius,
    oninput: () => setRadius(Number(brushSlider.value)),
  });
  function setRadius(radius) {
    brush.radius = Math.min(60, Math.max(1, radius));
    brushSlider.value = brush.radius;
    brushOutput.textContent = `${2 * brush.radius} pixels`;
    redraw();
  }

  function changed() {
    const count = mask.reduce((sum, keep) => sum + keep, 0);
    budget.replaceChildren(h("b", {}, count.toLocaleString("en")),
      ` of ${mask.length.toLocaleString("en")} pixels kept, ${percent(count / mask.length)}`);
    undoButton.disabled = !history.canUndo;
    redoButton.disabled = !history.canRedo;
    redraw();
  }
  function edit(change) {
    history.record();
    mask.forEach((keep, i) => { mask[i] = change(keep); });
    changed();
  }
  function undo() { if (history.undo()) changed(); }
  function redo() { if (history.redo()) changed(); }

  /** Answers to other questions are no longer true of what is shown. */
  function forget() {
    prediction?.cancel();
    for (const { request } of Object.values(answers.running)) request.cancel();
    answers = { you: null, machines: {}, running: {} };
    outcome.replaceChildren();
    draws.replaceChildren();
    render();
  }
  function change(name, value) {
    settings[name] = value;
    forget();
  }

  function render() {
    const budget = answers.you?.budget ?? 0;
    scoreboard.render({ ...answers, ready: budget > 0 && budget < mask.length });
  }

  function question() {
    return { image: shown.image.source, ...settings };
  }

  async function predict() {
    if (!shown.picture) return; // still loading
    error.textContent = "";
    prediction?.cancel();
    const current = answers;
    const picture = keptPicture(shown.picture, mask, size);
    prediction = connection.request({ type: "predict", ...question(), mask: packBits(mask) }, {
      onQueued({ position }) {
        predictButton.textContent = position ? waiting(position) : "Predicting…";
      },
    });
    predictButton.disabled = true;
    predictButton.textContent = "Predicting…";
    try {
      const answer = await prediction.promise;
      current.you = { ...answer, picture };
      if (current === answers) showOutcome(answer, "Your mask");
    } catch (failure) {
      if (!(failure instanceof Cancelled)) error.textContent = failure.message;
    } finally {
      predictButton.disabled = false;
      predictButton.textContent = "Predict";
      render();
    }
  }

  async function search(name) {
    error.textContent = "";
    const current = answers;
    const running = { text: "Starting…", share: 0, picture: null };
    const advance = (news) => scoreboard.advance(name, Object.assign(running, news));
    running.request = connection.request(
      { type: "machine_mask", method: name, budget: current.you.budget, ...question() },
      {
        onQueued({ position }) { advance({ text: waiting(position) }); },
        onProgress({ step, num_steps, picture }) {
          // After the last step entries are exchanged, of which nothing is reported.
          const text = step < num_steps ? "Searching…" : "Choosing the last entries…";
          advance({ text, share: step / num_steps, picture });
        },
      });
    current.running[name] = running;
    render();
    try {
      current.machines[name] = await running.request.promise;
    } catch (failure) {
      if (!(failure instanceof Cancelled)) error.textContent = failure.message;
    } finally {
      delete current.running[name];
      render();
    }
  }

  function showOutcome(answer, title) {
    outcome.replaceChildren(
      h("p", { class: "distortion" }, `${title}: expected distortion `,
        h("b", { class: "numbers", "data-value": "distortion" },
          plusMinus(answer.distortion, answer.standard_error))),
      h("div", { class: "columns" },
        probabilityBars("The photograph", answer.before, answer.target.class, false),
        probabilityBars("With the mask", answer.after, answer.target.class, true)));
    const captions = answer.draws.length < answer.num_draws
      ? `The first ${answer.draws.length} of the ${answer.num_draws} draws that the network was shown`
      : "What the network was shown";
    draws.replaceChildren(h("h3", {}, `${captions} (${title.toLowerCase()})`),
      h("div", { class: "strip" }, ...answer.draws.map((url, i) =>
        h("button", { class: "plain", type: "button",
          onclick: () => lightbox(url, `Draw ${i + 1}`) },
        h("img", { src: url, alt: `Draw ${i + 1}`, width: 112, height: 112 })))));
  }

  const picker = images.picker(async (image) => {
    shown.image = image;
    shown.picture = null;
    forget();
    error.textContent = "";
    try {
      const picture = await images.load(image);
      if (shown.image === image) shown.picture = picture;
    } catch {
      error.textContent = `${image.title} could not be loaded; please choose it again.`;
    }
    redraw();
  });

  const figure = section.querySelector(".figure");
  figure.classList.add("stack");
  figure.append(
    picker.element,
    h("div", { class: "columns" },
      h("div", { class: "stack painter" },
        canvas,
        h("div", { class: "row" },
          tool.element, undoButton, redoButton,
          button("Clear", () => edit(() => 0)),
          button("Invert", () => edit((keep) => 1 - keep))),
        field("Brush", brushSlider, brushOutput),
        h("p", { class: "hint" },
          "Paint what the network may keep. Keys: arrows move, hold space to paint, E "
          + "erases, [ and ] change the brush, Ctrl+Z takes back.")),
      h("div", { class: "stack" },
        h("p", {}, budget),
        h("div", { class: "row fields" },
          field("The rest becomes", select(
            titled(catalogue.perturbations),
            settings.filling, (value) => change("filling", value))),
          numberField("Draws", ...catalogue.limits.draws, settings.draws, (value) => change("draws", value)),
          numberField("Seed", ...catalogue.limits.seed, settings.seed, (value) => change("seed", value))),
        predictButton, error, outcome)),
    draws,
    scoreboard.element);
  listenToShortcuts(figure, {
    undo, redo, resize: (step) => setRadius(brush.radius + 2 * step),
  });
  setRadius(brush.radius);
  changed();
  render();
}

/** What a job's place in the queue means. */
export function waiting(position) {
  return position > 0
    ? `Waiting; ${position} before you`
    : "Starting; the first of its kind takes longer";
}

/** A whole number within bounds; what does not fit goes back to the nearest that does. */
function numberField(label, min, max, value, onchange) {
  const input = h("input", {
    type: "number", min, max, step: 1, value,
    onchange() {
      input.value = Math.min(max, Math.max(min, Math.round(Number(input.value) || 0)));
      onchange(Number(input.value));
    },
  });
  return field(label, input);
}

/** Bits row by row, the first in the highest place, as base64. */
function packBits(mask) {
  const bytes = new Uint8Array(mask.length / 8);
  mask.forEach((keep, i) => { bytes[i >> 3] |= keep << (7 - (i & 7)); });
  return btoa(String.fromCharCode(...bytes));
}
