// A small web site that a desktop's Firefox opens: pages of one colour with a field, which report what happens on them
// (text in the field, their width and scale, how often the site was visited, what the browser prefers), and sound 440 Hz from a click on.
import { EventEmitter, once } from "node:events";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";

import { hostAddress, removeAll, runName } from "./docker.mjs";
import { PATIENCE } from "./wait.mjs";

function page(colour) {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${colour}</title>
<style>html,body{margin:0;height:100%;background:#${colour}} textarea{position:fixed;inset:35%;width:30%;font:24px sans-serif}</style>
<textarea autofocus></textarea>
<script>
  const report = (what) => fetch("/report", { method: "POST", body: JSON.stringify({ page: "${colour}", ...what }) });
  const field = document.querySelector("textarea");
  field.oninput = () => report({ text: field.value });
  const size = () => ({ width: innerWidth, scale: devicePixelRatio });
  addEventListener("resize", () => report(size()));
  addEventListener("click", () => {
    const context = new AudioContext();
    const tone = new OscillatorNode(context, { frequency: 440 });
    tone.connect(context.destination);
    tone.start();
  }, { once: true });
  addEventListener("load", () => {
    field.focus();
    const visits = Number(localStorage.visits ?? 0) + 1;
    localStorage.visits = visits;
    const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    report({ ...size(), visits, dark, timeZone, languages: navigator.languages });
  });
</script></html>`;
}

/** Starts the site where containers can reach it. */
export async function startSite() {
  const reports = [];
  const arrived = new EventEmitter();
  const holds = new Map();
  const server = createServer(async (request, response) => {
    if (request.method === "POST" && request.url === "/report") {
      reports.push(JSON.parse(await text(request)));
      arrived.emit("report");
      response.writeHead(204).end();
      return;
    }
    const colour = /^\/([0-9a-f]{6})$/.exec(request.url)?.[1];
    if (!colour) {
      response.writeHead(404).end();
      return;
    }
    await holds.get(colour)?.();
    response.writeHead(200, { "Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store" }).end(page(colour));
  });
  // Other files of the same run have sites of their own.
  const network = `${runName}-site-${process.pid}`;
  const address = await hostAddress(network);
  server.listen(0, address);
  await once(server, "listening");

  return {
    url: (colour) => `http://${address}:${server.address().port}/${colour}`,

    /** Answers the next request for a page no sooner than `release` is called; `asked` is when it has come. */
    hold(colour) {
      const steps = new EventEmitter();
      const released = once(steps, "release");
      holds.set(colour, () => {
        holds.delete(colour);
        steps.emit("asked");
        return released;
      });
      return { asked: once(steps, "asked"), release: () => steps.emit("release") };
    },

    /** Forgets what was reported so far. */
    forget() {
      reports.length = 0;
    },

    /** Waits for a report that fits. */
    async report(what, fits, seconds = PATIENCE) {
      const signal = AbortSignal.timeout(seconds * 1000);
      for (;;) {
        const report = reports.find(fits);
        if (report) return report;
        try {
          await once(arrived, "report", { signal });
        } catch {
          throw new Error(`${what}: not reported within ${seconds} s (reported: ${JSON.stringify(reports)})`);
        }
      }
    },

    async stop() {
      server.closeAllConnections();
      server.close();
      await removeAll(network);
    },
  };
}
