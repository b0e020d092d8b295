// What the console costs on the way to a picture: the time from a click on a card to the desktop's first frame, and the
// frames per second of an animation that fills the screen, against a stock noVNC through Nginx and websockify.
//
//   cargo build --release -p cosage -p cosage-bench && (cd tests && npm ci) && node bench/console.mjs
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { startBrowser, view } from "../tests/support/browser.mjs";
import { containers, docker, hostAddress, removeAll, runName } from "../tests/support/docker.mjs";
import { freePort, repository, startService } from "../tests/support/service.mjs";
import { openViewer } from "../tests/support/viewer.mjs";
import { openConsole } from "../tests/support/console.mjs";
import { until } from "../tests/support/wait.mjs";

const LAUNCHES = 7;
const ROUNDS = 5;
const SECONDS = 8;
const SIZE = { width: 1280, height: 720 };

const run = promisify(execFile);
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const rounded = (values) => values.map((value) => value.toFixed(0)).join(", ");

/** An animation over the whole screen. The square at its corner has another colour in each frame. */
const ANIMATION = `<!doctype html><title>animation</title>
<style>html, body, canvas { margin: 0; width: 100%; height: 100%; display: block; overflow: hidden }</style><canvas></canvas>
<script>
  const canvas = document.querySelector("canvas");
  const context = canvas.getContext("2d", { alpha: false });
  let frame = 0;
  function draw() {
    canvas.width = innerWidth; canvas.height = innerHeight;
    frame += 1;
    const ramp = context.createLinearGradient(0, 0, innerWidth, innerHeight);
    for (let stop = 0; stop <= 4; stop++) ramp.addColorStop(stop / 4, "hsl(" + (frame * 3 + stop * 90) + " 70% 50%)");
    context.fillStyle = ramp;
    context.fillRect(0, 0, innerWidth, innerHeight);
    context.fillStyle = "rgb(" + (frame % 4) * 80 + "," + ((frame >> 2) % 4) * 80 + "," + ((frame >> 4) % 4) * 80 + ")";
    context.fillRect(0, innerHeight - 200, 200, 200);
    requestAnimationFrame(draw);
  }
  draw();
</script>`;

/** Serves the animation where containers reach it. */
async function startAnimation() {
  const network = `${runName}-animation`;
  const address = await hostAddress(network);
  const server = createServer((_, response) => response.writeHead(200, { "Content-Type": "text/html" }).end(ANIMATION));
  server.listen(0, address);
  await once(server, "listening");
  return {
    url: `http://${address}:${server.address().port}/`,
    async stop() {
      server.closeAllConnections();
      server.close();
      await removeAll(network);
    },
  };
}

/** Milliseconds from a click on the tiny desktop's card, on a page that has done what it had to do at first, to its picture. */
async function launch(browser, service) {
  const page = await openConsole(browser, service.api);
  const start = page.getByRole("button", { name: "Start Tiny" });
  await start.hover();
  // Two pictures of the page, and then nothing more to do: nobody clicks before that.
  await page.evaluate(
    () =>
      new Promise((resolve) =>
        requestAnimationFrame(() => requestAnimationFrame(() => requestIdleCallback(resolve))),
      ),
  );
  const begun = performance.timeOrigin + performance.now();
  await start.click({ noWaitAfter: true });
  await page.waitForURL(/\/view\//, { waitUntil: "commit" });
  await page.waitForFunction(
    () => {
      const canvas = document.querySelector(".screen canvas");
      if (!canvas?.width) return false;
      const [red, green, blue] = canvas.getContext("2d").getImageData(20, 20, 1, 1).data;
      if (red < 200 || green > 50 || blue > 50) return false;
      window.seenAt ??= performance.timeOrigin + performance.now();
      return true;
    },
    undefined,
    { polling: "raf", timeout: 30_000 },
  );
  const seen = await page.evaluate(() => window.seenAt);
  const uid = decodeURIComponent(new URL(page.url()).pathname.split("/").at(-1));
  await page.context().close();
  await service.call("DELETE", `/api/vm/${uid}?forget=true`);
  return seen - begun;
}

/** Frames per second that a page sees on the desktop's canvas. */
function frames(page, selector) {
  return page.evaluate(
    ([selector, seconds]) =>
      new Promise((resolve) => {
        const canvas = document.querySelector(selector);
        const context = canvas.getContext("2d");
        let last = "";
        let count = 0;
        const begun = performance.now();
        function look(now) {
          const seen = context.getImageData(60, canvas.height - 60, 1, 1).data.join();
          if (seen !== last) count += 1;
          last = seen;
          if (now - begun < seconds * 1000) requestAnimationFrame(look);
          else resolve(count / ((now - begun) / 1000));
        }
        requestAnimationFrame(look);
      }),
    [selector, SECONDS],
  );
}

/** The same image without the service: websockify in front of its VNC server, and Nginx in front of that. */
async function startStock(url) {
  const name = `${runName}-stock`;
  const profile = join(repository, "images/seccomp.json");
  const limits = ["--memory", "2g", "--shm-size", "512m", "--pids-limit", "1024", "--cap-drop", "ALL"];
  const security = ["--security-opt", "no-new-privileges", "--security-opt", `seccomp=${profile}`];
  await docker("run", "-d", "--name", name, ...limits, ...security, "-e", `FIREFOX_URLS=["${url}"]`, "cosage/firefox");
  const address = await docker("inspect", name, "--format", "{{.NetworkSettings.IPAddress}}");
  const [tunnel, front] = [await freePort(), await freePort()];
  const directory = await mkdtemp(join(tmpdir(), `${runName}-stock-`));
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  await writeFile(
    join(directory, "nginx.conf"),
    `daemon off; pid ${directory}/pid; error_log ${directory}/error.log; worker_processes 1; events {}
http { access_log off; ${temporary.map((kind) => `${kind}_temp_path ${directory}/${kind};`).join(" ")}
  server { listen 127.0.0.1:${front}; location / {
    proxy_pass http://127.0.0.1:${tunnel}; proxy_http_version 1.1; proxy_buffering off;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_read_timeout 1h; } } }`,
  );
  const children = [
    spawn("websockify", [`127.0.0.1:${tunnel}`, `${address}:5900`], { stdio: "ignore" }),
    spawn("nginx", ["-c", join(directory, "nginx.conf")], { stdio: "ignore", env: { PATH: `${process.env.PATH}:/usr/sbin` } }),
  ];
  const listens = (host, port) =>
    until(`something listens on ${host}:${port}`, async () => {
      const socket = connect(port, host);
      await once(socket, "connect");
      return socket.destroy();
    });
  await Promise.all([listens(address, 5900), listens("127.0.0.1", tunnel), listens("127.0.0.1", front)]);
  return {
    name,
    stream: `http://127.0.0.1:${front}/`,
    async stop() {
      for (const child of children) child.kill();
      await docker("rm", "-f", "-v", name);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function launches(browser) {
  const service = await startService("launches");
  try {
    await launch(browser, service);
    const clicks = [];
    for (let turn = 0; turn < LAUNCHES; turn++) clicks.push(await launch(browser, service));
    const bench = join(repository, "target/release/cosage-bench");
    const { stdout } = await run(bench, ["desktops", "--rounds", String(LAUNCHES), "--storms", "1"], { cwd: repository });
    const api = /CoSage ([\d, ]+) ms/.exec(stdout)[1].split(", ").map(Number);
    return { clicks, api };
  } finally {
    await service.stop();
  }
}

async function animations(browser) {
  // Both with the quality and compression of the page in tests/browser/page.
  const animation = await startAnimation();
  const service = await startService("frames");
  const stock = await startStock(animation.url);
  try {
    await service.open("animated", { vm: "firefox", env: { FIREFOX_URLS: [animation.url] } });
    const [ours] = await containers(`${service.name}-animated`);
    const viewer = await openViewer(browser, `${service.api}/view/animated?quality=2&compression=8`, SIZE);
    await viewer.live();
    await viewer.sized(SIZE.width, SIZE.height);
    const plain = await view(browser, stock.stream, SIZE);
    await plain.sized(SIZE.width, SIZE.height);
    const seen = { ours: [], stock: [] };
    await docker("pause", ours);
    for (let turn = 0; turn <= ROUNDS; turn++) {
      // One at a time has the machine to itself. The first round only warms up.
      await plain.page.bringToFront();
      const stockFrames = await frames(plain.page, "#screen canvas");
      await docker("pause", stock.name);
      await docker("unpause", ours);
      await viewer.page.bringToFront();
      const ourFrames = await frames(viewer.page, ".screen canvas");
      await docker("pause", ours);
      await docker("unpause", stock.name);
      if (turn > 0) {
        seen.stock.push(stockFrames);
        seen.ours.push(ourFrames);
      }
    }
    await docker("unpause", ours);
    await viewer.close();
    await plain.close();
    return seen;
  } finally {
    await stock.stop();
    await service.stop();
    await animation.stop();
  }
}

const browser = await startBrowser();
try {
  const { clicks, api } = await launches(browser);
  const seen = await animations(browser);
  const more = median(clicks) - median(api);
  const ratio = median(seen.ours) / median(seen.stock);
  const verdict = (met) => (met ? "met" : "**missed**");
  console.log(`| measure | CoSage | alternative | result | target | verdict |
|---|---|---|---|---|---|
| click on a card to the first frame, tiny desktop, headless Chromium; against the API's own time to the first framebuffer | ${median(clicks).toFixed(0)} ms | ${median(api).toFixed(0)} ms | ${more.toFixed(0)} ms more | ≤ 250 ms more | ${verdict(more <= 250)} |
| frames per second of an animation in Firefox, ${SIZE.width} × ${SIZE.height}; against stock noVNC through Nginx and websockify | ${median(seen.ours).toFixed(1)} | ${median(seen.stock).toFixed(1)} | ${ratio.toFixed(2)} × | ≥ 0.9 × | ${verdict(ratio >= 0.9)} |

- Clicks ${rounded(clicks)} ms; the API ${rounded(api)} ms.
- Frames, in turn, each with the machine to itself: CoSage ${rounded(seen.ours)}; the alternative ${rounded(seen.stock)} per second.`);
} finally {
  await browser.close();
}
