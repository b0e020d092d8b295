// Fingers on the viewer: the gestures that noVNC makes of them, with nothing of the page in their way.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, startBrowser } from "../support/browser.mjs";
import { startService } from "../support/service.mjs";
import { openViewer } from "../support/viewer.mjs";
import { until } from "../support/wait.mjs";

const white = [255, 255, 255];
const tablet = { hasTouch: true, isMobile: true, width: 820, height: 1180 };

/** Remembers every pointer event that the page sends (RFC 6143, 7.5.5), as `[buttons, x, y]`. */
function rememberPointer() {
  globalThis.pointer = [];
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (data) {
    const bytes = new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength);
    if (bytes[0] === 5 && bytes.length === 6) {
      globalThis.pointer.push([bytes[1], bytes[2] * 256 + bytes[3], bytes[4] * 256 + bytes[5]]);
    }
    return send.call(this, data);
  };
}

describe("fingers", () => {
  let service, browser;

  before(async () => {
    browser = await startBrowser();
    service = await startService("touch");
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await service?.stop();
  });

  /** A tablet that shows a desktop of its own, with `touch`, which puts fingers where they are then, `tap`, and `drag`, which begins a drag. */
  async function open(uid) {
    await service.open(uid, { vm: "tiny" });
    const prepared = async (options) => {
      const context = await browser.newContext(options);
      await context.addInitScript(rememberPointer);
      return context;
    };
    const viewer = await openViewer({ newContext: prepared }, `${service.api}/view/${uid}`, tablet);
    await viewer.live();
    await viewer.corners(tablet.width, tablet.height);
    const devtools = await viewer.page.context().newCDPSession(viewer.page);
    const touch = (type, ...points) =>
      devtools.send("Input.dispatchTouchEvent", { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
    // Under way together, as what a busy machine takes a second for is a long press.
    const tap = (...points) => Promise.all([touch("touchStart", ...points), touch("touchEnd")]);
    const drag = (from, to) => Promise.all([touch("touchStart", ...from), touch("touchMove", ...to)]);
    return { viewer, touch, tap, drag };
  }

  const sent = (viewer) => viewer.page.evaluate(() => globalThis.pointer);
  /** Waits until a button, by its bit, was pressed and let go. */
  const clicked = (viewer, button) =>
    viewer.until(`button ${button}`, (button) => {
      const down = globalThis.pointer.findIndex(([buttons]) => buttons === button);
      return down >= 0 && globalThis.pointer.slice(down).some(([buttons]) => buttons === 0);
    }, button);

  it("tap is a click, also at the upper edge", async () => {
    const { viewer, tap } = await open("tap");
    for (const [x, y] of [[300, 400], [100, 1]]) {
      await tap([x, y]);
      await viewer.pixel(x - 2, y + 1, white);
    }
    assert.deepEqual([...new Set((await sent(viewer)).map(([buttons]) => buttons))].sort(), [0, 1]);
    await viewer.assertClean();
  });

  it("dragged draws", async () => {
    const { viewer, touch, drag } = await open("drag");
    await drag([[200, 700]], [[260, 700]]);
    for (let x = 264; x <= 600; x += 4) await touch("touchMove", [x, 700]);
    await touch("touchEnd");
    // Somewhere on the way: of the places of a fast finger not all are sent.
    await viewer.until("a line", () => {
      const { data } = document.querySelector(".screen canvas").getContext("2d").getImageData(280, 700, 300, 1);
      return Array.from({ length: 300 }, (_, at) => data.subarray(4 * at, 4 * at + 3)).some((pixel) => pixel.every((value) => value > 230));
    });
    assert.equal(await viewer.page.evaluate(() => scrollY + scrollX + (visualViewport.scale - 1)), 0);
  });

  it("held long is the right button, and so are two that tap", async () => {
    const { viewer, touch, tap } = await open("right");
    await touch("touchStart", [300, 800]);
    await viewer.until("the right button is down", () => globalThis.pointer.at(-1)?.[0] === 4);
    await touch("touchEnd");
    await clicked(viewer, 4);
    await viewer.page.evaluate(() => (globalThis.pointer = []));
    await tap([300, 800], [340, 800]);
    await clicked(viewer, 4);
    const right = (await sent(viewer)).filter(([buttons]) => buttons === 4);
    assert.ok(right.every(([, x, y]) => Math.abs(x - 320) <= 20 && Math.abs(y - 800) <= 2), JSON.stringify(right));
    assert.equal(await viewer.page.locator("dialog[open]").count(), 0);
  });

  it("two that are dragged turn the wheel, and do not move the page", async () => {
    const { viewer, touch, drag } = await open("wheel");
    await drag([[300, 800], [360, 800]], [[300, 740], [360, 740]]);
    for (let y = 730; y >= 600; y -= 10) await touch("touchMove", [300, y], [360, y]);
    await touch("touchEnd");
    await until("the wheel was turned", async () => (await sent(viewer)).some(([buttons]) => buttons === 16));
    assert.ok((await sent(viewer)).every(([buttons]) => buttons === 16 || buttons === 0));
    assert.equal(await viewer.page.evaluate(() => scrollY + (visualViewport.scale - 1)), 0);
  });

  it("bring the toolbar by its handle, which clicks nothing on the desktop", async () => {
    const { viewer } = await open("handle");
    await viewer.page.waitForSelector('.dock[data-shown="false"]', { state: "attached" });
    const before = (await sent(viewer)).length;
    await viewer.page.locator(".handle").tap();
    await viewer.page.waitForSelector('.dock[data-shown="true"]');
    // The browser's own idea of where its mouse is may move the desktop's pointer there.
    assert.ok((await sent(viewer)).slice(before).every(([buttons]) => buttons === 0), JSON.stringify(await sent(viewer)));
    await viewer.page.locator("#tool-share").tap();
    await viewer.page.waitForSelector('.panel[data-panel="share"]');
    await viewer.assertClean();
    await viewer.screenshot("viewer-tablet-share");
  });
});
