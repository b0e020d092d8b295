// The console's viewer as a person has it before them, with eyes for the pixels of the desktop.
import assert from "node:assert/strict";

import { openConsole, picture, seriousFindings } from "./console.mjs";
import { PATIENCE, until } from "./wait.mjs";

/** The tiny desktop's colours. */
export const red = [255, 0, 0];
export const green = [0, 255, 0];
export const blue = [0, 0, 255];
export const yellow = [255, 255, 0];
export const grey = [128, 128, 128];
/** What its middle square becomes by a key. */
export const colourOf = (keysym) =>
  [
    [0xe6, 0x19, 0x4b],
    [0x3c, 0xb4, 0x4b],
    [0x43, 0x63, 0xd8],
    [0xf5, 0x82, 0x31],
    [0x91, 0x1e, 0xb4],
    [0x46, 0xf0, 0xf0],
    [0xf0, 0x32, 0xe6],
    [0xd2, 0xf5, 0x3c],
  ][keysym % 8];

/** Opens a viewer's address in a browser of its own; `context` are Playwright's options, with `width` and `height`. */
export async function openViewer(browser, address, { width = 1024, height = 640, ...context } = {}) {
  const { origin, pathname, search, hash } = new URL(address);
  return new ConsoleViewer(await openConsole(browser, origin, pathname + search + hash, { width, height, ...context }));
}

/**
 * Waits until the service itself sees a color at a place of the desktop, so that all pictures from now on show it: one that is
 * taken may be a second old. `page` is one that may call the service, at `origin`.
 */
export const pictured = (page, origin, uid, x, y, color) =>
  until(`a picture with ${color} at ${x},${y}`, async () => {
    const seen = await page.evaluate(async ([address, x, y]) => {
      const picture = await createImageBitmap(await (await fetch(address)).blob());
      const context = new OffscreenCanvas(1, 1).getContext("2d");
      context.drawImage(picture, -x, -y);
      return [...context.getImageData(0, 0, 1, 1).data];
    }, [`${origin}/api/vm/${uid}/screenshot`, x, y]);
    return color.every((value, channel) => Math.abs(value - seen[channel]) <= 24);
  });

/**
 * Waits until the service has kept the picture that it takes when the last viewer leaves. The one that is taken before a
 * stop has two seconds, which may not be enough on a busy machine.
 */
export const hasPicture = (service, uid) =>
  until("a picture is kept", async () => (await service.call("GET", `/api/vm/${uid}`)).body.picture);

export class ConsoleViewer {
  constructor(page) {
    this.page = page;
  }

  /** Waits until the viewer is in a state, such as `connected`, `asleep`, `lost`. */
  state(name) {
    return this.until(`the viewer is ${name}`, (name) => document.querySelector("main")?.dataset.state === name, name);
  }

  /** Waits until the whole picture is there. */
  live() {
    return this.until("the picture is there", () => document.querySelector("main")?.dataset.live === "true");
  }

  async until(what, ask, argument) {
    try {
      await this.page.waitForFunction(ask, argument, { polling: 100, timeout: PATIENCE * 1000 });
    } catch (error) {
      await this.screenshot(`failed-viewer-${what.replace(/[^a-z0-9]+/gi, "-")}`);
      const state = await this.page.evaluate(() => document.querySelector("main")?.dataset.state);
      const story = JSON.stringify({ state, complaints: this.page.complaints });
      throw new Error(`${what}: ${error.message.split("\n")[0]} ${story}`);
    }
  }

  /** Waits for the desktop to be of this size, in its own pixels. */
  sized(width, height) {
    return this.until(
      `a desktop of ${width} by ${height}`,
      ([width, height]) => {
        const canvas = document.querySelector(".screen canvas");
        return canvas?.width === width && canvas.height === height;
      },
      [width, height],
    );
  }

  /** Waits for a colour at a place of the desktop, or (with `last`) of the picture that is left of it. */
  pixel(x, y, colour, { last = false } = {}) {
    return this.until(
      `colour ${colour} at ${x},${y}`,
      ([selector, x, y, colour]) => {
        const canvas = document.querySelector(selector);
        if (!canvas?.width) return false;
        const seen = canvas.getContext("2d").getImageData(x, y, 1, 1).data;
        return colour.every((value, channel) => Math.abs(value - seen[channel]) <= 24);
      },
      [last ? "canvas.last" : ".screen canvas", x, y, colour],
    );
  }

  /** Waits for the colour of the middle square, beside its own middle, where the pointer may be drawn. */
  async middle(colour, options) {
    const [width, height] = await this.page.evaluate(
      (selector) => {
        const canvas = document.querySelector(selector);
        return [canvas?.width ?? 0, canvas?.height ?? 0];
      },
      options?.last ? "canvas.last" : ".screen canvas",
    );
    return this.pixel(Math.floor(width / 2) - 20, Math.floor(height / 2) + 20, colour, options);
  }

  /** Whether the tiny desktop's app has drawn: keys that come before are for nobody. */
  painted() {
    return this.pixel(20, 20, red);
  }

  async corners(width, height) {
    await this.sized(width, height);
    await this.pixel(20, 20, red);
    await this.pixel(width - 20, 20, green);
    await this.pixel(20, height - 20, blue);
    await this.pixel(width - 20, height - 20, yellow);
  }

  /** Whether the desktop's canvas has the keyboard. */
  focused() {
    return this.page.waitForFunction(() => document.activeElement?.matches(".screen canvas"));
  }

  /** Brings the toolbar by the pointer and clicks one of its tools. */
  async tool(name) {
    const { width } = this.page.viewportSize();
    await this.page.mouse.move(width / 2, 60);
    await this.page.mouse.move(width / 2, 1);
    await this.page.click(`#tool-${name}`);
  }

  /** Nothing went wrong in the page so far, and everybody can use what is on it now. */
  async assertClean() {
    assert.deepEqual(this.page.complaints, []);
    assert.deepEqual(await seriousFindings(this.page), []);
  }

  screenshot(name) {
    return picture(this.page, name);
  }

  close() {
    return this.page.context().close();
  }
}
