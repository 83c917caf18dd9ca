// The connection to the server: pictures in, acknowledgements out, and one call for controls.

const RETRY_MS = [500, 1000, 2000, 5000];
const HEADER_BYTES = 12; // uint32 index, float32 age in ms when sent, uint8 kind, padding
const KINDS = ["update", "key", "carry"];

/**
 * Keeps a connection while the page can be seen.
 * handlers: hello(data), stats(stats, viewer), picture(bitmap, kind), lost(sentence).
 */
export function connect(handlers) {
  let socket = null;
  let tries = 0;
  let retry = 0;

  function open() {
    clearTimeout(retry);
    if (socket !== null || document.hidden) return;
    socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/viewer`);
    socket.binaryType = "arraybuffer";
    const own = socket;
    let drawing = Promise.resolve();
    own.onmessage = ({ data }) => {
      if (typeof data !== "string") {
        drawing = drawing.then(() => show(own, data)).catch(() => own.close());
        return;
      }
      const message = JSON.parse(data);
      if (message.hello) {
        tries = 0;
        handlers.hello(message.hello);
      } else if (message.stats) {
        handlers.stats(message.stats, message.viewer);
      }
    };
    own.onclose = (event) => {
      if (socket !== own) return; // closed by the page itself
      socket = null;
      handlers.lost(event.reason || "The connection to accel-rt is lost; trying again.");
      retry = setTimeout(reopen, RETRY_MS[Math.min(tries, RETRY_MS.length - 1)]);
      tries += 1;
    };
  }

  async function reopen() {
    // A handshake that is refused does not tell why; a plain request does.
    const answer = await fetch("/stats").catch(() => null);
    if (answer?.status === 401) location.reload();
    else open();
  }

  async function show(own, data) {
    const header = new DataView(data, 0, HEADER_BYTES);
    const jpeg = new Blob([new Uint8Array(data, HEADER_BYTES)], { type: "image/jpeg" });
    const bitmap = await createImageBitmap(jpeg);
    handlers.picture(bitmap, KINDS[header.getUint8(8)]);
    bitmap.close();
    if (own.readyState === WebSocket.OPEN) own.send(String(header.getUint32(0, true)));
  }

  function leave() {
    const own = socket;
    socket = null;
    own?.close();
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : open()));
  addEventListener("pagehide", leave);
  addEventListener("pageshow", open);
  open();
}

/** Change a setting; throws an Error with the server's sentence if it is refused. */
export async function change(name, value) {
  const answer = await fetch("/control", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ name, value }),
  }).catch(() => null);
  if (answer === null) throw new Error("accel-rt does not answer.");
  if (!answer.ok) throw new Error((await answer.json()).error);
}
