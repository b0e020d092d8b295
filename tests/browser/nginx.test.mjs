// Debian's Nginx with the configuration of deploy/ in front of the service, and a screen that stays still for
// longer than Nginx lets a silent connection live by default.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { pages, startBrowser, view } from "../support/browser.mjs";
import { runName } from "../support/docker.mjs";
import { freePort, repository, startService } from "../support/service.mjs";
import { until } from "../support/wait.mjs";

// Nginx's default proxy_read_timeout is 60 s.
const STILL_SECONDS = 75;

/** Replaces a text that has to be there. */
function replaced(text, from, to) {
  assert.ok(text.includes(from), `deploy/nginx/cosage.conf no longer has: ${from}`);
  return text.replaceAll(from, to);
}

/** Starts Nginx with deploy's site in front of the service; `adapt` may change the site further. */
async function startNginx(service, adapt = (site) => site) {
  const directory = await mkdtemp(join(tmpdir(), `${runName}-nginx-`));
  const port = await freePort();
  let site = await readFile(join(repository, "deploy/nginx/cosage.conf"), "utf8");
  site = replaced(site, "127.0.0.1:4024", service.api.slice("http://".length));
  site = replaced(site, "listen 4033;", `listen 127.0.0.1:${port};`);
  await writeFile(join(directory, "site.conf"), adapt(site));
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  await writeFile(
    join(directory, "nginx.conf"),
    `daemon off;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log;
worker_processes 1;
events {}
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${directory}/${name};`).join("\n  ")}
  include ${directory}/site.conf;
}
`,
  );
  const child = spawn("nginx", ["-c", join(directory, "nginx.conf"), "-e", join(directory, "error.log")], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` },
  });
  let log = "";
  child.stderr.on("data", (text) => (log += text));
  const ended = once(child, "close");
  const nginx = {
    origin: `http://127.0.0.1:${port}`,
    async stop() {
      child.kill("SIGTERM");
      await ended;
      await rm(directory, { recursive: true, force: true });
    },
  };
  try {
    await until("Nginx answers for the service", async () => {
      if (child.exitCode !== null) throw new Error(`nginx ended: ${log}`);
      return (await fetch(`${nginx.origin}/readyz`)).ok;
    });
  } catch (error) {
    await nginx.stop();
    throw error;
  }
  return nginx;
}

describe("behind Nginx", { concurrency: true }, () => {
  let browser;

  before(async () => {
    browser = await startBrowser();
  });

  after(async () => {
    await browser?.close();
  });

  /** Allocates through Nginx, looks, keeps still, and then types. */
  async function survivesAStillScreen(label, settings, adapt) {
    const service = await startService(label, { settings: { COSAGE_ALLOWED_ORIGINS: pages, ...settings } });
    let nginx;
    try {
      nginx = await startNginx(service, adapt);
      const response = await fetch(`${nginx.origin}/api/vm/any/allocate`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ vm: "tiny" }),
      });
      assert.equal(response.status, 200);
      const { url } = await response.json();
      const viewer = await view(browser, nginx.origin + url);
      await viewer.sized(1024, 640);
      await viewer.pixel(20, 20, [255, 0, 0]);
      await viewer.pixel(512, 320, [128, 128, 128]);

      await pause(STILL_SECONDS * 1000);

      assert.ok(!(await viewer.events()).some(({ name }) => name === "disconnect"), JSON.stringify(await viewer.events()));
      await viewer.page.locator("canvas").focus();
      await viewer.page.keyboard.press("a");
      await viewer.pixel(512, 320, [0x3c, 0xb4, 0x4b]);
      await viewer.screenshot(label);
      await viewer.close();
    } finally {
      await nginx?.stop();
      await service.stop();
    }
  }

  it("a still screen lives by deploy's time-outs, without a ping", () =>
    survivesAStillScreen("nginx-timeouts", { COSAGE_PING_INTERVAL: "10m" }));

  it("a still screen lives by the service's pings, with Nginx's own time-outs", () =>
    survivesAStillScreen("nginx-pings", {}, (site) => site.replaceAll(/^\s*proxy_(read|send)_timeout .*;$/gm, "")));
});
