/* Drawing a signal of one's own: a line from left to right by mouse, finger or keys. */

const STEPS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1],
};
/** Of the axis on which is drawn. */
export const PEN_RANGE = [-1.1, 1.1];
const KEY_STEP = 0.08; // of the axis from -1 to 1

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} samples Changed in place, each in [-1, 1].
 * @param {{isActive: function(): boolean, frame: function(): object,
 *   onChange: function(): void}} handlers `frame` is what `drawSignal` returned.
 * @returns {{place: function(object): object, home: function(): void}} `place` is a cursor
 *   at the pen.
 */
export function createPen(canvas, samples, { isActive, frame, onChange }) {
  const size = samples.length;
  let last = null;
  let pen = { column: size >> 1, value: 0 };

  function toPoint(event) {
    const box = canvas.getBoundingClientRect();
    const { x, y } = frame();
    return {
      column: clip(Math.round(x.invert(event.clientX - box.left)), 0, size - 1),
      value: clip(y.invert(event.clientY - box.top), -1, 1),
    };
  }

  /** Sets all samples from one point to the other, on the line between them. */
  function draw(from, to) {
    const steps = Math.abs(to.column - from.column);
    for (let i = 0; i <= steps; i++) {
      const share = steps ? i / steps : 1;
      const column = Math.round(from.column + share * (to.column - from.column));
      samples[column] = from.value + share * (to.value - from.value);
    }
    pen = to;
    onChange();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (!isActive() || event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    last = toPoint(event);
    draw(last, last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    for (const part of event.getCoalescedEvents?.() ?? [event]) {
      const point = toPoint(part);
      draw(last, point);
      last = point;
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => { last = null; });
  }

  canvas.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step || !isActive()) return;
    const along = event.shiftKey ? 8 : 1;
    draw(pen, {
      column: clip(pen.column + along * step[0], 0, size - 1),
      value: clip(pen.value + KEY_STEP * step[1], -1, 1),
    });
    event.preventDefault();
  });

  return {
    place: (cursor) => ({ row: cursor.row, column: pen.column }),
    home() { pen = { column: size >> 1, value: 0 }; },
  };
}

function clip(value, low, high) {
  return Math.min(high, Math.max(low, value));
}
