// Screens with several pixels for one of CSS: the desktop has all of them, and is told how large to draw.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, startBrowser } from "../support/browser.mjs";
import { startService } from "../support/service.mjs";
import { openViewer } from "../support/viewer.mjs";

const white = [255, 255, 255];

const catalog = `
[app.bounded]
title = "Bounded"
description = "Has few pixels at most."
image = "cosage/tiny:latest"
pull = "never"
password = true
max_size = "1000x700"

[app.bounded.stream.vnc]
port = 5900
protocol = "rfb"
`;

/** Has the page connect to nothing as a desktop's stream `display`, and remembers what it says there last, in `said`. */
function takeDisplay() {
  class Display extends EventTarget {
    constructor() {
      super();
      setTimeout(() => this.dispatchEvent(new Event("open")));
    }
    send(message) {
      globalThis.said = new TextDecoder().decode(message);
    }
    close() {
      delete globalThis.said;
      this.dispatchEvent(new Event("close"));
    }
  }
  globalThis.WebSocket = new Proxy(WebSocket, {
    construct: (real, [address]) => (new URL(address).pathname.endsWith("/display") ? new Display() : new real(address)),
  });
}

/** Remembers the sizes that the page asks the desktop for (rfbproto, "SetDesktopSize"), in `asked`; while `holds`, nothing arrives, until `release` is called. */
function watchSizes() {
  globalThis.asked = [];
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (data) {
    const bytes = new DataView(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength);
    if (bytes.getUint8(0) === 251) globalThis.asked.push([bytes.getUint16(2), bytes.getUint16(4)].join("x"));
    return send.call(this, data);
  };
  globalThis.holds = false;
  const held = [];
  const { get, set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage");
  Object.defineProperty(WebSocket.prototype, "onmessage", {
    get,
    set(take) {
      set.call(this, (event) => (globalThis.holds ? held.push(() => take(event)) : take(event)));
    },
  });
  globalThis.release = () => {
    globalThis.holds = false;
    held.splice(0).forEach((take) => take());
  };
}

/** When a page has drawn what was changed before. */
const drawn = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

describe("the screen's own pixels", () => {
  let service, browser;

  before(async () => {
    browser = await startBrowser();
    service = await startService("pixels", { catalog });
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await service?.stop();
  });

  /** A viewer of a desktop with these streams. `said` is the last word of the page's connection to `display`, if there is one. */
  async function open(uid, { vm = "tiny", query = "", streams = ["vnc", "display"], ...context } = {}) {
    await service.open(uid, { vm });
    const prepared = async (options) => {
      const opened = await browser.newContext(options);
      await opened.addInitScript(watchSizes);
      await opened.addInitScript(takeDisplay);
      await opened.route(`**/api/vm/${uid}`, async (route) => {
        const response = await route.fetch();
        await route.fulfill({ response, json: { ...(await response.json()), streams } });
      });
      return opened;
    };
    const small = { width: 800, height: 500, deviceScaleFactor: 2, ...context };
    const viewer = await openViewer({ newContext: prepared }, `${service.api}/view/${uid}${query}`, small);
    await viewer.live();
    const says = (scale) => viewer.until(`the scale ${scale}`, (scale) => globalThis.said === scale, scale && `scale ${scale}\n`);
    return { viewer, says };
  }

  const shownSize = async (viewer) => {
    const { width, height } = await viewer.page.locator(".screen canvas").boundingBox();
    return [width, height];
  };

  it("are the desktop's, which is told how many there are, whenever that changes", async () => {
    const { viewer, says } = await open("sharp");
    await viewer.corners(1600, 1000);
    assert.deepEqual(await shownSize(viewer), [800, 500]);
    await says(2);
    // The pointer is where it is seen.
    await viewer.page.mouse.click(150, 300);
    await viewer.pixel(297, 597, white);
    await viewer.screenshot("viewer-pixels");
    await viewer.assertClean();

    const devtools = await viewer.page.context().newCDPSession(viewer.page);
    // The browser's zoom, and other screens.
    for (const [width, height, deviceScaleFactor] of [[640, 400, 2.5], [800, 500, 1.5], [801, 501, 1.25]]) {
      await devtools.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor, mobile: false });
      await viewer.sized(Math.floor(width * deviceScaleFactor), Math.floor(height * deviceScaleFactor));
      await says(deviceScaleFactor);
      const [shownWidth] = await shownSize(viewer);
      assert.ok(Math.abs(shownWidth * deviceScaleFactor - Math.floor(width * deviceScaleFactor)) < 0.1, `${shownWidth}`);
    }
    await devtools.send("Emulation.setDeviceMetricsOverride", { width: 800, height: 500, deviceScaleFactor: 1, mobile: false });
    await viewer.sized(800, 500);
    await says(1);
    await viewer.tool("display");
    await viewer.page.getByLabel("Desktop takes the window's size").waitFor();
    assert.equal(await viewer.page.getByLabel("Use every pixel of this screen").count(), 0);
  });

  it("can be left alone, which is remembered", async () => {
    const { viewer, says } = await open("coarse");
    await viewer.sized(1600, 1000);
    await viewer.tool("display");
    const choice = viewer.page.getByLabel("Use every pixel of this screen");
    assert.ok(await choice.isChecked());
    await viewer.assertClean();
    await viewer.screenshot("viewer-pixels-panel");
    await choice.uncheck();
    await viewer.sized(800, 500);
    await says(1);
    await viewer.page.reload();
    await viewer.live();
    await viewer.sized(800, 500);
    await viewer.tool("display");
    await choice.check();
    await viewer.sized(1600, 1000);
    await says(2);
    // A picture that is fitted in says nothing of the desktop's size, nor of its scale.
    await viewer.page.getByLabel("Fit the picture into the window").check();
    await says(undefined);
    assert.equal(await choice.count(), 0);
    assert.deepEqual(await shownSize(viewer), [800, 500]);
  });

  it("are offered on a telephone in every language, light and dark", async () => {
    for (const [locale, colorScheme] of [["en-GB", "light"], ["de-DE", "dark"], ["ja-JP", "light"]]) {
      const telephone = { width: 360, height: 640, deviceScaleFactor: 3, locale, colorScheme, reducedMotion: "reduce" };
      const { viewer } = await open("telephone", { query: "?resize=remote", ...telephone });
      await viewer.sized(1080, 1920);
      await viewer.tool("display");
      await viewer.page.waitForSelector('.panel input[type="checkbox"]');
      const beyond = await viewer.page.locator(".panel *").evaluateAll((all) =>
        all.filter((one) => one.getBoundingClientRect().right > innerWidth).length,
      );
      assert.equal(beyond, 0);
      await viewer.assertClean();
      await viewer.screenshot(`viewer-pixels-${locale}`);
      await viewer.close();
    }
  });

  it("are left where the desktop cannot have as many, which is said, and tried again in another window", async () => {
    const { viewer, says } = await open("bounded", { vm: "bounded" });
    await viewer.page.getByText("The desktop cannot have as many pixels as this window.").waitFor();
    await viewer.sized(800, 500);
    await says(1);
    await viewer.assertClean();
    await viewer.page.setViewportSize({ width: 440, height: 260 });
    await viewer.sized(880, 520);
    await says(2);
  });

  it("are left as long as the window has no fewer, on whichever screens it was meanwhile", async () => {
    const { viewer, says } = await open("dragged", { vm: "bounded" });
    await viewer.sized(800, 500);
    const devtools = await viewer.page.context().newCDPSession(viewer.page);
    for (const [width, deviceScaleFactor] of [[800, 1], [800, 2], [820, 2], [800, 2]]) {
      await devtools.send("Emulation.setDeviceMetricsOverride", { width, height: 500, deviceScaleFactor, mobile: false });
      await viewer.until(`a screen of ${deviceScaleFactor}`, ([width, ratio]) => innerWidth === width && devicePixelRatio === ratio, [width, deviceScaleFactor]);
      await viewer.sized(width, 500);
      await drawn(viewer.page);
    }
    await says(1);
    await devtools.send("Emulation.setDeviceMetricsOverride", { width: 440, height: 260, deviceScaleFactor: 2, mobile: false });
    await viewer.sized(880, 520);
    await says(2);
    const asked = await viewer.page.evaluate(() => globalThis.asked);
    assert.deepEqual(asked, ["1600x1000", "800x500", "820x500", "800x500", "880x520"]);
  });

  it("are asked for by a window that became small enough before a larger size was refused", async () => {
    const { viewer, says } = await open("shrunk", { vm: "bounded" });
    await viewer.sized(800, 500);
    await says(1);
    await viewer.page.evaluate(() => (globalThis.holds = true));
    await viewer.page.setViewportSize({ width: 700, height: 450 });
    await viewer.until("the larger size is asked for", () => globalThis.asked.at(-1) === "1400x900");
    await viewer.page.setViewportSize({ width: 440, height: 260 });
    await drawn(viewer.page);
    await viewer.page.evaluate(() => globalThis.release());
    await viewer.sized(880, 520);
    await says(2);
  });

  it("are not asked for by whoever only watches, nor of a desktop that cannot draw larger", async () => {
    const watcher = await open("watched", { query: "?view_only=true" });
    await watcher.says(undefined);
    const size = () => watcher.viewer.page.evaluate(() => document.querySelector(".screen canvas").width);
    const before = await size();
    await watcher.viewer.page.setViewportSize({ width: 700, height: 400 });
    await watcher.viewer.until("a picture that is fitted in", () => document.querySelector(".screen canvas").clientHeight <= 400);
    assert.equal(await size(), before);
    const plain = await open("plain", { streams: ["vnc"] });
    await plain.viewer.corners(800, 500);
    await plain.says(undefined);
  });
});
