// Debian's Nginx with the configuration of deploy/ in front of the service, and a screen that stays still for
// longer than Nginx lets a silent connection live by default.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { pages, startBrowser, view } from "../support/browser.mjs";
import { startNginx } from "../support/nginx.mjs";
import { startService } from "../support/service.mjs";

// Nginx's default proxy_read_timeout is 60 s.
const STILL_SECONDS = 75;

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
