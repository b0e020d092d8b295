// The launcher as people use it: with the mouse, with the keyboard alone, in three languages, on a telephone and a wall.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, startBrowser } from "../support/browser.mjs";
import { fits, openConsole, picture, seriousFindings, tabTo } from "../support/console.mjs";
import { docker } from "../support/docker.mjs";
import { startProxy } from "../support/proxy.mjs";
import { startService } from "../support/service.mjs";
import { ConsoleViewer, hasPicture } from "../support/viewer.mjs";
import { until } from "../support/wait.mjs";

const catalog = `
[app.broken]
title = "Broken"
description = "Complains, and gives up."
image = "cosage/base:latest"
build = "images/base"
password = true

[app.broken.stream.vnc]
port = 5999
protocol = "rfb"

[app.patient]
title = "Patient"
description = "Never answers, and takes its time."
image = "cosage/tiny:latest"
pull = "never"
start = "120s"

[app.patient.stream.vnc]
port = 5999
protocol = "rfb"

[app.options]
title = "Options"
description = "Has an option of every kind."
image = "cosage/tiny:latest"
build = "images/tiny"
password = true

[app.options.stream.vnc]
port = 5900
protocol = "rfb"

[app.options.env.NUMBER]
type = "integer"
min = 1
max = 9
title = "A number"
required = true

[app.options.env.CHOICE]
type = "choice"
options = ["one", "two"]
title = "A choice"

[app.options.env.FLAG]
type = "boolean"
title = "A flag"

[app.options.env.PAGES]
type = "urls"
title = "Pages"

[app.options.env.TZ]
type = "timezone"

[app.options.env.LANG]
type = "language"

[app.elsewhere]
title = "Elsewhere"
description = "Its image was never built."
image = "cosage/never-built:latest"
build = "images/tiny"

[app.elsewhere.stream.vnc]
port = 5900
protocol = "rfb"
`;

/** Lets a page remember every text that its progress bars had. */
const rememberProgress = (page) =>
  page.evaluate(() => {
    globalThis.progress = [];
    new MutationObserver(() => {
      const text = document.querySelector('dialog [role="progressbar"]')?.getAttribute("aria-label");
      if (text && globalThis.progress.at(-1) !== text) {
        globalThis.progress.push(text);
        sessionStorage.setItem("progress", JSON.stringify(globalThis.progress));
      }
    }).observe(document.body, { subtree: true, childList: true, attributes: true });
  });

describe("the launcher", () => {
  let service, browser;

  before(async () => {
    browser = await startBrowser();
    service = await startService("launcher", { catalog });
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await service?.stop();
  });

  const uidOf = (page) => decodeURIComponent(new URL(page.url()).pathname.split("/view/")[1]);

  it("starts a desktop with one click, and says how far it is", async () => {
    const page = await openConsole(browser, service.api);
    await page.getByRole("button", { name: "Start Tiny" }).waitFor();
    await rememberProgress(page);
    await page.getByRole("button", { name: "Start Tiny" }).click();
    await page.waitForURL(/\/view\//);
    const progress = JSON.parse(await page.evaluate(() => sessionStorage.getItem("progress")));
    assert.ok(progress.includes("Starting …") || progress.includes("Waiting for the display …"), `${progress}`);
    assert.equal(progress.lastIndexOf("Asking for it …"), progress.indexOf("Asking for it …"), `it went back: ${progress}`);
    const { body } = await service.call("GET", `/api/vm/${uidOf(page)}`);
    assert.deepEqual([body.app, body.status], ["tiny", "ready"]);
    assert.deepEqual(page.complaints, []);
  });

  it("goes to a desktop and back without losing its way", async () => {
    await service.open("to-and-fro", { vm: "tiny" });
    const page = await openConsole(browser, service.api);
    await page.locator(".card.desktop", { hasText: "to-and-fro" }).getByRole("link").click();
    const viewer = new ConsoleViewer(page);
    await viewer.live();
    await viewer.corners(1280, 800);
    // What the launcher's page was laid out by is not the viewer's business.
    assert.ok(await fits(page));
    assert.deepEqual(await seriousFindings(page), []);
    await page.goBack();
    await page.getByRole("heading", { name: "Recent desktops" }).waitFor();
    await page.goForward();
    await viewer.live();
    await page.reload();
    await viewer.live();
    assert.equal(uidOf(page), "to-and-fro");
    assert.deepEqual(page.complaints, []);
  });

  it("goes to the desktop's page where the viewer cannot be loaded beforehand", async () => {
    const page = await openConsole(browser, service.api);
    let refused = 0;
    await page.route(/\/assets\/show-/, (route) => (refused++ < 2 ? route.abort() : route.continue()));
    await page.locator(".card.desktop", { hasText: "to-and-fro" }).getByRole("link").click();
    await page.waitForURL(/\/view\/to-and-fro$/);
    assert.ok(refused > 0);
    await page.unrouteAll();
    await page.reload();
    await new ConsoleViewer(page).live();
  });

  it("starts a desktop with the keyboard alone", async () => {
    const page = await openConsole(browser, service.api);
    await page.getByRole("button", { name: "Options of Options" }).waitFor();
    await tabTo(page, "Start Options");
    await page.keyboard.press("Enter");
    const dialog = page.getByRole("dialog", { name: "Options" });
    await dialog.waitFor();
    // What is needed and absent is said where it is, and the focus is there.
    await page.keyboard.press("Enter");
    const number = dialog.getByRole("textbox", { name: "A number" });
    await until("the field is complained about", async () => (await number.getAttribute("aria-invalid")) === "true");
    assert.equal(await number.evaluate((field) => document.activeElement === field), true);
    assert.ok(await dialog.getByText("This is needed.").isVisible());
    await page.keyboard.type("12");
    await page.keyboard.press("Enter");
    await dialog.locator(".problem", { hasText: "A whole number from 1 to 9." }).waitFor();
    await page.keyboard.press("Backspace");
    await tabTo(page, "Pages, 1");
    await page.keyboard.type("example.org");
    await page.keyboard.press("Enter");
    await until("a second row has the focus", () =>
      page.evaluate(() => document.activeElement?.getAttribute("aria-label") === "Pages, 2"));
    await page.keyboard.type("about:blank");
    await tabTo(page, "Start");
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/view\//);
    const { body } = await service.call("GET", `/api/vm/${uidOf(page)}`);
    assert.deepEqual([body.app, body.status], ["options", "ready"]);
    assert.deepEqual(page.complaints, []);
  });

  it("tells a new desktop the browser's time zone and language", async () => {
    const page = await openConsole(browser, service.api, "/", { locale: "pt-BR", timezoneId: "Asia/Tokyo" });
    await page.getByRole("button", { name: "Start Options" }).click();
    const dialog = page.getByRole("dialog", { name: "Options" });
    await dialog.getByRole("textbox", { name: "A number" }).fill("5");
    await dialog.getByRole("button", { name: "Start" }).click();
    await page.waitForURL(/\/view\//);
    const { body } = await service.call("GET", `/api/vm/${uidOf(page)}`);
    assert.equal(body.status, "ready");
    const name = `${service.name}-${uidOf(page)}`;
    assert.equal((await docker("exec", name, "sh", "-c", "date +%Z && echo $LANG")).trim(), "JST\npt_BR.UTF-8");
  });

  it("closes a dialog with Escape, and gives the focus back", async () => {
    const page = await openConsole(browser, service.api);
    const button = page.getByRole("button", { name: "Options of Firefox" });
    await button.click();
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    assert.equal(await button.evaluate((element) => document.activeElement === element), true);
  });

  it("shows why a start failed, and what the app wrote last", async () => {
    const page = await openConsole(browser, service.api);
    await page.getByRole("button", { name: "Start Broken" }).click();
    const dialog = page.getByRole("dialog", { name: "Broken could not be started" });
    await dialog.waitFor();
    assert.match(await dialog.getByRole("alert").textContent(), /ended by itself/);
    assert.match(await dialog.locator(".logs").textContent(), /the application ended with status 127/);
    assert.deepEqual(await seriousFindings(page), []);
    await picture(page, "console-failed");
    await dialog.getByRole("button", { name: "Close" }).last().click();
    await dialog.waitFor({ state: "detached" });
    // Of a first start that failed nothing is left.
    assert.equal(await page.locator(".card.desktop", { hasText: "Broken" }).count(), 0);
  });

  it("says that an image is not there, and how to build it", async () => {
    const page = await openConsole(browser, service.api);
    await page.locator(".card.app", { hasText: "Elsewhere" }).getByText("Its image is not on this host yet.").waitFor();
    await page.getByRole("button", { name: "Start Elsewhere" }).click();
    await page.getByRole("dialog").getByText("images/build tiny").waitFor();
  });

  it("offers recent desktops, and starts one that sleeps, stops it and deletes it", async () => {
    await service.open("office", { vm: "tiny" });
    const page = await openConsole(browser, service.api, "/view/office");
    await new ConsoleViewer(page).live();
    await page.goto(service.api);
    await hasPicture(service, "office");
    const card = page.locator(".card.desktop", { hasText: "office" });
    await card.getByText("Running").waitFor();
    await card.getByRole("button", { name: "Stop Tiny, office" }).click();
    const dialog = page.getByRole("dialog", { name: "Stop Tiny?" });
    await dialog.waitFor();
    // What is safe has the focus.
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Cancel");
    await dialog.getByRole("button", { name: "Stop" }).click();
    const all = page.getByRole("button", { name: "Show more" });
    await card.getByText("Asleep").or(all).first().waitFor();
    if (await all.count()) await all.click();
    await card.getByText("Asleep").waitFor();
    await until("its last picture is shown", () =>
      card.locator(".thumbnail img:not(.app-icon)").evaluate((image) => image.complete && image.naturalWidth > 0));
    await card.getByRole("link").click();
    await page.waitForURL(/\/view\/office$/);
    assert.equal((await service.call("GET", "/api/vm/office")).body.status, "ready");

    await page.goto(service.api);
    await card.getByRole("button", { name: "Delete Tiny, office" }).click();
    await page.getByRole("dialog").getByText("This cannot be undone.").waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await card.waitFor({ state: "detached" });
    assert.equal((await service.call("GET", "/api/vm/office")).status, 404);
    assert.deepEqual(page.complaints, []);
  });

  it("calls a start off, of which nothing is left", async () => {
    const page = await openConsole(browser, service.api);
    // The click is answered before the service has said anything.
    let uid;
    await page.route("**/api/vm/any/*", async (route) => {
      uid = route.request().url().split("/").at(-1);
      await route.continue();
    });
    await page.getByRole("button", { name: "Start Patient" }).click();
    await until("the desktop is known", async () => uid && (await service.call("GET", `/api/vm/${uid}`)).status === 200);
    await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
    await until("it is gone", async () => (await service.call("GET", `/api/vm/${uid}`)).status === 404);
    assert.equal(new URL(page.url()).pathname, "/");
  });

  it("speaks the browser's language, and another one when it is told to", async () => {
    const german = await openConsole(browser, service.api, "/", { locale: "de-AT" });
    await german.getByRole("heading", { name: "Anwendungen", exact: true }).waitFor();
    assert.equal(await german.evaluate(() => document.documentElement.lang), "de");
    await german.getByRole("combobox", { name: "Sprache" }).selectOption("ja");
    await german.getByRole("heading", { name: "アプリ", exact: true }).waitFor();
    await german.reload();
    await german.getByRole("button", { name: "Tiny を起動" }).waitFor();
    assert.deepEqual(german.complaints, []);
  });

  it("is light or dark as the system is, or as it is told", async () => {
    const page = await openConsole(browser, service.api, "/", { colorScheme: "dark" });
    const brightness = () => page.evaluate(() => {
      const context = new OffscreenCanvas(1, 1).getContext("2d");
      context.fillStyle = getComputedStyle(document.documentElement).backgroundColor;
      context.fillRect(0, 0, 1, 1);
      return context.getImageData(0, 0, 1, 1).data[0];
    });
    assert.ok((await brightness()) < 64);
    await page.getByRole("button", { name: "Appearance: as the system" }).click();
    await page.getByRole("button", { name: "Appearance: light" }).waitFor();
    assert.ok((await brightness()) > 192);
    await page.reload();
    await page.getByRole("button", { name: "Appearance: light" }).waitFor();
    assert.ok((await brightness()) > 192);
  });

  it("fits a telephone and a wall, light and dark, and axe finds nothing serious", async () => {
    await service.open("wall", { vm: "tiny" });
    for (const [width, height] of [[360, 740], [1280, 800], [3840, 2160]]) {
      for (const colorScheme of ["light", "dark"]) {
        const page = await openConsole(browser, service.api, "/", { width, height, colorScheme });
        await page.getByRole("button", { name: "Start Tiny" }).waitFor();
        await page.locator(".card.desktop").first().waitFor();
        assert.ok(await fits(page), `something is wider than ${width} px`);
        assert.deepEqual(await seriousFindings(page), [], `${width} px, ${colorScheme}`);
        await picture(page, `console-launcher-${width}-${colorScheme}`);
        if (width < 3840) {
          await page.getByRole("button", { name: "Options of Firefox" }).click();
          await page.getByRole("dialog").waitFor();
          assert.ok(await fits(page), `the dialog is wider than ${width} px`);
          assert.deepEqual(await seriousFindings(page), [], `options, ${width} px, ${colorScheme}`);
          await picture(page, `console-options-${width}-${colorScheme}`);
        }
        assert.deepEqual(page.complaints, []);
        await page.context().close();
      }
    }
  });

  it("works below a path of a proxy", async () => {
    const proxy = await startProxy(service.api, "/some/desk/");
    try {
      const page = await openConsole(browser, new URL(proxy.url).origin, "/some/desk/");
      await page.getByRole("button", { name: "Start Tiny" }).click();
      await page.waitForURL(/\/some\/desk\/view\/[^/]+$/);
      assert.equal((await service.call("GET", `/api/vm/${uidOf(page)}`)).body.status, "ready");
      await page.goto(`${proxy.url}operations`);
      await page.getByRole("link", { name: "Apps" }).click();
      await page.getByRole("heading", { name: "Recent desktops" }).waitFor();
      assert.equal(new URL(page.url()).pathname, "/some/desk/");
      await page.goto(`${proxy.url}no/such/page`);
      await page.getByText("There is no page at /no/such/page.").waitFor();
      assert.deepEqual(await seriousFindings(page), []);
      await page.getByRole("link", { name: "Go to the apps" }).click();
      await page.getByRole("heading", { name: "Recent desktops" }).waitFor();
      assert.deepEqual(page.complaints, []);
    } finally {
      proxy.stop();
    }
  });

  it("says why a desktop sleeps", async () => {
    await service.open("sleepy", { vm: "tiny" });
    const page = await openConsole(browser, service.api);
    const card = page.locator(".card.desktop", { hasText: "sleepy" });
    await card.getByText("Running").waitFor();
    await service.call("DELETE", "/api/vm/sleepy");
    const all = page.getByRole("button", { name: "Show more" });
    await card.getByText("Asleep").or(all).first().waitFor();
    if (await all.count()) await all.click();
    await card.getByText("Asleep").waitFor();
    await card.getByText("was stopped").waitFor();
    assert.deepEqual(await seriousFindings(page), []);
    await picture(page, "launcher-ended");
    await page.goto(`${service.api}/operations`);
    const row = page.getByRole("row", { name: /sleepy/ });
    await row.getByText("was stopped").waitFor();
    await row.getByRole("button", { name: /^Details of/ }).click();
    await page.getByText("Somebody stopped it; ask for it and it starts.").waitFor();
    assert.deepEqual(page.complaints, []);
  });

  it("leads to the licences of what it is built from", async () => {
    const page = await openConsole(browser, service.api);
    const licences = await page.getByRole("link", { name: "Licences" }).getAttribute("href");
    const response = await fetch(licences);
    assert.equal(response.headers.get("content-type"), "text/plain; charset=utf-8");
    const text = await response.text();
    for (const part of ["@novnc/novnc 1", "Mozilla Public License Version 2.0", "https://github.com/novnc/noVNC", "preact 1", "pako"]) {
      assert.ok(text.includes(part), part);
    }
  });

  it("loads at most 150 KiB the first time, and next to nothing after", async () => {
    const page = await openConsole(browser, service.api);
    await page.getByRole("button", { name: "Start Tiny" }).waitFor();
    const loaded = () =>
      page.evaluate(() =>
        [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
          .filter(({ name }) => !name.includes("/api/"))
          .reduce((sum, { transferSize }) => sum + transferSize, 0));
    const first = await loaded();
    assert.ok(first > 0 && first <= 150 * 1024, `${first} bytes`);
    await page.reload();
    await page.getByRole("button", { name: "Start Tiny" }).waitFor();
    const second = await loaded();
    assert.ok(second < 2048, `${second} bytes the second time`);
  });
});
