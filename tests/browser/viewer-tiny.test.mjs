// The console's viewer on the tiny desktop: seen, typed at, resized, left alone, lost and found again.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, startBrowser } from "../support/browser.mjs";
import { startProxy } from "../support/proxy.mjs";
import { startService } from "../support/service.mjs";
import { colourOf, grey, hasPicture, openViewer, pictured, red } from "../support/viewer.mjs";
import { until } from "../support/wait.mjs";

describe("the viewer", () => {
  let service, browser;

  before(async () => {
    browser = await startBrowser();
    service = await startService("viewer", { settings: { COSAGE_SHUTDOWN_GRACE: "1" } });
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await service?.stop();
  });

  const address = (uid, query = "") => `${service.api}/view/${uid}${query}`;

  /** A running tiny desktop of that name in a viewer. */
  async function view(uid, { query = "", context } = {}) {
    await service.open(uid, { vm: "tiny" });
    const viewer = await openViewer(browser, address(uid, query), context);
    await viewer.live();
    await viewer.painted();
    return viewer;
  }

  it("shows the desktop in the window's size and sends what is typed", async () => {
    const viewer = await view("typing");
    await viewer.corners(1024, 640);
    assert.equal(await viewer.page.title(), "Tiny");
    await viewer.focused();
    await viewer.page.keyboard.press("a");
    await viewer.middle(colourOf(0x61));
    await viewer.page.setViewportSize({ width: 877, height: 555 });
    await viewer.corners(877, 555);
    await viewer.assertClean();
  });

  it("loads at most 350 KiB the first time", async () => {
    const viewer = await view("weight");
    const loaded = await viewer.page.evaluate(() =>
      [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
        .filter(({ name }) => !name.includes("/api/"))
        .reduce((sum, { transferSize }) => sum + transferSize, 0));
    assert.ok(loaded > 0 && loaded <= 350 * 1024, `${loaded} bytes`);
  });

  it("types a text whatever the layout of the keyboard, in order", async () => {
    const viewer = await view("text");
    for (const [text, last] of [["grün", 0x6e], ["3 日", 0x010065e5], ["日本 €", 0x010020ac]]) {
      await viewer.tool("keys");
      await viewer.page.fill("#keys-text", text);
      await viewer.page.click(".panel form button");
      await viewer.middle(colourOf(last));
      await viewer.page.click(".panel header button");
    }
    // Special keys, and one that is held: Shift makes a big letter of a small one.
    await viewer.tool("keys");
    await viewer.page.getByRole("button", { name: "F5", exact: true }).click();
    await viewer.middle(colourOf(0xffc2));
    await viewer.assertClean();
  });

  it("fits a desktop of another size, or shows it pixel by pixel", async () => {
    const one = await view("sizes");
    await one.corners(1024, 640);
    const other = await openViewer(browser, address("sizes", "?resize=scale"), { width: 500, height: 500 });
    await other.live();
    const seen = () => other.page.locator(".screen canvas").boundingBox();
    await until("a picture as wide as the window", async () => Math.abs((await seen()).width - 500) < 1.5);
    await other.sized(1024, 640);
    await other.tool("display");
    await other.page.getByLabel("Pixel by pixel").check();
    await until("a picture in its own size", async () => (await seen()).width === 1024);
    await other.page.getByLabel("Drag to move the picture").check();
    await other.sized(500, 500);
    await other.page.getByLabel("Desktop takes the window's size").check();
    await other.corners(500, 500);
    // The first one follows a size that somebody else wanted.
    await one.sized(500, 500);
    await other.assertClean();
  });

  it("sends nothing when it only looks", async () => {
    const viewer = await view("looking", { query: "?view_only=true" });
    const other = await openViewer(browser, address("looking"));
    await other.live();
    await other.corners(1024, 640);
    await viewer.page.mouse.click(512, 320);
    await viewer.page.keyboard.press("a");
    await viewer.page.setViewportSize({ width: 700, height: 500 });
    // What the other one sends arrives after whatever the first could have sent.
    await other.focused();
    await other.page.keyboard.press("Shift");
    await other.corners(1024, 640);
    await other.middle(grey);
    // Until it is told otherwise.
    await viewer.tool("view-only");
    await viewer.page.mouse.click(350, 250);
    await viewer.page.keyboard.press("a");
    await other.middle(colourOf(0x61));
    await viewer.assertClean();
  });

  it("comes back by itself after the service was restarted, with the last picture meanwhile", async () => {
    const viewer = await view("restarted");
    await viewer.focused();
    await viewer.page.keyboard.press("b");
    await viewer.middle(colourOf(0x62));
    await service.restart(async () => {
      await viewer.state("lost");
      await viewer.middle(colourOf(0x62), { last: true });
      await viewer.screenshot("viewer-lost");
    });
    await viewer.live();
    // The same desktop: it went on.
    await viewer.middle(colourOf(0x62));
    await viewer.focused();
    await viewer.page.keyboard.press("c");
    await viewer.middle(colourOf(0x63));
  });

  it("comes back after the network broke", async () => {
    await service.open("broken", { vm: "tiny" });
    const proxy = await startProxy(service.api, "/");
    try {
      const viewer = await openViewer(browser, `${proxy.url}view/broken`);
      await viewer.live();
      proxy.breakSockets();
      await viewer.page.waitForSelector('main[data-live="false"]');
      await viewer.live();
      await viewer.corners(1024, 640);
    } finally {
      proxy.stop();
    }
  });

  it("works below a prefix", async () => {
    await service.open("prefix", { vm: "tiny" });
    const proxy = await startProxy(service.api, "/some/where/");
    try {
      const viewer = await openViewer(browser, `${proxy.url}view/prefix`);
      await viewer.live();
      await viewer.corners(1024, 640);
      await viewer.tool("share");
      assert.equal(await viewer.page.inputValue("#share-own"), `${proxy.url}view/prefix`);
      await viewer.page.getByRole("button", { name: "Make a link" }).click();
      await viewer.page.waitForSelector("#share-made");
      const link = await viewer.page.inputValue("#share-made");
      assert.ok(link.startsWith(`${proxy.url}view/#share=`), link);
      const guest = await openViewer(browser, link);
      await guest.live();
      await guest.corners(1024, 640);
      await guest.assertClean();
      await viewer.assertClean();
    } finally {
      proxy.stop();
    }
  });

  it("says that WebSockets are blocked, and connects when they no longer are", async () => {
    await service.open("blocked", { vm: "tiny" });
    const proxy = await startProxy(service.api, "/", { sockets: false });
    try {
      const viewer = await openViewer(browser, `${proxy.url}view/blocked?reconnect_delay=50`);
      await viewer.state("blocked");
      assert.match(await viewer.page.textContent(".notice"), /blocks WebSockets/);
      await viewer.assertClean();
      await viewer.screenshot("viewer-blocked");
      proxy.letSockets();
      // By itself it tries again as well, and may have come first.
      await viewer.page.getByRole("button", { name: "Try now" }).evaluateAll((buttons) => buttons.forEach((button) => button.click()));
      await viewer.live();
    } finally {
      proxy.stop();
    }
  });

  it("stops the desktop and starts it again, by keys alone", async () => {
    const viewer = await view("keyboard");
    const started = (await service.call("GET", "/api/vm/keyboard")).body.started_at;
    const { keyboard } = viewer.page;
    await viewer.focused();
    await keyboard.press("a");
    await viewer.middle(colourOf(0x61));
    // The chord leaves the desktop's keyboard, and no key stays down there.
    await keyboard.press("Control+Alt+Shift");
    const active = () => viewer.page.evaluate(() => document.activeElement?.id);
    const walked = [];
    for (let step = 0; step < 9; step++) {
      walked.push(await active());
      await keyboard.press("ArrowRight");
    }
    assert.deepEqual(
      walked,
      ["launcher", "display", "clipboard", "keys", "picture", "fullscreen", "view-only", "share", "stop"].map((name) => `tool-${name}`),
    );
    assert.equal(await active(), "tool-launcher");
    await keyboard.press("ArrowRight");
    await keyboard.press("Enter");
    await viewer.page.waitForSelector(".panel:focus");
    await keyboard.press("Escape");
    assert.equal(await active(), "tool-display");
    await keyboard.press("Escape");
    await keyboard.press("b");
    await viewer.middle(colourOf(0x62));

    // Without a wait: it is the viewer that sees to it that what follows is not the desktop's.
    await keyboard.press("Control+Alt+Shift");
    await keyboard.press("End");
    await keyboard.press("Enter");
    await viewer.page.waitForSelector("dialog[open]");
    await viewer.assertClean();
    await viewer.screenshot("viewer-stop");
    await viewer.page.locator("dialog .danger").focus();
    await keyboard.press("Enter");
    await viewer.state("asleep");
    await viewer.middle(colourOf(0x62), { last: true });
    assert.match(await viewer.page.textContent("h1"), /was stopped/);
    assert.match(await viewer.page.textContent('[role="status"]'), /was stopped/);
    await viewer.assertClean();
    await viewer.screenshot("viewer-stopped");
    await viewer.page.getByRole("button", { name: "Start again" }).focus();
    await keyboard.press("Enter");
    await viewer.live();
    await viewer.pixel(20, 20, red);
    assert.notEqual((await service.call("GET", "/api/vm/keyboard")).body.started_at, started);
    await viewer.assertClean();
  });

  it("follows a desktop that somebody else stops and starts", async () => {
    const viewer = await view("elsewhere");
    await service.call("DELETE", "/api/vm/elsewhere");
    await viewer.state("asleep");
    await service.open("elsewhere", {});
    await viewer.live();
    // With its record, there is nothing left to start.
    await service.call("DELETE", "/api/vm/elsewhere?forget=true");
    await viewer.state("unknown");
  });

  it("offers to start what sleeps, and starts it at once only when the address says so", async () => {
    const before = await view("sleeper");
    await before.focused();
    await before.page.keyboard.press("a");
    await before.middle(colourOf(0x61));
    await pictured(before.page, service.api, "sleeper", 492, 340, colourOf(0x61));
    await before.close();
    await hasPicture(service, "sleeper");
    await service.call("DELETE", "/api/vm/sleeper");
    const viewer = await openViewer(browser, address("sleeper"));
    await viewer.state("asleep");
    // The picture that the service kept of it.
    await viewer.until("the last picture", () => document.querySelector("canvas.last").width > 0);
    await viewer.middle(colourOf(0x61), { last: true });
    await viewer.screenshot("viewer-asleep");
    assert.equal((await service.call("GET", "/api/vm/sleeper")).body.status, "asleep");
    const other = await openViewer(browser, address("sleeper", "?autoconnect=true"));
    await Promise.all([viewer, other].map((viewer) => viewer.live()));
    const third = await openViewer(browser, address("sleeper", "?autoconnect=false&quality=11"));
    await third.state("offered");
    const logged = (await third.page.consoleMessages()).map((message) => message.text());
    assert.ok(logged.some((text) => text.includes("quality=11")), JSON.stringify(logged));
    await third.page.getByRole("button", { name: "Connect" }).click();
    await third.live();
  });

  it("says that there is no such desktop, and leads to the apps", async () => {
    const viewer = await openViewer(browser, address("nobody"));
    await viewer.state("unknown");
    assert.match(await viewer.page.textContent(".notice"), /No desktop is called “nobody”/);
    assert.equal(await viewer.page.locator(".notice a").getAttribute("href"), `${service.api}/`);
    await viewer.assertClean();
  });

  it("shows why a start failed, with the last log lines", async () => {
    await service.open("failing", { vm: "tiny" });
    await service.call("DELETE", "/api/vm/failing");
    const viewer = await openViewer(browser, address("failing"));
    await viewer.state("asleep");
    const refusal = { details: "the app ended while it started", code: "app_exited", logs: "no display\ngiving up" };
    await viewer.page.route("**/api/vm/any/failing", (route) => route.fulfill({ status: 502, json: refusal }));
    await viewer.page.getByRole("button", { name: "Start again" }).click();
    await viewer.state("failed");
    const card = await viewer.page.textContent(".notice");
    for (const text of [refusal.details, "giving up"]) assert.ok(card.includes(text), card);
    await viewer.assertClean();
    await viewer.screenshot("viewer-failed");
    await viewer.page.unroute("**/api/vm/any/failing");
    await viewer.page.getByRole("button", { name: "Try again" }).click();
    await viewer.live();
  });

  it("saves the picture of the desktop in its own size", async () => {
    const viewer = await view("picture", { context: { acceptDownloads: true } });
    await viewer.corners(1024, 640);
    const download = viewer.page.waitForEvent("download");
    await viewer.tool("picture");
    const saved = await download;
    assert.match(saved.suggestedFilename(), /^Tiny \d{4}-\d\d-\d\d \d\d\.\d\d\.\d\d\.png$/);
    const png = await readFile(await saved.path());
    assert.equal(png.readUInt32BE(16), 1024);
    assert.equal(png.readUInt32BE(20), 640);
    await viewer.assertClean();
  });

  it("takes taps, and the text of an on-screen keyboard", async () => {
    const viewer = await view("tablet", {
      context: { hasTouch: true, isMobile: true, width: 820, height: 1180 },
    });
    await viewer.corners(820, 1180);
    await viewer.page.locator(".handle").tap({ force: true });
    await viewer.page.locator("#tool-touch").tap();
    await viewer.page.waitForSelector(".touch-field:focus");
    await viewer.page.keyboard.insertText("x");
    await viewer.middle(colourOf(0x78));
    await viewer.page.keyboard.insertText("日");
    await viewer.middle(colourOf(0x010065e5));
    await viewer.page.keyboard.press("Backspace");
    await viewer.middle(colourOf(0xff08));
    await viewer.page.touchscreen.tap(300, 400);
    await viewer.pixel(300, 400, [255, 255, 255]);
    const sizes = await viewer.page.locator(".tools .button, .handle").evaluateAll((buttons) =>
      buttons.map((button) => [button.offsetWidth, button.offsetHeight]),
    );
    for (const [width, height] of sizes) assert.ok(width >= 44 && height >= 44, JSON.stringify(sizes));
    await viewer.screenshot("viewer-tablet");
    await viewer.assertClean();
  });

  for (const [locale, word] of [["de-DE", "Zwischenablage"], ["ja-JP", "クリップボード"]]) {
    it(`speaks ${locale}`, async () => {
      const viewer = await view("languages", { context: { locale } });
      await viewer.tool("clipboard");
      assert.equal(await viewer.page.textContent("#panel-title"), word);
    });
  }

  it("is as good at 360 and at 3840 pixels, light and dark", async () => {
    for (const [width, height, colorScheme] of [[360, 640, "light"], [360, 640, "dark"], [3840, 2160, "dark"]]) {
      const viewer = await view("wide", { query: "?resize=remote", context: { width, height, colorScheme, reducedMotion: "reduce" } });
      await viewer.sized(width, height);
      for (const panel of ["display", "clipboard", "keys", "share"]) {
        await viewer.tool(panel);
        await viewer.page.waitForSelector(`.panel[data-panel="${panel}"]`);
        const beyond = await viewer.page.locator(".tools, .panel").evaluateAll((boxes) =>
          boxes.map((box) => box.getBoundingClientRect()).filter(({ left, right, bottom }) => left < 0 || right > innerWidth || bottom > innerHeight),
        );
        assert.deepEqual(beyond, []);
        await viewer.assertClean();
        await viewer.screenshot(`viewer-${panel}-${width}-${colorScheme}`);
      }
      await viewer.close();
    }
  });
});
