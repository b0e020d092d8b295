// The operations page: everything that happens is seen as it happens, and many desktops are dealt with at a time.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, pages, startBrowser, view } from "../support/browser.mjs";
import { fits, openConsole, picture, seriousFindings, tabTo } from "../support/console.mjs";
import { startService } from "../support/service.mjs";
import { until } from "../support/wait.mjs";

describe("the operations page", () => {
  let service, browser;

  before(async () => {
    browser = await startBrowser();
    service = await startService("operations", { settings: { COSAGE_ALLOWED_ORIGINS: pages } });
    await Promise.all(["alpha", "beta", "gamma"].map((uid) => service.open(uid, { vm: "tiny" })));
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await service?.stop();
  });

  const row = (page, uid) => page.getByRole("row").filter({ hasText: uid });
  const cell = (page, uid, column) => row(page, uid).locator(`.of-${column}`);

  it("shows what happens when it happens", async () => {
    const page = await openConsole(browser, service.api, "/operations");
    await row(page, "alpha").getByText("Running").waitFor();
    assert.equal(await cell(page, "alpha", "viewers").textContent(), "0");
    const { body } = await service.call("GET", "/api/vm/alpha");
    const viewer = await view(browser, service.streams + body.url);
    await cell(page, "alpha", "viewers").getByText("1").waitFor();
    await viewer.close();
    await cell(page, "alpha", "viewers").getByText("0").waitFor();
    await cell(page, "alpha", "until").getByText(/^in /).waitFor();

    await service.call("DELETE", "/api/vm/alpha");
    await row(page, "alpha").getByText("Asleep").waitFor();
    await service.open("alpha", {});
    await row(page, "alpha").getByText("Running").waitFor();
    await service.open("delta", { vm: "tiny" });
    await row(page, "delta").getByText("Running").waitFor();
    await service.call("DELETE", "/api/vm/delta?forget=true");
    await row(page, "delta").waitFor({ state: "detached" });
    const polled = await page.evaluate(() => performance.getEntriesByType("resource").filter(({ name }) => new URL(name).pathname === "/api/vm").length);
    assert.equal(polled, 2, "what is active and the first page are read once");
    assert.deepEqual(page.complaints, []);
  });

  it("shows what desktops use while it is looked at", async () => {
    const page = await openConsole(browser, service.api, "/operations");
    await cell(page, "alpha", "memory").getByText(/^[0-9.]+ MiB$/).waitFor();
    await cell(page, "alpha", "cpu").getByText(/^[0-9]+%$/).waitFor();
    await cell(page, "alpha", "network").getByText(/^↑ .*\/s$/).waitFor();
    await page.getByText(/cores in use$/).waitFor();
    assert.deepEqual(page.complaints, []);
  });

  it("filters and orders", async () => {
    const page = await openConsole(browser, service.api, "/operations");
    await row(page, "alpha").waitFor();
    await page.getByRole("searchbox").fill("TINY be");
    await until("one row is left", async () => (await page.locator("tbody tr").count()) === 1);
    await row(page, "beta").waitFor();
    await page.getByRole("searchbox").fill("nothing");
    await page.getByText("No desktop matches.").waitFor();
    await page.getByRole("searchbox").fill("");
    await page.getByRole("button", { name: "Age" }).click();
    await page.getByRole("columnheader", { name: "Age" }).and(page.locator('[aria-sort="ascending"]')).waitFor();
    await page.getByRole("button", { name: "Age" }).click();
    await page.getByRole("columnheader", { name: "Age" }).and(page.locator('[aria-sort="descending"]')).waitFor();
    await page.getByRole("combobox", { name: "State" }).selectOption("asleep");
    await page.getByText("No desktop matches.").waitFor();
  });

  it("shows why a desktop lives, and what it wrote", async () => {
    const page = await openConsole(browser, service.api, "/operations");
    await row(page, "beta").getByRole("button", { name: "Details of Tiny beta" }).click();
    const details = page.getByRole("dialog", { name: "Tiny" });
    await details.getByText("Nobody is looking; it stops soon unless somebody does.").waitFor();
    const text = await (await fetch(`${service.api}/api/vm/beta/logs`)).text();
    await until("its lines are there", async () => {
      if (!text) return details.getByText("Nothing yet.").isVisible();
      return (await details.locator(".logs").textContent()) === text;
    });
    assert.deepEqual(await seriousFindings(page), []);
    await picture(page, "console-details");
    await page.keyboard.press("Escape");
    await details.waitFor({ state: "detached" });
    assert.deepEqual(page.complaints, []);
  });

  it("stops many with the keyboard alone", async () => {
    const page = await openConsole(browser, service.api, "/operations");
    await row(page, "gamma").getByText("Running").waitFor();
    await page.getByRole("button", { name: "Desktop" }).click();
    await tabTo(page, "Select Tiny alpha");
    await page.keyboard.press("Space");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Space");
    await page.getByText("2 selected").waitFor();
    await tabTo(page, "Stop", { key: "Shift+Tab" });
    await page.keyboard.press("Enter");
    await page.getByRole("dialog", { name: "Stop 2 desktops?" }).waitFor();
    await tabTo(page, "Stop");
    await page.keyboard.press("Enter");
    await page.getByText("2 desktops have ended.").waitFor();
    await row(page, "alpha").getByText("Asleep").waitFor();
    await row(page, "gamma").getByText("Asleep").waitFor();
    assert.equal((await service.call("GET", "/api/vm/beta")).body.status, "ready");
    assert.deepEqual(page.complaints, []);
  });

  it("fits a telephone and a wall, light and dark, and axe finds nothing serious", async () => {
    for (const [width, height] of [[360, 740], [1280, 800], [3840, 2160]]) {
      for (const colorScheme of ["light", "dark"]) {
        const page = await openConsole(browser, service.api, "/operations", { width, height, colorScheme });
        await row(page, "beta").waitFor();
        assert.ok(await fits(page), `something is wider than ${width} px`);
        assert.deepEqual(await seriousFindings(page), [], `${width} px, ${colorScheme}`);
        await picture(page, `console-operations-${width}-${colorScheme}`);
        assert.deepEqual(page.complaints, []);
        await page.context().close();
      }
    }
  });

  it("has only those of a thousand desktops in the page that are seen", async () => {
    const page = await openConsole(browser, service.api, "/operations");
    await row(page, "beta").waitFor();
    const [one] = (await service.call("GET", "/api/vm")).body;
    const many = Array.from({ length: 1000 }, (_, index) => ({ ...one, status: "ready", uid: `desk-${String(index).padStart(4, "0")}` }));
    await page.route("**/api/vm?*", (route) => route.fulfill({ json: { desktops: route.request().url().includes("active") ? many : [] } }));
    await page.reload();
    await page.getByText("1,000 desktops are shown.").waitFor();
    await page.getByRole("button", { name: "Desktop" }).click();
    assert.ok((await page.locator("tbody tr").count()) < 60);
    await row(page, "desk-0000").waitFor();
    await page.keyboard.press("End");
    await row(page, "desk-0999").waitFor();
    assert.ok((await page.locator("tbody tr").count()) < 60);
    // Every row is where it would be if all were there.
    const last = page.locator("tbody tr", { hasText: "desk-0999" });
    assert.equal(await last.getAttribute("aria-rowindex"), "1001");
    await page.getByRole("checkbox", { name: "Select all" }).check();
    await page.getByText("1,000 selected").waitFor();
  });

  it("says when the service does not answer, and goes on when it does", async () => {
    const page = await openConsole(browser, service.api, "/operations");
    await row(page, "beta").waitFor();
    const context = page.context();
    await context.route("**/api/events*", (route) => route.abort());
    // The page is left and seen again: the feed begins anew.
    await page.evaluate(() => {
      Object.defineProperty(document, "hidden", { configurable: true, value: true });
      document.dispatchEvent(new Event("visibilitychange"));
      delete document.hidden;
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await page.locator(".offline").waitFor();
    await context.unroute("**/api/events*");
    await page.locator(".offline").waitFor({ state: "detached" });
    await service.call("DELETE", "/api/vm/beta");
    await row(page, "beta").getByText("Asleep").waitFor();
  });
});
