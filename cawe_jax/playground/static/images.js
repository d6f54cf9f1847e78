/* The photographs that the figures share, and the picker that chooses one.

   An image is `{id, source, url, title, label, probability}`: `source` is what messages
   carry, `label` and `probability` the network's answer. What one figure uploads, all
   pickers offer. The server keeps uploads in memory only, so that a permalink cannot
   name them. */

import { button, formatNumber, h, percent } from "./dom.js";

/**
 * @typedef {{id: string, source: object, url: string, title: string, label: string,
 *   probability: number}} Image
 */

/**
 * The shared images of a page.
 *
 * @param {object} catalogue
 * @returns {{list: Image[], picker: function(function(Image): void, string=): Picker,
 *   load: function(Image): Promise<HTMLImageElement>}}
 *
 * @typedef {{element: HTMLElement, image: Image|undefined,
 *   pick: function(string): boolean}} Picker
 */
export function createImages(catalogue) {
  const list = catalogue.samples.map(fromSample);
  const pickers = [];

  async function upload(file) {
    const most = catalogue.limits.upload_bytes;
    if (file.size > most) {
      throw new Error(`${file.name} has ${formatNumber(file.size / 2 ** 20)} MiB; `
        + `at most ${formatNumber(most / 2 ** 20)} are taken.`);
    }
    let response;
    try {
      response = await fetch("uploads", { method: "POST", body: file });
    } catch {
      throw new Error("The server did not answer; please try again.");
    }
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    const image = {
      id: `upload:${answer.upload}`,
      source: { upload: answer.upload },
      url: answer.url,
      title: file.name || "your photograph",
      label: answer.class,
      probability: answer.probability,
    };
    list.push(image);
    for (const picker of pickers) picker.show();
    return image;
  }

  /** A picker that calls `onPick(image)`; it starts with `initial`, an image's id. */
  function picker(onPick, initial = surest(list, catalogue.shipped.samples).id) {
    const made = makePicker(list, upload, onPick);
    pickers.push(made);
    made.pick(initial);
    return made;
  }

  document.addEventListener("paste", (event) => {
    const file = imageFile(event.clipboardData);
    if (!file || !pickers.length) return;
    event.preventDefault();
    pickers.reduce((a, b) => (distanceToCentre(a) <= distanceToCentre(b) ? a : b)).take(file);
  });

  return { list, picker, load };
}

/** What the network is surest of, among the samples that are answered at once if any. */
function surest(list, shipped) {
  const quick = list.filter(({ source }) => shipped.includes(source.sample));
  return (quick.length ? quick : list).reduce((a, b) =>
    (a.probability >= b.probability ? a : b));
}

/** The image's pixels, ready to be drawn on a canvas. */
async function load(image) {
  const element = new globalThis.Image();
  element.src = image.url;
  await element.decode();
  return element;
}

function fromSample(sample) {
  return {
    id: `sample:${sample.name}`,
    source: { sample: sample.name },
    url: sample.url,
    title: sample.title,
    label: sample.class,
    probability: sample.probability,
  };
}

function makePicker(list, upload, onPick) {
  const picker = { element: null, image: undefined, pick, show, take };
  const thumbnails = h("div", { class: "thumbnails", role: "group", "aria-label": "Photographs" });
  const caption = h("span", { "aria-live": "polite" });
  const error = h("p", { class: "error", role: "alert" });
  const input = h("input", {
    type: "file",
    accept: "image/jpeg,image/png,image/webp",
    hidden: true,
    onchange: () => { if (input.files[0]) take(input.files[0]); input.value = ""; },
  });
  picker.element = h("div", { class: "picker" },
    thumbnails,
    h("div", { class: "row" },
      button("Upload a photograph", () => input.click()), input, caption),
    error);
  acceptDrops(picker.element, take);

  function show() {
    thumbnails.replaceChildren(...list.map((image) =>
      h("button", {
        type: "button",
        title: `${image.title}: ${image.label}`,
        "aria-label": `${image.title}: ${image.label}`,
        "aria-pressed": String(image === picker.image),
        "data-image": image.id,
        onclick: () => pick(image.id),
      }, h("img", { src: image.url, alt: "", width: 72, height: 72 }))));
    const chosen = picker.image;
    caption.replaceChildren(...(chosen ? describe(chosen) : []));
  }

  function pick(id) {
    const image = list.find((image) => image.id === id);
    if (!image) return false;
    error.textContent = "";
    picker.image = image;
    // Not rebuilt, so that the button just pressed keeps the focus.
    if (thumbnails.childElementCount === list.length) {
      list.forEach((other, i) =>
        thumbnails.children[i].setAttribute("aria-pressed", String(other === image)));
      caption.replaceChildren(...describe(image));
    } else show();
    onPick(image);
    return true;
  }

  async function take(file) {
    error.textContent = "";
    caption.textContent = "Uploading…";
    try {
      pick((await upload(file)).id);
    } catch (failure) {
      error.textContent = failure.message;
      caption.replaceChildren(...(picker.image ? describe(picker.image) : []));
    }
  }

  show();
  return picker;
}

/** "The network sees: tabby, 61.2 %". */
function describe(image) {
  return [
    "The network sees ",
    h("b", { class: "input" }, image.label),
    ` with ${percent(image.probability)}`,
  ];
}

function acceptDrops(element, take) {
  const over = (event) => { event.preventDefault(); element.classList.add("over"); };
  element.addEventListener("dragenter", over);
  element.addEventListener("dragover", over);
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("over");
    const file = imageFile(event.dataTransfer);
    if (file) take(file);
  });
}

function imageFile(transfer) {
  return [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/"));
}

function distanceToCentre(picker) {
  const box = picker.element.getBoundingClientRect();
  return Math.abs((box.top + box.bottom) / 2 - innerHeight / 2);
}
