// What a caller says about a new Firefox, and what a viewer says about its display, as the real Firefox takes it.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, pages, startBrowser, view } from "../support/browser.mjs";
import { savedTabs } from "../support/firefox.mjs";
import { startService } from "../support/service.mjs";
import { startSite } from "../support/site.mjs";
import { until } from "../support/wait.mjs";

const page = { name: "c01060", colour: [0xc0, 0x10, 0x60] };

describe("Firefox", () => {
  let service, browser, site;

  before(async () => {
    browser = await startBrowser();
    site = await startSite();
    service = await startService("settings", {
      settings: { COSAGE_ALLOWED_ORIGINS: pages, CONTAINER_NO_CLIENT_TIMEOUT: "120" },
    });
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await site?.stop();
    await service?.stop();
  });

  it("opens addresses however they are written, in the caller's time zone and language", async () => {
    const address = site.url(page.name);
    const env = {
      FIREFOX_URLS: [address.replace("http:", "HTTP:"), "ABOUT:license", address.replace("http://", "Http://somebody@")],
      TZ: "asia/tokyo",
      LANG: "de-AT",
    };
    await service.open("written", { vm: "firefox", env });
    const { timeZone, languages } = await site.report("the page", (report) => report.page === page.name && report.timeZone);
    assert.equal(timeZone, "Asia/Tokyo");
    assert.equal(languages[0], "de");
    const file = "/api/vm/written/files/.mozilla/firefox/cosage/sessionstore-backups/recovery.jsonlz4";
    await until("all tabs are saved", async () => {
      const response = await fetch(service.api + file);
      if (!response.ok) return false;
      const tabs = savedTabs(Buffer.from(await response.arrayBuffer()));
      return tabs.length === 3 && tabs[0] === address && tabs[1] === "about:license" && tabs[2]?.endsWith(page.name);
    });
  });

  it("follows the scale of the viewers' displays while it runs", async () => {
    const { url } = await service.open("scaled", { vm: "firefox", env: { FIREFOX_URLS: [site.url(page.name)] } });
    const viewer = await view(browser, service.streams + url);
    await viewer.filled(page.colour, 0.5);
    const say = (name, scale) =>
      viewer.page.evaluate(
        ([address, name, scale]) => {
          const socket = new WebSocket(address);
          socket.onopen = () => socket.send(new TextEncoder().encode(`scale ${scale}\n`));
          window[name] = socket;
        },
        [(service.streams + url).replace(/vnc$/, "display"), name, scale],
      );
    const scaled = (scale) => site.report(`scale ${scale}`, (report) => report.scale === scale);
    await say("first", 2);
    await scaled(2);
    await viewer.screenshot("firefox-scaled");
    await say("second", 1.5);
    await scaled(1.5);
    site.forget();
    // The other one counts again, and without any it is as it was.
    await viewer.page.evaluate(() => window.second.close());
    await scaled(2);
    site.forget();
    await viewer.page.evaluate(() => window.first.close());
    await scaled(1);
    await viewer.close();
  });
});
