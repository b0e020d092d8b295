// A desktop's sound, played by Media Source Extensions in a real Chromium.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, openPage, pages, startBrowser, view } from "../support/browser.mjs";
import { containers, docker } from "../support/docker.mjs";
import { goesOnPlaying, hears, hearsTheTone } from "../support/ears.mjs";
import { startService } from "../support/service.mjs";
import { startSite } from "../support/site.mjs";
import { until } from "../support/wait.mjs";

// The application of images/tone: 440 Hz for 200 ms of each second.
const catalog = `
[app.tone]
title = "Tone"
description = "Sounds."
image = "cosage/tone-test:latest"
pull = "never"
password = true
sandbox = "user-namespaces"
memory = "256MiB"

[app.tone.stream.vnc]
port = 5900
protocol = "rfb"

[app.tone.stream.audio]
port = 5901
protocol = "webm"
`;

/** The address of a desktop's sound, of that of its screen. */
const audio = (url) => url.replace(/vnc$/, "audio");

/** Opens a page that listens to a stream, and clicks on it. */
async function listen(browser, stream) {
  const page = await openPage(browser, pages, { width: 320, height: 200 });
  await page.goto(`${pages}/sound.html?stream=${encodeURIComponent(stream.replace(/^http/, "ws"))}`);
  await page.click("button");
  return page;
}

describe("sound in Media Source Extensions", () => {
  let service, browser, site;

  before(async () => {
    browser = await startBrowser();
    site = await startSite();
    service = await startService("sound", { catalog, settings: { COSAGE_ALLOWED_ORIGINS: pages } });
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await site?.stop();
    await service?.stop();
  });

  /** How many processes of the desktop record and encode, beside the one that waits for connections. */
  async function encoders(uid) {
    const script = "grep -l ^/usr/local/lib/cosage/sound-stream /proc/[0-9]*/cmdline 2>/dev/null | wc -l";
    return Number(await docker("exec", `${service.name}-${uid}`, "sh", "-c", script)) - 1;
  }

  it("plays what the desktop plays, for those who come late, too, with one encoder for all", async () => {
    const uid = "tone";
    const { url } = await service.open(uid, { vm: "tone" });
    // The desktop is there as soon as its screen is, and its sound a moment later.
    await until("its sound waits for listeners, of whom there are none", async () => (await encoders(uid)) === 0);
    const first = await listen(browser, service.streams + audio(url));
    await hearsTheTone(first);
    const second = await listen(browser, service.streams + audio(url));
    await hearsTheTone(second);
    assert.equal(await encoders(uid), 1);

    // In how many pieces is not asked: a browser that is held up for a moment misses some sound, and goes on.
    await goesOnPlaying(second);
    assert.equal(await second.evaluate(() => window.sound.error()), null);

    // Listeners are no viewers.
    assert.equal((await service.call("GET", `/api/vm/${uid}`)).body.viewers, 0);
    await closePages(browser);
    await until("the encoder has ended", async () => (await encoders(uid)) === 0);

    const third = await listen(browser, service.streams + audio(url));
    await hearsTheTone(third);
    await service.call("DELETE", `/api/vm/${uid}`);
    await hears(third, "the end", () => window.sound.state.closed?.code === 1001);
    assert.deepEqual(await containers(`${service.name}-${uid}`), []);
  });

  it("plays what a page in Firefox plays", async () => {
    const { url } = await service.open("firefox", { vm: "firefox", env: { FIREFOX_URLS: [site.url("1060c0")] } });
    const viewer = await view(browser, service.streams + url);
    await viewer.filled([0x10, 0x60, 0xc0], 0.5);
    const listener = await listen(browser, service.streams + audio(url));
    await hears(listener, "a stream of silence", () => window.sound?.state.messages > 10);
    await viewer.click(512, 400);
    await hearsTheTone(listener);
  });
});
