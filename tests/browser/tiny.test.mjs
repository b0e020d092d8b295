// The tiny desktop, whose every pixel is known: seen, typed at, drawn on and resized through the gateway.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, pages, startBrowser, view } from "../support/browser.mjs";
import { containers, docker } from "../support/docker.mjs";
import { startService } from "../support/service.mjs";
import { until } from "../support/wait.mjs";

const red = [255, 0, 0];
const green = [0, 255, 0];
const blue = [0, 0, 255];
const yellow = [255, 255, 0];
const grey = [128, 128, 128];
// What the middle square becomes: palette[keysym % 8] of the tiny desktop.
const palette = [
  [0xe6, 0x19, 0x4b],
  [0x3c, 0xb4, 0x4b],
  [0x43, 0x63, 0xd8],
  [0xf5, 0x82, 0x31],
  [0x91, 0x1e, 0xb4],
  [0x46, 0xf0, 0xf0],
  [0xf0, 0x32, 0xe6],
  [0xd2, 0xf5, 0x3c],
];

async function showsItsCorners(viewer, width, height) {
  await viewer.sized(width, height);
  await viewer.pixel(20, 20, red);
  await viewer.pixel(width - 20, 20, green);
  await viewer.pixel(20, height - 20, blue);
  await viewer.pixel(width - 20, height - 20, yellow);
}

describe("the tiny desktop in noVNC", () => {
  let service, browser;

  before(async () => {
    browser = await startBrowser();
    service = await startService("tiny", {
      settings: {
        COSAGE_ALLOWED_ORIGINS: pages,
        CONTAINER_NO_CLIENT_TIMEOUT: "8",
        COSAGE_FIRST_VIEWER_TIMEOUT: "120",
      },
    });
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await service?.stop();
  });

  it("shows its colours on every address of the stream", async () => {
    const { uid, url } = await service.open("allocate", { vm: "tiny", env: {} });
    assert.match(url, /^\/stream\/\d+\/vnc$/);
    const key = url.split("/")[2];
    const addresses = [service.streams + url, service.api + url, `${service.api}/api/vmstream/${key}/vnc`];
    const viewers = await Promise.all(addresses.map((address) => view(browser, address)));
    for (const viewer of viewers) {
      await showsItsCorners(viewer, 1024, 640);
      await viewer.pixel(512, 320, grey);
    }
    await viewers[0].screenshot("tiny");
    await Promise.all(viewers.map((viewer) => viewer.close()));
    assert.equal((await service.call("DELETE", `/api/vm/${uid}?forget=true`)).status, 204);
  });

  it("takes typing and drawing, and two viewers see the same", async () => {
    const { url } = await service.open("drawing", { vm: "tiny" });
    const [one, two] = await Promise.all([1, 2].map(() => view(browser, service.streams + url)));
    await Promise.all([one, two].map((viewer) => showsItsCorners(viewer, 1024, 640)));

    await one.page.locator("canvas").focus();
    await one.page.keyboard.press("a");
    for (const viewer of [one, two]) await viewer.pixel(512, 320, palette[0x61 % 8]);
    await two.page.locator("canvas").focus();
    await two.page.keyboard.press("b");
    for (const viewer of [one, two]) await viewer.pixel(512, 320, palette[0x62 % 8]);
    // Outside of the keyboard's layout: é, and 日 as a Unicode keysym.
    await one.key(0xe9);
    for (const viewer of [one, two]) await viewer.pixel(512, 320, palette[0xe9 % 8]);
    await one.key(0x010065e5);
    for (const viewer of [one, two]) await viewer.pixel(512, 320, palette[0x010065e5 % 8]);

    await one.drag(200, 500, 300, 500);
    // Somewhere on the way: of the places of a fast pointer not all are sent.
    const line = () => Array.from({ length: 80 }, (_, at) => window.viewer.pixel(210 + at, 500)).some((pixel) => pixel.every((value) => value > 207));
    for (const viewer of [one, two]) await viewer.until("a line", line);
    await two.screenshot("tiny-drawn");
    await Promise.all([one.close(), two.close()]);
  });

  it("follows the window through odd sizes", async () => {
    const { url } = await service.open("sizes", { vm: "tiny" });
    const viewer = await view(browser, service.streams + url, { width: 801, height: 603 });
    await showsItsCorners(viewer, 801, 603);
    for (const [width, height] of [[777, 555], [1023, 411], [333, 701], [1280, 720]]) {
      await viewer.page.setViewportSize({ width, height });
      await showsItsCorners(viewer, width, height);
    }
    await viewer.close();
  });

  it("goes on in the same viewers after it was killed, in the size that it had", async () => {
    const { url } = await service.open("killed", { vm: "tiny" });
    // In windows of one size: noVNC asks for its own again, whenever somebody else's comes between question and answer.
    const [one, two] = await Promise.all([1, 2].map(() => view(browser, service.streams + url, { width: 900, height: 560 })));
    for (const viewer of [one, two]) await showsItsCorners(viewer, 900, 560);
    await one.page.locator("canvas").focus();
    await one.page.keyboard.press("a");
    await one.pixel(450, 280, palette[0x61 % 8]);

    // What ends sooner is not started again by itself.
    await until("it has run for long enough", async () => {
      const { body } = await service.call("GET", "/api/vm/killed");
      return Date.now() - Date.parse(body.since) > 11_000;
    });
    const [before] = await containers(`${service.name}-killed`);
    const id = await docker("inspect", before, "--format", "{{.Id}}");
    await docker("kill", before);
    await until("another container runs", async () => {
      const [now] = await containers(`${service.name}-killed`);
      return now !== undefined && (await docker("inspect", now, "--format", "{{.Id}}")) !== id;
    });
    // A new run: what was typed before is gone.
    for (const viewer of [one, two]) {
      await viewer.pixel(450, 280, grey);
      await showsItsCorners(viewer, 900, 560);
    }
    await two.page.locator("canvas").focus();
    await two.page.keyboard.press("b");
    for (const viewer of [one, two]) await viewer.pixel(450, 280, palette[0x62 % 8]);
    for (const viewer of [one, two]) {
      const events = await viewer.events();
      assert.equal(events.filter(({ name }) => name === "disconnect").length, 0, JSON.stringify(events));
    }
    assert.equal((await service.call("GET", "/api/vm/killed")).body.viewers, 2);
    await one.screenshot("tiny-killed");
    await Promise.all([one.close(), two.close()]);
  });

  it("is gone soon after the last viewer, and is back under its name", async () => {
    const { url } = await service.open("idle", { vm: "tiny" });
    const viewer = await view(browser, service.streams + url);
    await showsItsCorners(viewer, 1024, 640);
    await viewer.page.locator("canvas").focus();
    await viewer.page.keyboard.press("a");
    await viewer.pixel(512, 320, palette[0x61 % 8]);
    await viewer.close();
    const { until: idleAt } = await until("the idle clock runs", async () => {
      const { body } = await service.call("GET", "/api/vm/idle");
      return body.viewers === 0 && body.until && body;
    });
    const notRunning = { details: "container not running" };
    await until("the desktop is stopped", async () => {
      const { body } = await service.call("GET", "/api/vm/ws/idle");
      return JSON.stringify(body) === JSON.stringify(notRunning);
    });
    // By the service's own clock, which the test's need not agree with.
    const { ended, since } = (await service.call("GET", "/api/vm/idle")).body;
    assert.equal(ended, "idle");
    assert.ok(Date.parse(since) >= Date.parse(idleAt), `it was to be stopped at ${idleAt}, and was at ${since}`);
    await until("its container is removed", async () => !(await containers(`${service.name}-idle`)).length);

    const again = await service.open("idle", {});
    const back = await view(browser, service.streams + again.url);
    await showsItsCorners(back, 1024, 640);
    // A new run: what was typed before is gone.
    await back.pixel(512, 320, grey);
    await back.close();
  });
});
