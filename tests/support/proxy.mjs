// A reverse proxy that puts the service below a path, as an operator's Nginx may, and that can keep WebSockets from it.
import { once } from "node:events";
import { createServer, request as send } from "node:http";

/** Starts it; `prefix` is such as `/desk/`. `url` is the console's address through it. With `sockets: false` it refuses every WebSocket. */
export async function startProxy(target, prefix, { sockets = true } = {}) {
  const { hostname, port } = new URL(target);
  const open = new Set();
  const forward = (request) => ({
    hostname,
    port,
    method: request.method,
    path: `/${request.url.slice(prefix.length)}`,
    headers: request.headers,
  });
  const server = createServer((request, response) => {
    if (!request.url.startsWith(prefix)) {
      response.writeHead(404, { "Content-Type": "text/plain" }).end("another site");
      return;
    }
    const onward = send(forward(request), (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      response.flushHeaders();
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  server.on("upgrade", (request, socket, head) => {
    if (!sockets || !request.url.startsWith(prefix)) {
      socket.end("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
      return;
    }
    open.add(socket);
    socket.on("close", () => open.delete(socket));
    const onward = send(forward(request));
    onward.on("upgrade", (answer, peer, first) => {
      const headers = Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${headers.join("")}\r\n`);
      socket.write(first);
      peer.write(head);
      socket.pipe(peer).pipe(socket);
      for (const [one, other] of [[socket, peer], [peer, socket]]) {
        one.on("error", () => other.destroy());
        one.on("close", () => other.destroy());
      }
    });
    onward.on("response", () => socket.destroy());
    onward.on("error", () => socket.destroy());
    onward.end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}${prefix}`,
    /** Lets WebSockets through from now on. */
    letSockets() {
      sockets = true;
    },
    /** Breaks the WebSockets that are open as a network does: without a word. */
    breakSockets() {
      for (const socket of open) socket.destroy();
    },
    stop() {
      for (const socket of open) socket.destroy();
      server.closeAllConnections();
      server.close();
    },
  };
}
