// Headless Chromium with pages that embed the real noVNC.
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { out } from "./out.mjs";
import { PATIENCE } from "./wait.mjs";

const files = fileURLToPath(new URL("../browser/page", import.meta.url));
const novnc = fileURLToPath(new URL("../node_modules/@novnc/novnc", import.meta.url));

const types = { ".html": "text/html", ".js": "text/javascript", ".txt": "text/plain" };

/** The origin of the page with the viewer: another host than the service's. */
export const pages = "http://viewer.localhost";

/** `further` are more of Chromium's flags. */
export function startBrowser(...further) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox", // Chromium's own sandbox does not run as root, which is who CI is.
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      ...further,
    ],
  });
}

/** A file of the pages, or of noVNC, by the path it is served at: its content and type. */
export async function pageFile(pathname) {
  const path = normalize(pathname);
  const file = path.startsWith("/novnc/") ? join(novnc, path.slice("/novnc".length)) : join(files, path);
  try {
    return { body: await readFile(file), contentType: types[extname(file)] };
  } catch {
    return undefined;
  }
}

/**
 * A page of an origin, which serves the viewer's files and noVNC without a network: Chromium gives up what it loads
 * when a network interface comes or goes (ERR_NETWORK_CHANGED), as one does with every container on this machine.
 */
export async function openPage(browser, origin, viewport) {
  const page = await browser.newPage({ viewport });
  page.setDefaultTimeout(PATIENCE * 1000);
  await page.route(`${origin}/**`, async (route) => {
    await route.fulfill((await pageFile(new URL(route.request().url()).pathname)) ?? { status: 404 });
  });
  // What a person is asked, when a page wants to connect to their own machine.
  await page.context().grantPermissions(["local-network-access"]);
  return page;
}

/** Opens noVNC on a stream, such as `http://127.0.0.1:4033/stream/11000/vnc`, and waits until it is connected. */
export async function view(browser, stream, { width = 1024, height = 640 } = {}) {
  const page = await openPage(browser, pages, { width, height });
  // noVNC tries an H.264 decoder before anything else, and on a busy machine without a GPU Chromium at times never
  // answers. Without decoders noVNC does not ask; the desktops send no H.264.
  await page.addInitScript(() => delete globalThis.VideoDecoder);
  await page.goto(`${pages}/viewer.html?stream=${encodeURIComponent(stream.replace(/^http/, "ws"))}`);
  const viewer = new Viewer(page);
  await viewer.until("connected", () => window.viewer?.events.some(({ name }) => name === "connect"));
  return viewer;
}

/** Closes what a failed test has left open, so that the next one finds nobody looking. */
export async function closePages(browser) {
  await Promise.all(browser.contexts().map((context) => context.close()));
}

export class Viewer {
  constructor(page) {
    this.page = page;
  }

  /** Waits until a function that runs in the page says true. */
  async until(what, ask, argument, seconds = PATIENCE) {
    try {
      await this.page.waitForFunction(ask, argument, { polling: 100, timeout: seconds * 1000 });
    } catch (error) {
      const events = await this.events();
      await this.screenshot(`failed-${what.replace(/[^a-z0-9]+/gi, "-")}`);
      throw new Error(`${what}: ${error.message.split("\n")[0]} (events: ${JSON.stringify(events)})`);
    }
  }

  events() {
    return this.page.evaluate(() => window.viewer?.events ?? "the page's script has not run");
  }

  /** Waits for the desktop to be of this size. */
  sized(width, height) {
    const what = `a desktop of ${width} by ${height}`;
    return this.until(what, ([w, h]) => window.viewer.size().width === w && window.viewer.size().height === h, [width, height]);
  }

  /** Waits for a colour, `[red, green, blue]`, at a place; JPEG is lossy, hence the tolerance. */
  pixel(x, y, colour, tolerance = 24) {
    const what = `colour ${colour} at ${x},${y}`;
    return this.until(
      what,
      ([x, y, colour, tolerance]) =>
        window.viewer.pixel(x, y).every((value, channel) => Math.abs(value - colour[channel]) <= tolerance),
      [x, y, colour, tolerance],
    );
  }

  /** Waits until at least this share of the screen, 0 to 1, has a colour. */
  filled(colour, share, seconds = PATIENCE) {
    const what = `colour ${colour} on ${share * 100} % of the screen`;
    return this.until(what, ([colour, share]) => window.viewer.share(colour, 24) >= share, [colour, share], seconds);
  }

  /** The place in the page where a place of the desktop is shown. */
  async at(x, y) {
    const box = await this.page.locator("#screen canvas").boundingBox();
    return [box.x + x, box.y + y];
  }

  async click(x, y) {
    await this.page.mouse.click(...(await this.at(x, y)));
  }

  async drag(fromX, fromY, toX, toY) {
    await this.page.mouse.move(...(await this.at(fromX, fromY)));
    await this.page.mouse.down();
    await this.page.mouse.move(...(await this.at(toX, toY)), { steps: 20 });
    await this.page.mouse.up();
  }

  /** Sends a key by its X11 keysym, for what the headless browser's keyboard does not have. */
  key(keysym) {
    return this.page.evaluate((keysym) => window.viewer.rfb.sendKey(keysym, null), keysym);
  }

  async screenshot(name) {
    await this.page.screenshot({ path: join(await out(), `${name}.png`) });
  }

  close() {
    return this.page.close();
  }
}
