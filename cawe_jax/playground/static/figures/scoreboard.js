/* You against the machine: three masks of the same budget, and whose distortion is least.

   A machine's mask is compared only while it was made for the same budget; after a change
   of the mask it stays visible, with its own budget said. Two distortions whose difference
   is within two standard errors are a tie: more draws decide. */

import { button, formatNumber, h, lightbox, percent, plusMinus } from "../dom.js";

/**
 * @param {Array<{name: string, title: string, unit: string}>} methods The machines.
 * @param {{start: function(string): void, cancel: function(string): void,
 *   details: function(string): void}} actions Each gets a machine's name.
 * @returns {{element: HTMLElement, render: function(object): void,
 *   advance: function(string, object): void}} `render({you, machines, running, ready})`:
 *   assessments with `picture`, or null; `running[name]` is `{text, share, picture}`;
 *   `ready` says whether a machine may start. `advance(name, running)` shows how far a
 *   search is; its button stays the same, so that a click or the focus is not lost.
 */
export function createScoreboard(methods, actions) {
  const titles = Object.fromEntries(methods.map(({ name, title }) => [name, title]));
  const cards = h("div", { class: "scoreboard" });
  const verdict = h("p", { class: "verdict", "aria-live": "polite" });
  const element = h("div", {},
    h("h3", {}, "You against the machine"), cards, verdict,
    h("p", { class: "hint" },
      "The same number, another currency: you and Pixel RDE spend the budget on pixels, "
      + "CartoonX on wavelet coefficients, and one of those can light up a whole patch. All "
      + "masks are judged alike, by the same filling and as many draws in their own "
      + "currency. A machine searches on draws of its own, so nobody has seen "
      + "those that count."));

  function render({ you, machines, running, ready }) {
    const rivals = methods.map(({ name, title, unit }) =>
      ({ name, title, unit, result: machines[name], running: running[name] }));
    const fair = rivals.filter(({ result }) => comparable(you, result));
    const best = Math.min(...[you, ...fair.map(({ result }) => result)]
      .filter(Boolean).map((result) => result.distortion));
    cards.replaceChildren(
      card({ title: "You", result: you, leads: fair.length > 0 && you?.distortion === best,
        empty: "Paint, then predict." }),
      ...rivals.map((rival) => machineCard(rival, you, best, ready, actions)));
    verdict.textContent = say(you, fair);
  }

  function advance(name, running) {
    const at = cards.querySelector(`[data-card="${titles[name]}"]`);
    const text = at?.querySelector(".running");
    if (!text) return; // of an older question
    text.textContent = running.text;
    at.querySelector("progress").value = running.share;
    if (running.picture) {
      at.querySelector(".picture").replaceChildren(large(titles[name], running.picture));
    }
  }

  return { element, render, advance };
}

function comparable(you, result) {
  return Boolean(you && result && you.budget === result.budget);
}

function machineCard({ name, title, unit, result, running }, you, best, ready, actions) {
  const controls = running
    ? button("Cancel", () => actions.cancel(name))
    : button(result ? "Search again" : `Show ${title}’s mask`, () => actions.start(name),
      { disabled: !ready, "data-machine": name });
  return card({
    title,
    unit,
    result,
    running,
    leads: comparable(you, result) && result.distortion === best,
    empty: `Keeps as many ${unit} as you kept pixels.`,
    controls: [controls,
      result && !running ? button("Its draws", () => actions.details(name)) : null],
  });
}

function card({ title, unit = "pixels", result, running, leads, empty, controls = [] }) {
  const url = running?.picture ?? result?.picture;
  const picture = url ? large(title, url) : h("div", { class: "blank" }, empty);
  return h("div", { class: leads ? "card leads" : "card", "data-card": title },
    h("div", { class: "picture" }, picture),
    h("div", { class: "about" },
      h("h4", {}, title, leads ? h("span", { class: "badge" }, "ahead") : null),
      running
        ? h("div", {}, h("p", { class: "running" }, running.text), progressBar(running.share))
        : result ? facts(result, unit) : null,
      h("div", { class: "row" }, ...controls)));
}

/** A picture that a click enlarges. */
function large(title, url) {
  return h("button", { class: "plain", type: "button", "aria-label": `Enlarge: ${title}`,
    onclick: () => lightbox(url, `${title}: what is kept`) },
  h("img", { src: url, alt: `What ${title} kept`, width: 224, height: 224 }));
}

function progressBar(share) {
  return h("progress", { class: "progress", max: 1, value: share, "aria-label": "Progress" });
}

function facts(result, unit) {
  return h("dl", { class: "numbers facts" },
    h("dt", {}, "distortion"),
    h("dd", { "data-value": "distortion" },
      plusMinus(result.distortion, result.standard_error)),
    h("dt", {}, result.target.class),
    h("dd", {}, `${percent(result.target.before)} → ${percent(result.target.after)}`),
    h("dt", {}, "budget"),
    h("dd", {}, `${result.budget.toLocaleString("en")} ${unit.split(" ").at(-1)}`));
}

/** One sentence on who leads, or on what to do. */
function say(you, fair) {
  if (!you) return "";
  if (!fair.length) return "Can you beat the machine? Let it search a mask of your budget.";
  const rival = fair.reduce((a, b) =>
    (a.result.distortion <= b.result.distortion ? a : b));
  const lead = rival.result.distortion - you.distortion;
  const doubt = 2 * Math.hypot(rival.result.standard_error, you.standard_error);
  if (Math.abs(lead) <= doubt) {
    return `You and ${rival.title}: too close to call. More draws would tell.`;
  }
  if (lead > 0) {
    return `You win: ${formatNumber(you.distortion)} against ${rival.title}’s `
      + `${formatNumber(rival.result.distortion)}. Now try with a smaller budget.`;
  }
  return `${rival.title} is ahead by ${formatNumber(-lead)}. Which part did it keep that `
    + "you did not? Paint it, and try again.";
}
