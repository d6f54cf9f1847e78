/* Painting on a square grid with mouse, finger, pen or keys, and undoing it.

   The canvas may be shown at any size; everything here is in grid cells. A stroke is a
   chain of segments, and a segment covers the cells whose centres are within the brush's
   radius of it: fast strokes have no gaps, and a mask has the same cells on every
   screen. */

/**
 * @typedef {{x: number, y: number}} Point In cells; cell (0, 0) has its centre at .5, .5.
 *
 * @param {HTMLCanvasElement} canvas Gets the focus and the events.
 * @param {number} size Cells a side.
 * @param {{start: function(): void, segment: function(Point, Point): void,
 *   end: function(): void, hover: function(Point|null): void}} handlers
 */
export function listenToBrush(canvas, size, handlers) {
  let last = null;
  let cursor = { x: size / 2, y: size / 2 };
  let keyPainting = false;

  function toGrid(event) {
    const box = canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * size,
      y: ((event.clientY - box.top) / box.height) * size,
    };
  }

  function begin(point) {
    handlers.start();
    handlers.segment(point, point);
    last = cursor = point;
    handlers.hover(point);
  }

  function move(point) {
    if (last) {
      handlers.segment(last, point);
      last = point;
    }
    cursor = point;
    handlers.hover(point);
  }

  function finish() {
    if (!last) return;
    last = null;
    keyPainting = false;
    handlers.end();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || last) return;
    canvas.setPointerCapture(event.pointerId);
    begin(toGrid(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (keyPainting) return;
    // All positions since the last frame, where the browser keeps them.
    const events = event.getCoalescedEvents?.() ?? [];
    for (const part of events.length ? events : [event]) move(toGrid(part));
  });
  canvas.addEventListener("pointerup", finish);
  canvas.addEventListener("pointercancel", finish);
  canvas.addEventListener("pointerleave", () => { if (!last) handlers.hover(null); });

  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = steps[event.key];
    if (step) {
      const length = event.shiftKey ? 1 : size / 56;
      const clip = (value) => Math.min(size, Math.max(0, value));
      move({ x: clip(cursor.x + length * step[0]), y: clip(cursor.y + length * step[1]) });
    } else if (event.key === " ") {
      if (!event.repeat && !last) {
        begin(cursor);
        keyPainting = true;
      }
    } else return;
    event.preventDefault();
  });
  canvas.addEventListener("keyup", (event) => { if (event.key === " " && keyPainting) finish(); });
  canvas.addEventListener("focus", () => handlers.hover(cursor));
  canvas.addEventListener("blur", () => { finish(); handlers.hover(null); });
}

/**
 * Sets the cells of one segment of a stroke.
 *
 * @param {Uint8Array|Float32Array} cells Row by row, `size * size`; changed in place.
 * @param {number} size
 * @param {Point} from
 * @param {Point} to
 * @param {number} radius In cells, at least 0.5 (one cell).
 * @param {number} value
 */
export function paintSegment(cells, size, from, to, radius, value) {
  const first = (a, b) => Math.max(0, Math.floor(Math.min(a, b) - radius));
  const end = (a, b) => Math.min(size, Math.ceil(Math.max(a, b) + radius));
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = dx * dx + dy * dy;
  const limit = radius * radius;
  for (let row = first(from.y, to.y); row < end(from.y, to.y); row++) {
    for (let column = first(from.x, to.x); column < end(from.x, to.x); column++) {
      const [x, y] = [column + 0.5 - from.x, row + 0.5 - from.y];
      const along = length ? Math.min(1, Math.max(0, (x * dx + y * dy) / length)) : 0;
      const [ex, ey] = [x - along * dx, y - along * dy];
      if (ex * ex + ey * ey <= limit) cells[row * size + column] = value;
    }
  }
}

/**
 * Undo and redo over copies of an array.
 *
 * @param {Uint8Array|Float32Array} cells Restored in place.
 * @param {number} [limit] Steps remembered.
 */
export function createHistory(cells, limit = 60) {
  let past = [];
  let future = [];
  function swap(from, to) {
    if (!from.length) return false;
    to.push(cells.slice());
    cells.set(from.pop());
    return true;
  }
  return {
    /** To be called before a change. */
    record() {
      past.push(cells.slice());
      past = past.slice(-limit);
      future = [];
    },
    undo: () => swap(past, future),
    redo: () => swap(future, past),
    forget() { past = []; future = []; },
    get canUndo() { return past.length > 0; },
    get canRedo() { return future.length > 0; },
  };
}

/**
 * Ctrl+Z, Ctrl+Shift+Z and Ctrl+Y (or with the command key), and [ and ] for the size.
 *
 * @param {HTMLElement} element Inside which the keys count.
 * @param {{undo: function(): void, redo: function(): void,
 *   resize: function(number): void}} actions `resize` gets -1 or 1.
 */
export function listenToShortcuts(element, { undo, redo, resize }) {
  element.addEventListener("keydown", (event) => {
    if (event.target.matches("input:not([type=range]), select")) return;
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      if (key === "y" || (key === "z" && event.shiftKey)) redo();
      else if (key === "z") undo();
      else return;
    } else if (key === "[" || key === "]") resize(key === "]" ? 1 : -1);
    else return;
    event.preventDefault();
  });
}
