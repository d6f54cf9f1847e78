/* One WebSocket for all figures: requests with numbers, answers sorted back to them.

   A lost connection is opened again with growing pauses, and the page says so. What was
   asked meanwhile fails with a message that a person can act on; nothing is asked again
   by itself, for an optimiser is expensive. */

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15000;
const ADVICE = "(A proxy in between must pass on WebSockets: the headers Upgrade and Connection.)";

/** A request that the page itself took back. */
export class Cancelled extends Error {}

/**
 * Connects to the server that the page came from.
 *
 * @param {function(string): void} say Gets what the reader should know; "" when all is well.
 * @returns {{request: function(object, object=): {promise: Promise<object>, cancel: function(): void}}}
 *   `request(message, {onQueued, onProgress})`: the promise is the last answer, and fails
 *   with the server's message, or with {@link Cancelled}.
 */
export function connect(say) {
  const open = new Map();
  let socket = null;
  let pause = FIRST_PAUSE;
  let nextId = 0;
  let unsent = [];
  let everOpened = false;

  function start() {
    const address = new URL("ws", document.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    socket = new WebSocket(address);
    socket.addEventListener("open", opened);
    socket.addEventListener("message", (event) => received(JSON.parse(event.data)));
    socket.addEventListener("close", closed);
  }

  function opened() {
    pause = FIRST_PAUSE;
    everOpened = true;
    say("");
    for (const text of unsent) socket.send(text);
    unsent = [];
  }

  function closed() {
    unsent = [];
    const failed = [...open.values()];
    open.clear();
    for (const request of failed) {
      request.reject(new Error("The connection to the server was lost. Please try again."));
    }
    say(`No connection to the server; trying again… ${everOpened ? "" : ADVICE}`.trim());
    setTimeout(start, pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  }

  function received(answer) {
    const request = open.get(answer.id);
    if (!request) return;
    if (answer.type === "queued") request.onQueued?.(answer);
    else if (answer.type === "progress") request.onProgress?.(answer);
    else {
      open.delete(answer.id);
      if (answer.type === "error") request.reject(new Error(answer.message));
      else if (answer.type === "cancelled") request.reject(new Cancelled("cancelled"));
      else request.resolve(answer);
    }
  }

  function send(message) {
    const text = JSON.stringify(message);
    if (socket.readyState === WebSocket.OPEN) socket.send(text);
    else unsent.push(text);
  }

  function request(message, { onQueued, onProgress } = {}) {
    const id = nextId++;
    const promise = new Promise((resolve, reject) => {
      open.set(id, { resolve, reject, onQueued, onProgress });
    });
    send({ id, ...message });
    function cancel() {
      const waiting = open.get(id);
      if (!waiting) return;
      open.delete(id);
      send({ type: "cancel", id });
      waiting.reject(new Cancelled("cancelled"));
    }
    return { promise, cancel };
  }

  start();
  return { request };
}
