// The real Blender, drawn by software: its window is seen, takes a key, and follows the size of the viewer; and what nobody
// saved is there again, however its desktop ended.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, pages, startBrowser, view } from "../support/browser.mjs";
import { docker } from "../support/docker.mjs";
import { startService } from "../support/service.mjs";
import { until } from "../support/wait.mjs";

describe("Blender in noVNC", () => {
  let service, browser;

  before(async () => {
    browser = await startBrowser();
    // On a busy machine Blender takes longer to save and end.
    service = await startService("blender", { settings: { COSAGE_ALLOWED_ORIGINS: pages, COSAGE_STOP_GRACE: "60" } });
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
      await looksLikeBlender(viewer);
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
    await viewer.until("no timeline after Control+Space", `!(${timeline})()`);
    await viewer.screenshot("blender-key");
    assert.ok(!(await viewer.events()).some(({ name }) => name === "disconnect"));
    await viewer.close();
  });

  describe("unsaved work", () => {
    const uid = "model";
    const directory = `/api/vm/${uid}/files/.local/state/blender/`;

    const look = async (request = {}) => {
      const { url } = await service.open(uid, request);
      const viewer = await view(browser, service.streams + url, { width: 1100, height: 700 });
      await looksLikeBlender(viewer, 120);
      return viewer;
    };

    /**
     * Gives the selected object, which is the cube of a new file, another name: a long one, and without double letters, the
     * second of which is a repetition to a slow Blender.
     */
    async function rename(viewer, name) {
      await viewer.page.locator("canvas").focus();
      await viewer.page.mouse.move(...(await viewer.at(500, 350)));
      // What is typed before the field is there is the 3D view's. It is there when much has changed about the pointer.
      await viewer.page.evaluate(() => {
        const look = () => document.querySelector("canvas").getContext("2d").getImageData(400, 280, 300, 140).data;
        const before = look();
        window.changed = () => look().filter((value, at) => Math.abs(value - before[at]) > 30).length / before.length;
      });
      await viewer.page.keyboard.press("F2");
      await viewer.until("a field for the name", () => window.changed() > 0.05);
      await viewer.page.keyboard.press("Control+a");
      await viewer.page.keyboard.type(name);
      await viewer.page.keyboard.press("Enter");
    }

    /** The names of Blender's own saves that have an object of that name in them. */
    async function saves(name) {
      const response = await fetch(service.api + directory);
      const { entries } = await response.json();
      const found = [];
      for (const { name: file } of entries.filter(({ name }) => name.endsWith(".blend"))) {
        const content = await (await fetch(service.api + directory + file)).arrayBuffer();
        // A name of the kind "object", as Blender's files have it.
        if (Buffer.from(content).includes(`OB${name}\0`)) found.push(file);
      }
      return found;
    }

    const log = async () => (await fetch(`${service.api}/api/vm/${uid}/logs`)).text();
    const stop = async () => assert.ok((await service.call("DELETE", `/api/vm/${uid}`)).status < 300);

    it("is in the session that a stop leaves, and open again after it", async () => {
      const renamed = await look({ vm: "blender" });
      await rename(renamed, "LeftByAStop");
      // White text in the upper left corner of the 3D view, where "Cube" did not reach.
      await renamed.until("the new name", () => {
        const data = document.querySelector("canvas").getContext("2d").getImageData(192, 104, 50, 16).data;
        // A quarter of the values are the pixels' opacity.
        return data.filter((value) => value > 180).length > data.length / 4 + 60;
      });
      await stop();
      assert.deepEqual(await saves("LeftByAStop"), ["quit.blend"]);
      const viewer = await look();
      await until("Blender says what it opened", async () => (await log()).includes("the last session is back, from quit.blend"));
      await viewer.close();
    });

    it("is in an automatic save, and open again after the container was removed", async () => {
      await rename(await look(), "LeftByARemoval");
      await until("the automatic save of each minute", async () => (await saves("LeftByARemoval")).length, 150);
      const [save] = await saves("LeftByARemoval");
      assert.match(save, /_autosave\.blend$/);
      await docker("rm", "-f", `${service.name}-${uid}`);
      const viewer = await look();
      await until("Blender says what it opened", async () => (await log()).includes(`the last session is back, from ${save}`));
      await viewer.close();
      await stop();
      assert.ok((await saves("LeftByARemoval")).includes("quit.blend"), "what was opened is what was saved");
    });
  });
});
