// Sharing a desktop: links with a role, who is connected, and what somebody sees who has nothing but a link.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, startBrowser } from "../support/browser.mjs";
import { startService } from "../support/service.mjs";
import { colourOf, openViewer } from "../support/viewer.mjs";
import { until } from "../support/wait.mjs";

const white = [255, 255, 255];
const background = [0x10, 0x20, 0x30];

/** Waits until the desktop was clicked there, beside the very place, where somebody else's pointer may be drawn. */
const drawn = (viewer, x) => viewer.pixel(x - 2, 498, white);

describe("sharing", () => {
  let service, browser;

  before(async () => {
    browser = await startBrowser();
    service = await startService("sharing");
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await service?.stop();
  });

  /** Whoever has a running tiny desktop, with its share panel open. */
  async function owner(uid, context) {
    await service.open(uid, { vm: "tiny" });
    const viewer = await openViewer(browser, `${service.api}/view/${uid}`, context);
    await viewer.live();
    await viewer.painted();
    await viewer.tool("share");
    await viewer.page.waitForSelector('.panel[data-panel="share"]');
    return viewer;
  }

  /** Makes a link by the panel. */
  async function link(viewer, { role = "look on", expires = "in a day" } = {}) {
    const { page } = viewer;
    const before = (await page.locator("#share-made").count()) ? await page.inputValue("#share-made") : "";
    await page.getByLabel(role, { exact: true }).check();
    await page.getByLabel("It ends").selectOption(expires);
    await page.getByRole("button", { name: "Make a link" }).click();
    await viewer.until("a new link", (before) => {
      const field = document.querySelector("#share-made");
      return field && field.value !== before;
    }, before);
    return page.inputValue("#share-made");
  }

  /** Somebody who has only that link; what they ask of the API is noted. */
  async function guest(address, context) {
    const viewer = await openViewer(browser, address, context);
    await viewer.live();
    return viewer;
  }

  const tools = async (viewer) => {
    await viewer.page.mouse.move(500, 60);
    await viewer.page.mouse.move(512, 1);
    return viewer.page.locator('[role="toolbar"] > *').evaluateAll((tools) => tools.map(({ id }) => id.replace("tool-", "")));
  };
  const connected = (viewer) => viewer.page.locator("section[aria-labelledby=share-connected] li");

  it("lets a guest look on and nothing more, until the role is switched, and ends when the link is withdrawn", async () => {
    const host = await owner("wall");
    const address = await link(host);
    assert.ok(address.startsWith(`${service.api}/view/#share=`), address);
    assert.ok(!address.includes("wall"), address);
    const asked = [];
    const viewer = await openViewer({
      newContext: async (options) => {
        const context = await browser.newContext(options);
        context.on("request", (request) => asked.push(new URL(request.url()).pathname));
        return context;
      },
    }, address);
    await viewer.live();
    await viewer.corners(1024, 640);
    assert.equal(await viewer.page.title(), "Tiny");
    assert.deepEqual(await tools(viewer), ["display", "clipboard", "picture", "fullscreen"]);
    assert.match(await viewer.page.textContent(".tools .about"), /^Tiny · You may look on\. This ends (tomorrow|in 23 hours)\.$/);
    await viewer.assertClean();
    await viewer.screenshot("viewer-guest");

    // A drawing that Escape would wipe.
    await host.page.mouse.click(150, 500);
    await drawn(viewer, 150);
    await viewer.page.mouse.click(250, 500);
    await viewer.focused();
    await viewer.page.keyboard.press("Escape");

    await until("both are listed", async () => (await connected(host).count()) === 2);
    const roles = connected(host).locator("select");
    assert.deepEqual(await roles.evaluateAll((selects) => selects.map(({ value }) => value)), ["control", "view"]);
    await host.assertClean();
    await roles.nth(1).selectOption("control");
    await until("the role is switched", async () => (await service.call("GET", "/api/vm/wall/viewers")).body[1].role === "control");
    // What the guest did before is before this.
    await viewer.page.mouse.click(350, 500);
    await drawn(viewer, 350);
    await drawn(viewer, 150);
    await viewer.pixel(248, 498, background);
    await viewer.page.keyboard.press("a");
    await viewer.middle(colourOf(0x61));

    await host.page.getByRole("button", { name: /^Withdraw: Link, made/ }).click();
    await host.page.waitForSelector("dialog[open]");
    await host.assertClean();
    await host.page.locator("dialog .danger").click();
    await viewer.state("over");
    assert.match(await viewer.page.textContent(".notice"), /This link was withdrawn/);
    assert.match(await viewer.page.textContent('[role="status"]'), /This link was withdrawn/);
    assert.equal(await viewer.page.locator(".notice :is(a, button)").count(), 0);
    await viewer.assertClean();
    await viewer.screenshot("viewer-guest-over");
    await until("the link is gone from the list", async () => (await host.page.getByText("None but the desktop's own.").count()) === 1);
    await viewer.page.reload();
    await viewer.state("over");
    assert.match(await viewer.page.textContent(".notice"), /This link leads nowhere/);
    await viewer.assertClean();
    assert.deepEqual(asked.filter((path) => path.includes("/api/") || path.includes("wall")), []);

    // Another link in the same window is another page.
    const next = await link(host);
    await viewer.page.evaluate((next) => void (location.href = next), next);
    await viewer.live();
  });

  it("gives a guest what the link's role gives now", async () => {
    const host = await owner("helper");
    await host.page.getByLabel("steer", { exact: true }).check();
    await host.page.getByLabel("and put texts into its clipboard").uncheck();
    const viewer = await guest(await link(host, { role: "steer", expires: "not by itself" }));
    assert.deepEqual(await tools(viewer), ["display", "clipboard", "keys", "picture", "fullscreen", "view-only"]);
    assert.equal(await viewer.page.textContent(".tools .about"), "Tiny · You may steer.");
    await viewer.tool("clipboard");
    await viewer.page.waitForSelector("#clipboard-from");
    assert.equal(await viewer.page.locator("#clipboard-to").count(), 0);
    await viewer.page.click(".panel header button");
    await viewer.focused();
    await viewer.page.keyboard.press("b");
    await viewer.middle(colourOf(0x62));

    const role = host.page.locator("section[aria-labelledby=share-links] select");
    await role.selectOption("view");
    await until("the link's role is switched", async () => (await service.call("GET", "/api/vm/helper/shares")).body[0].role === "view");
    // The toolbar asks each time it comes.
    await until("the tools are those of the role", async () => {
      await viewer.page.mouse.move(512, 400);
      await viewer.page.waitForSelector('.dock[data-shown="false"]');
      return (await tools(viewer)).join() === "display,clipboard,picture,fullscreen";
    });
    await viewer.tool("display");
    assert.deepEqual(await viewer.page.locator(".panel input[name=resize]").count(), 2);
    await viewer.assertClean();
  });

  it("takes control from all viewers but this page, until it gives control back", async () => {
    const host = await owner("class");
    const invited = await guest(await link(host, { role: "steer" }));
    const other = await guest(`${service.api}/view/class`);
    const mayOnlyWatch = async (viewer) => {
      const watchers = ["display", "clipboard", "picture", "fullscreen"];
      await until("the tools are those of a watcher", async () => {
        await viewer.page.mouse.move(512, 400);
        await viewer.page.waitForSelector('.dock[data-shown="false"]', { state: "attached" });
        const found = await tools(viewer);
        return watchers.every((name) => found.includes(name)) && !found.includes("keys");
      });
    };
    await host.page.getByRole("button", { name: "Take control from all other viewers" }).click();
    await host.page.getByText("Only this page has control.").waitFor();
    await host.assertClean();
    await host.screenshot("viewer-sharing-taken");
    const roles = async () => (await service.call("GET", "/api/vm/class/viewers")).body.map(({ role }) => role);
    assert.deepEqual(await roles(), ["control", "view", "view"]);
    for (const viewer of [invited, other]) await mayOnlyWatch(viewer);

    // Coming back gives nobody more, and takes nothing from the page that has control.
    for (const viewer of [host, invited, other]) {
      await viewer.page.reload();
      await viewer.live();
    }
    for (const viewer of [invited, other]) {
      await viewer.page.mouse.click(150, 500);
      await mayOnlyWatch(viewer);
    }
    await host.page.mouse.click(250, 500);
    await drawn(host, 250);
    await host.pixel(148, 498, background);

    // Another page of an owner sees the rule, and can lift it.
    await other.tool("share");
    await other.page.getByText("Control was taken from all viewers but one page, and this is not it.").waitFor();
    await other.assertClean();
    await other.page.getByRole("button", { name: "Give control back" }).click();
    await other.page.getByText("This page keeps control.").waitFor();
    assert.equal(await other.page.getByRole("button", { name: "Give control back" }).count(), 0);
    await other.page.keyboard.press("Escape");
    for (const [viewer, x] of [[invited, 150], [other, 350]]) {
      await viewer.page.mouse.click(x, 500);
      await drawn(viewer, x);
    }
  });

  it("lets a guest wait for a desktop that sleeps, which the guest cannot start", async () => {
    const host = await owner("sleeper");
    const viewer = await guest(await link(host));
    await service.call("DELETE", "/api/vm/sleeper");
    await viewer.state("asleep");
    assert.match(await viewer.page.textContent(".notice"), /was stopped.*when somebody starts it/);
    assert.deepEqual(await viewer.page.locator(".notice :is(a, button)").allTextContents(), ["Try now"]);
    await viewer.assertClean();
    await service.open("sleeper", {});
    await viewer.live();
  });

  it("says so when a link cannot be made", async () => {
    const host = await owner("refused");
    const refusal = { details: "this desktop has 100 shares already; delete one of them", code: "too_many_shares" };
    await host.page.route("**/api/vm/refused/shares", (route) =>
      route.request().method() === "POST" ? route.fulfill({ status: 409, json: refusal }) : route.continue(),
    );
    await host.page.getByRole("button", { name: "Make a link" }).click();
    await host.page.getByText(refusal.details).waitFor();
    assert.equal(await host.page.locator("#share-made").count(), 0);
  });

  it("says that a link leads nowhere, and not that the network does", async () => {
    for (const address of ["#share=00000000000000000000000000000000", "#share=", ""]) {
      const viewer = await openViewer(browser, `${service.api}/view/${address}`);
      await viewer.state("over");
      await viewer.assertClean();
    }
  });

  it("is as good at 360 pixels, light and dark, and in every language", async () => {
    for (const [width, colorScheme, locale] of [[360, "light", "en-GB"], [360, "dark", "de-DE"], [1024, "dark", "en-GB"], [360, "light", "ja-JP"]]) {
      const host = await owner("panel", { width, height: 900, colorScheme, locale, reducedMotion: "reduce" });
      await host.page.locator('.panel button[type="submit"]').click();
      await host.page.waitForSelector("#share-made");
      await host.page.waitForSelector("section[aria-labelledby=share-links] li");
      await host.assertClean();
      const wide = await host.page.locator(".panel *").evaluateAll((all) => all.filter((one) => one.getBoundingClientRect().right > innerWidth).length);
      assert.equal(wide, 0);
      await host.screenshot(`viewer-sharing-${width}-${colorScheme}-${locale}`);
      await host.page.locator(".panel > .stack").evaluate((panel) => panel.scrollTo(0, panel.scrollHeight));
      await host.screenshot(`viewer-sharing-${width}-${colorScheme}-${locale}-end`);
      await host.close();
    }
  });
});
