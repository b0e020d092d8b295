// HTTP calls that fetch cannot make: over a Unix socket, past a certificate of the test's own, with headers that a browser
// keeps to itself, and WebSockets as bytes.
import { once } from "node:events";
import { request as plain } from "node:http";
import { request as secure } from "node:https";
import { text } from "node:stream/consumers";

function begin(url, { body, ...options } = {}) {
  const request = (url.startsWith("https:") ? secure : plain)(url, { agent: false, ...options });
  // Whoever waits for the answer hears of it; after the answer, it may be that the rest of a body was not wanted.
  request.on("error", () => {});
  request.end(body);
  return request;
}

/** One call; returns status, headers and the whole body as text. Options are those of Node's request, and `body`. */
export async function call(url, options) {
  const [response] = await once(begin(url, options), "response");
  return { status: response.statusCode, headers: response.headers, text: await text(response) };
}

/** One call whose answer is still coming: returns status, `next()` for the following part as text, and `close()`. */
export async function stream(url, options) {
  const request = begin(url, options);
  const [response] = await once(request, "response");
  response.setEncoding("utf8");
  const parts = response[Symbol.asyncIterator]();
  return {
    status: response.statusCode,
    async next() {
      const { value, done } = await parts.next();
      return done ? undefined : value;
    },
    close: () => request.destroy(),
  };
}

const OPCODES = { 2: "binary", 8: "close", 9: "ping", 10: "pong" };

/**
 * Opens a WebSocket. Returns `{ status }` when it is refused; otherwise also `next()` for the following frame,
 * `{ kind, data }`, which is of kind "end" when the connection is over, `send(bytes)` and `close()`. A ping is answered as
 * it is taken.
 */
export async function webSocket(url, { headers = {}, ...options } = {}) {
  const request = begin(url.replace(/^ws/, "http"), {
    ...options,
    headers: {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": Buffer.from("sixteen bytes ok").toString("base64"),
      ...headers,
    },
  });
  const refused = once(request, "response").then(([response]) => {
    response.resume();
    return { status: response.statusCode };
  });
  const opened = once(request, "upgrade").then(([response, socket, head]) => ({ response, socket, head }));
  const first = await Promise.race([refused, opened]);
  if (!first.socket) return first;

  const { response, socket, head } = first;
  let buffer = head;
  let over = false;
  let arrived = () => {};
  socket.on("data", (part) => {
    buffer = Buffer.concat([buffer, part]);
    arrived();
  });
  socket.on("close", () => {
    over = true;
    arrived();
  });
  // A close always follows.
  socket.on("error", () => {});
  const more = () => new Promise((resolve) => (arrived = resolve));
  const length = () => {
    if (buffer.length < 2) return Infinity;
    const short = buffer[1] & 127;
    if (short < 126) return 2 + short;
    if (short === 126) return buffer.length < 4 ? Infinity : 4 + buffer.readUInt16BE(2);
    return buffer.length < 10 ? Infinity : 10 + Number(buffer.readBigUInt64BE(2));
  };
  // A frame of less than 126 bytes, masked with zeros, which is a mask.
  const write = (head, bytes) => socket.write(Buffer.concat([Buffer.from([head, 0x80 | bytes.length, 0, 0, 0, 0]), bytes]));
  return {
    status: response.statusCode,
    async next() {
      while (buffer.length < length()) {
        if (over) return { kind: "end" };
        await more();
      }
      const whole = length();
      const short = buffer[1] & 127;
      const data = buffer.subarray(short < 126 ? 2 : short === 126 ? 4 : 10, whole);
      const kind = OPCODES[buffer[0] & 15] ?? "other";
      buffer = buffer.subarray(whole);
      if (kind === "ping") write(0x8a, data);
      return { kind, data };
    },
    send: (bytes) => write(0x82, bytes),
    close: () => socket.destroy(),
  };
}
