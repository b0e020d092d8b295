// Where a desktop's streams are.

/**
 * The WebSocket of a desktop's stream, for a console that is at `from`. `url` is what the service says, a path on itself; whatever the operator's
 * STREAM_URL_TEMPLATE leaves away (SAGE3 wants it without `/vnc`) is added. `client` is what this page is called there.
 */
export function streamAddress(url: string, stream: string, from: URL, client: string): string {
  const path = url.startsWith(from.pathname) ? url.slice(from.pathname.length) : url.replace(/^\//, "");
  const socket = new URL(`${path.replace(/\/vnc$/, "")}/${stream}`, from);
  socket.protocol = from.protocol === "https:" ? "wss:" : "ws:";
  socket.search = `?client=${client}`;
  return socket.href;
}
