// The console with more desktops than anybody reads in one piece: what is active is live, the rest comes in pages.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, startBrowser } from "../support/browser.mjs";
import { fits, openConsole, picture, seriousFindings, tabTo } from "../support/console.mjs";
import { startService } from "../support/service.mjs";
import { until } from "../support/wait.mjs";

const count = 230;
const uidOf = (number) => `desk-${String(number).padStart(3, "0")}`;

describe("the console with many desktops", () => {
  let service, browser;

  before(async () => {
    browser = await startBrowser();
    service = await startService("many", { settings: { COSAGE_ENGINE: "fake", COSAGE_MEMORY_RESERVE: "0" } });
    for (let number = 0; number < count; number++) {
      const uid = uidOf(number);
      await service.open(uid, { vm: number % 2 ? "tiny" : "blender" });
      await service.call("DELETE", `/api/vm/${uid}`);
    }
    await service.open("lobby", { vm: "tiny" });
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await service?.stop();
  });

  /** The queries with which a page has asked for desktops. */
  const listed = (page) =>
    page.evaluate(() =>
      performance
        .getEntriesByType("resource")
        .map(({ name }) => new URL(name))
        .filter(({ pathname }) => pathname === "/api/vm")
        .map(({ search }) => search));

  it("offers those that were used last, and more for the keyboard and for a finger", async () => {
    const page = await openConsole(browser, service.api, "/", { hasTouch: true });
    const cards = page.locator(".card.desktop");
    const card = (uid) => cards.filter({ hasText: uid });
    await card("lobby").getByText("Running").waitFor();
    await card(uidOf(count - 1)).waitFor();
    assert.equal(await cards.count(), 4);
    assert.deepEqual((await listed(page)).sort(), ["?sort=used&limit=100", "?status=active&limit=1000"]);
    await tabTo(page, "Show more");
    await page.keyboard.press("Enter");
    await until("28 are there", async () => (await cards.count()) === 28);
    await until("the first new one has the focus", () =>
      cards.nth(4).evaluate((element) => element.contains(document.activeElement)));
    await page.getByText("28 desktops are shown.").waitFor({ state: "attached" });
    for (let shown = 28; shown < count + 1; shown = Math.min(shown + 24, count + 1)) {
      await until(`${shown} are there`, async () => (await cards.count()) === shown);
      await page.getByRole("button", { name: "Show more" }).tap();
    }
    await card(uidOf(0)).waitFor();
    assert.equal(await page.getByRole("button", { name: "Show more" }).count(), 0);
    await page.getByRole("button", { name: "Show fewer" }).tap();
    await until("4 are there", async () => (await cards.count()) === 4);
    // One that nobody has read is live as soon as it starts.
    await service.open(uidOf(3), {});
    await cards.first().getByText(uidOf(3)).waitFor();
    await service.call("DELETE", `/api/vm/${uidOf(3)}`);
    await cards.nth(1).getByText(uidOf(3)).waitFor();
    assert.deepEqual(await seriousFindings(page), []);
    await picture(page, "console-many-launcher");
    assert.deepEqual(page.complaints, []);
  });

  it("finds one of them by its name", async () => {
    const page = await openConsole(browser, service.api);
    const cards = page.locator(".card.desktop");
    await page.getByRole("searchbox", { name: "Search desktops" }).fill("blender 01");
    await until("what fits is left", async () => (await cards.count()) === 4 && (await cards.first().textContent()).includes("desk-018"));
    await page.getByRole("searchbox", { name: "Search desktops" }).fill("nothing");
    await page.getByText("No desktop matches.").waitFor();
    await picture(page, "console-many-search");
    assert.deepEqual(page.complaints, []);
  });

  it("has pages of them in operations, by search, state and app", async () => {
    const page = await openConsole(browser, service.api, "/operations");
    const shown = (n) => page.getByText(n === 1 ? "1 desktop is shown." : `${n} desktops are shown.`).waitFor();
    await page.getByRole("row").filter({ hasText: "lobby" }).getByText("Running").waitFor();
    await picture(page, "console-many-operations");
    await tabTo(page, "Show more", { key: "Shift+Tab" });
    await page.keyboard.press("Enter");
    await shown(200);
    // The button keeps the focus.
    await page.keyboard.press("Enter");
    await shown(count + 1);
    await until("that was all", async () => (await page.getByRole("button", { name: "Show more" }).count()) === 0);
    assert.ok((await page.locator("tbody tr").count()) < 60);

    await page.reload();
    await page.getByRole("combobox", { name: "State" }).selectOption("active");
    await shown(1);
    assert.equal(await page.getByRole("button", { name: "Show more" }).count(), 0);
    await page.getByRole("combobox", { name: "State" }).selectOption("asleep");
    await shown(100);
    await page.getByRole("combobox", { name: "App" }).selectOption("Blender");
    await page.getByRole("searchbox").fill("desk-00");
    await shown(5);
    await page.getByRole("combobox", { name: "State" }).selectOption("failed");
    await page.getByText("No desktop matches.").waitFor();
    assert.ok((await listed(page)).every((query) => query.includes("limit=")));
    assert.deepEqual(page.complaints, []);
  });

  it("fits a telephone, in German and Japanese", async () => {
    for (const [locale, more] of [["de-DE", "Mehr zeigen"], ["ja-JP", "さらに表示"]]) {
      for (const path of ["/", "/operations"]) {
        const page = await openConsole(browser, service.api, path, { width: 360, height: 740, locale });
        await page.getByRole("button", { name: more }).scrollIntoViewIfNeeded();
        assert.ok(await fits(page), `${locale} ${path}`);
        assert.deepEqual(await seriousFindings(page), [], `${locale} ${path}`);
        await picture(page, `console-many-${locale}${path.replace("/", "-")}`);
        await page.context().close();
      }
    }
  });
});
