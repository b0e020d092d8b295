// The real Firefox: its page is seen, typed into and resized through the gateway, and its tabs come back after it was idle.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, pages, startBrowser, view } from "../support/browser.mjs";
import { containers, docker } from "../support/docker.mjs";
import { paste } from "../support/firefox.mjs";
import { startService } from "../support/service.mjs";
import { startSite } from "../support/site.mjs";
import { until } from "../support/wait.mjs";

const first = { name: "c01060", colour: [0xc0, 0x10, 0x60] };
const second = { name: "1060c0", colour: [0x10, 0x60, 0xc0] };

describe("Firefox in noVNC", () => {
  let service, browser, site;
  const uid = "reader";

  before(async () => {
    // One after the other, so that `after` ends what was started when one fails.
    browser = await startBrowser();
    site = await startSite();
    service = await startService("firefox", {
      settings: {
        COSAGE_ALLOWED_ORIGINS: pages,
        CONTAINER_NO_CLIENT_TIMEOUT: "20",
        COSAGE_FIRST_VIEWER_TIMEOUT: "120",
      },
    });
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await site?.stop();
    await service?.stop();
  });

  /** Selects a tab as a person does, with Alt and its number, and waits until its page is seen. */
  async function select(viewer, number, { colour }) {
    await viewer.page.locator("canvas").focus();
    await viewer.page.keyboard.press(`Alt+${number}`);
    await viewer.filled(colour, 0.5);
  }

  it("shows the pages it was asked for, in two tabs", async () => {
    const { url } = await service.open(uid, {
      vm: "firefox",
      env: { FIREFOX_URLS: [site.url(first.name), site.url(second.name)], FIREFOX_THEME: 1 },
    });
    const viewer = await view(browser, service.streams + url);
    await viewer.until("one of the pages", ([a, b]) => window.viewer.share(a, 24) > 0.5 || window.viewer.share(b, 24) > 0.5, [
      first.colour,
      second.colour,
    ]);
    await select(viewer, 2, second);
    await select(viewer, 1, first);
    await viewer.screenshot("firefox");

    await viewer.click(512, 400);
    await viewer.page.keyboard.type("Grace, 1906");
    await site.report("what was typed", ({ page, text }) => page === first.name && text === "Grace, 1906");
    for (const keysym of [0xe9, 0xdf, 0x010065e5]) await viewer.key(keysym);
    await site.report("é, ß and 日", ({ text }) => text === "Grace, 1906éß日");
    await viewer.close();
  });

  it("takes and gives the clipboard", async () => {
    const { url } = await service.open(uid, {});
    const viewer = await view(browser, service.streams + url);
    await select(viewer, 2, second);
    await viewer.click(512, 400);
    await viewer.page.evaluate(() => window.viewer.rfb.clipboardPasteFrom("pasted: naïve 日本"));
    await paste(viewer, site, "what was pasted", ({ text }) => text === "pasted: naïve 日本");
    await viewer.page.keyboard.press("Control+a");
    await viewer.page.keyboard.type("copied ");
    for (const keysym of [0x01002713, 0x010003a9]) await viewer.key(keysym);
    await site.report("what replaced it", ({ text }) => text === "copied ✓Ω");
    await viewer.page.keyboard.press("Control+a");
    await viewer.page.keyboard.press("Control+c");
    await viewer.until("the copied text", () => window.viewer.events.some(({ name, text }) => name === "clipboard" && text === "copied ✓Ω"));
    await viewer.close();
  });

  it("takes and gives a long text", async () => {
    const long = "0123456789é".repeat(27_000);
    const { url } = await service.open(uid, {});
    const viewer = await view(browser, service.streams + url);
    await select(viewer, 2, second);
    await viewer.click(512, 400);
    await viewer.page.evaluate((text) => window.viewer.rfb.clipboardPasteFrom(text), long);
    await paste(viewer, site, "the long text", ({ text }) => text === long);
    await viewer.page.keyboard.type("!");
    await site.report("its end", ({ text }) => text === `${long}!`);
    await viewer.page.keyboard.press("Control+a");
    await viewer.page.keyboard.press("Control+c");
    await viewer.until(
      "the copied text",
      (expected) => window.viewer.events.some(({ name, text }) => name === "clipboard" && text === expected),
      `${long}!`,
    );
    await viewer.close();
  });

  it("stays maximised through odd sizes", async () => {
    const { url } = await service.open(uid, {});
    const viewer = await view(browser, service.streams + url, { width: 911, height: 601 });
    await viewer.sized(911, 601);
    await viewer.filled(second.colour, 0.5);
    for (const [width, height] of [[801, 777], [1177, 703]]) {
      site.forget();
      await viewer.page.setViewportSize({ width, height });
      await viewer.sized(width, height);
      // Firefox itself says how wide its page is: the whole desktop.
      await site.report(`a page ${width} wide`, (report) => report.width === width);
      await viewer.filled(second.colour, 0.5);
    }
    await viewer.screenshot("firefox-resized");
    await viewer.close();
  });

  it("keeps its content sandbox", async () => {
    const name = `${service.name}-${uid}`;
    // Every process has the container's own filter of system calls. Firefox gives web content a second, stricter
    // one, and a user namespace of its own, in which it takes its file system and its network away.
    const script = `for process in /proc/[0-9]*; do
        filters=$(sed -n 's/^Seccomp_filters:[[:space:]]*//p' "$process/status")
        echo "$filters $(readlink "$process/ns/user") $(tr '\\0' ' ' <"$process/cmdline")"
      done 2>/dev/null`;
    const processes = (await docker("exec", name, "sh", "-c", script)).split("\n").map((line) => {
      const [filters, namespace, ...command] = line.split(" ");
      return { filters: Number(filters), namespace, command: command.join(" ").trim() };
    });
    const initial = processes.find(({ command }) => command.startsWith("firefox-esr --profile"));
    const content = processes.filter(({ command }) => /-contentproc .* tab$/.test(command));
    assert.ok(initial, JSON.stringify(processes));
    assert.ok(content.length, `no content process among ${JSON.stringify(processes)}`);
    assert.ok(initial.filters >= 1, "the container runs without a seccomp profile");
    for (const process of content) {
      assert.ok(process.filters > initial.filters, JSON.stringify(process));
      assert.notEqual(process.namespace, initial.namespace, JSON.stringify(process));
    }
  });

  it("is stopped when nobody looks, and comes back with the same tabs", async () => {
    await until("the desktop is stopped", async () => {
      const { body } = await service.call("GET", `/api/vm/ws/${uid}`);
      return body.details === "container not running" && !("url" in body);
    });
    await until("its container is removed", async () => !(await containers(`${service.name}-${uid}`)).length);

    site.forget();
    const { url } = await service.open(uid, {});
    const viewer = await view(browser, service.streams + url);
    // The tab that was selected last is loaded again at once, the other one when it is selected.
    await viewer.filled(second.colour, 0.5);
    await site.report("the second page", ({ page }) => page === second.name);
    await select(viewer, 1, first);
    await site.report("the first page", ({ page }) => page === first.name);
    await select(viewer, 2, second);
    await viewer.screenshot("firefox-restored");
    await viewer.close();
  });
});
