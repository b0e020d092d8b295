// The real Blender, drawn by software: its window is seen, takes a key, and follows the size of the viewer.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, pages, startBrowser, view } from "../support/browser.mjs";
import { startService } from "../support/service.mjs";

describe("Blender in noVNC", () => {
  let service, browser;

  before(async () => {
    browser = await startBrowser();
    service = await startService("blender", { settings: { COSAGE_ALLOWED_ORIGINS: pages } });
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await service?.stop();
  });

  // Its panels are dark greys, and lamps, icons, axes and text give many further colours; an empty or a broken
  // window has a handful.
  function looksLikeBlender(viewer, seconds) {
    const what = "Blender's window";
    return viewer.until(what, () => window.viewer.greys(16, 100) > 0.6 && window.viewer.colours() > 60, undefined, seconds);
  }

  it("shows its window, and again after a resize", async () => {
    const { url } = await service.open("allocate", { vm: "vnc-x11-blender", env: {} });
    const viewer = await view(browser, service.streams + url, { width: 1100, height: 700 });
    await looksLikeBlender(viewer, 120);
    await viewer.screenshot("blender");

    for (const [width, height] of [[931, 611], [1201, 757]]) {
      await viewer.page.setViewportSize({ width, height });
      await viewer.sized(width, height);
      await looksLikeBlender(viewer, 60);
    }
    await viewer.screenshot("blender-resized");

    // Control+Space gives the whole window to the editor below the pointer, the 3D view; so the timeline at the bottom
    // goes, and with it the blue mark of its current frame.
    const timeline = () => {
      const { width, height } = window.viewer.size();
      for (let x = 20; x < width / 4; x += 4) {
        const [red, , blue] = window.viewer.pixel(x, height - 37);
        if (blue > red + 60) return true;
      }
      return false;
    };
    await viewer.until("the timeline", timeline);
    await viewer.page.locator("canvas").focus();
    await viewer.page.mouse.move(...(await viewer.at(500, 350)));
    await viewer.page.keyboard.press("Control+Space");
    await viewer.until("no timeline after Control+Space", `!(${timeline})()`, undefined, 60);
    await viewer.screenshot("blender-key");
    assert.ok(!(await viewer.events()).some(({ name }) => name === "disconnect"));
    await viewer.close();
  });
});
