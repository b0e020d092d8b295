// Debian's Nginx with the configuration of deploy/ in front of the service, and a screen that stays still for
// longer than Nginx lets a silent connection live by default. Nginx itself tells when that is over: it gives up an upstream
// that never answers.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { after, before, describe, it } from "node:test";

import { pages, startBrowser, view } from "../support/browser.mjs";
import { replaced, startPlainNginx } from "../support/front.mjs";
import { startService } from "../support/service.mjs";

/** Starts Nginx with deploy's site in front of the service; `adapt` may change the site further. At `/silent` is `silent`, a port. */
const inFrontOf = (service, silent, adapt = (site) => site) =>
  startPlainNginx(service, (site) => {
    // With Nginx's own time-out, whatever the site has.
    const location = `location = /silent { proxy_pass http://127.0.0.1:${silent}; proxy_read_timeout 60s; }`;
    return replaced(adapt(site), ["server_name _;", `server_name _;\n    ${location}`]);
  });

describe("behind Nginx", { concurrency: true }, () => {
  let browser, silent;

  before(async () => {
    silent = createServer().listen(0, "127.0.0.1");
    await once(silent, "listening");
    browser = await startBrowser();
  });

  after(async () => {
    await browser?.close();
    silent.close();
  });

  /** Allocates through Nginx, looks, keeps still, and then types. */
  async function survivesAStillScreen(label, settings, adapt) {
    const service = await startService(label, { settings: { COSAGE_ALLOWED_ORIGINS: pages, ...settings } });
    let nginx;
    try {
      nginx = await inFrontOf(service, silent.address().port, adapt);
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

      // 504: Nginx has waited for as long as it does by default.
      assert.equal((await fetch(`${nginx.origin}/silent`)).status, 504);

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
