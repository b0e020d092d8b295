// The console's viewer on the real Firefox: clipboards both ways, and what a page in it is told.
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, startBrowser } from "../support/browser.mjs";
import { paste } from "../support/firefox.mjs";
import { startService } from "../support/service.mjs";
import { startSite } from "../support/site.mjs";
import { openViewer } from "../support/viewer.mjs";
import { until } from "../support/wait.mjs";

const blue = { name: "1060c0", colour: [0x10, 0x60, 0xc0] };
const white = [255, 255, 255];

describe("the viewer of Firefox", () => {
  let service, browser, site;

  before(async () => {
    browser = await startBrowser();
    site = await startSite();
    service = await startService("viewer-firefox");
    await service.open("reader", { vm: "firefox", env: { FIREFOX_URLS: [site.url(blue.name)], FIREFOX_THEME: 1 } });
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await site?.stop();
    await service?.stop();
  });

  /** A viewer in whose Firefox the page's field has the focus and is empty. */
  async function read(context) {
    const viewer = await openViewer(browser, `${service.api}/view/reader`, context);
    await viewer.live();
    await viewer.pixel(100, 500, blue.colour);
    await viewer.page.mouse.click(512, 400);
    await viewer.page.keyboard.press("Control+a");
    await viewer.page.keyboard.press("Delete");
    return viewer;
  }

  /** Waits until the page's field is where it is in a window of that size, from 35 to 65 % of each side below the window's bars. */
  async function hasField(viewer, width, height) {
    for (const [place, colour] of [[0.33, blue.colour], [0.37, white], [0.63, white], [0.67, blue.colour]]) {
      await viewer.pixel(Math.round(width * place), Math.round(height / 2), colour);
    }
  }

  const copied = (viewer) => viewer.page.evaluate(() => navigator.clipboard.readText());

  it("pastes and copies without a panel where the browser allows it", async () => {
    const viewer = await read({ permissions: ["clipboard-read", "clipboard-write"] });
    await viewer.page.evaluate(() => navigator.clipboard.writeText("pasted: naïve 日本"));
    await paste(viewer, site, "what was pasted", ({ text }) => text === "pasted: naïve 日本");
    await viewer.page.keyboard.press("Control+a");
    await viewer.page.keyboard.type("copied here");
    await site.report("what was typed", ({ text }) => text === "copied here");
    await viewer.page.keyboard.press("Control+a");
    await viewer.page.keyboard.press("Control+c");
    await until("this machine's clipboard has it", async () => (await copied(viewer)) === "copied here");
    // What is copied elsewhere meanwhile is the desktop's as soon as the page has the focus again.
    await viewer.page.evaluate(async () => {
      await navigator.clipboard.writeText("from elsewhere");
      dispatchEvent(new Event("focus"));
    });
    await paste(viewer, site, "what was copied elsewhere", ({ text }) => text === "from elsewhere", "Shift+Insert");
    await viewer.screenshot("viewer-firefox");
    await viewer.assertClean();
  });

  it("pastes by keys, and has the rest in its panel, where the browser allows nothing", async () => {
    // All pages of this browser have one clipboard.
    const writer = await openViewer(browser, `${service.api}/view/reader?view_only=true`, { permissions: ["clipboard-write"] });
    await writer.page.evaluate(() => navigator.clipboard.writeText("by keys alone"));
    const viewer = await read();
    await paste(viewer, site, "what was pasted", ({ text }) => text === "by keys alone");

    await viewer.tool("clipboard");
    await viewer.page.fill("#clipboard-to", "from the panel, ✓");
    await viewer.page.getByRole("button", { name: "Put into its clipboard" }).click();
    await viewer.page.keyboard.press("Escape");
    await viewer.page.mouse.click(512, 400);
    await paste(viewer, site, "what the panel sent", ({ text }) => text === "from the panel, ✓", "Shift+Insert");

    await viewer.page.keyboard.press("Control+a");
    await viewer.page.keyboard.press("Control+c");
    await viewer.tool("clipboard");
    await until("the panel has it", async () => (await viewer.page.inputValue("#clipboard-from")) === "from the panel, ✓");
    await viewer.assertClean();
  });

  it("has all pixels of a screen with small ones, and draws as much larger", async () => {
    site.forget();
    const viewer = await openViewer(browser, `${service.api}/view/reader`, { deviceScaleFactor: 2 });
    await viewer.live();
    await viewer.sized(2048, 1280);
    // Firefox itself says how wide its page is, in CSS pixels of its own.
    await site.report("a page 1024 wide", ({ width }) => width === 1024);
    await hasField(viewer, 2048, 1280);
    await viewer.screenshot("viewer-firefox-sharp");
    await viewer.tool("display");
    await viewer.page.getByLabel("Use every pixel of this screen").uncheck();
    await viewer.page.keyboard.press("Escape");
    await viewer.sized(1024, 640);
    await hasField(viewer, 1024, 640);
    await viewer.screenshot("viewer-firefox-coarse");
    await viewer.assertClean();
  });
});
