// A stand-in for SAGE3: its API, which records what it is sent, and (with a certificate) the pages that it serves.
import { EventEmitter, once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { text } from "node:stream/consumers";

import { pageFile } from "./browser.mjs";
import { PATIENCE } from "./wait.mjs";

export const token = "a-token-of-sage3";

/** Starts it: `https://localhost`, or without a certificate `http://127.0.0.1`, with a port of its own. */
export async function startSage3(certificate) {
  const reports = [];
  const arrived = new EventEmitter();

  async function answer(request, response) {
    const { pathname } = new URL(request.url, "http://sage3");
    const [, uid] = /^\/api\/apps\/([^/]+)$/.exec(pathname) ?? [];
    if (uid && request.method === "PUT") {
      const { authorization, "content-type": type } = request.headers;
      const body = await text(request);
      if (authorization !== `Bearer ${token}` || type !== "application/json") {
        response.writeHead(401).end();
        return;
      }
      reports.push({ uid, report: JSON.parse(body) });
      arrived.emit("report");
      response.writeHead(200, { "Content-Type": "application/json" }).end('{"success":true}');
      return;
    }
    const file = await pageFile(pathname);
    response.writeHead(file ? 200 : 404, file && { "Content-Type": file.contentType }).end(file?.body);
  }

  const make = () =>
    certificate ? createTlsServer({ cert: certificate.pem, key: certificate.key }, answer) : createServer(answer);
  let server = make();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  const close = async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  };

  return {
    origin: certificate ? `https://localhost:${port}` : `http://127.0.0.1:${port}`,

    /** The values of a key that were reported for a desktop since the last `forget`, in order. */
    values: (uid, key) => reports.filter((one) => one.uid === uid && key in one.report).map(({ report }) => report[key]),

    /** Forgets what was reported so far. */
    forget() {
      reports.length = 0;
    },

    /** Waits until a key's value that was reported last for a desktop fits, and returns it. */
    async value(what, uid, key, fits) {
      const signal = AbortSignal.timeout(PATIENCE * 1000);
      for (;;) {
        const values = this.values(uid, key);
        if (values.length && fits(values.at(-1))) return values.at(-1);
        try {
          await once(arrived, "report", { signal });
        } catch {
          // Pictures are long.
          const seen = JSON.stringify(reports, (_, value) => (typeof value === "string" ? value.slice(0, 100) : value));
          throw new Error(`${what}: not reported within ${PATIENCE} s (reported: ${seen})`);
        }
      }
    },

    /** Is not there while something is done. */
    async away(meanwhile) {
      await close();
      try {
        await meanwhile();
      } finally {
        server = make();
        server.listen(port, "127.0.0.1");
        await once(server, "listening");
      }
    },

    stop: close,
  };
}
