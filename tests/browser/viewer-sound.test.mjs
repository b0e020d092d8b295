// The viewer's sound: a live stream of WebM and Opus, played from a person's click on.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, startBrowser } from "../support/browser.mjs";
import { startService } from "../support/service.mjs";
import { openViewer } from "../support/viewer.mjs";
import { until } from "../support/wait.mjs";

const catalog = `
[app.singer]
title = "Singer"
description = "The test picture, with a stream of sound."
image = "cosage/tiny:latest"
pull = "never"
password = true
sandbox = "user-namespaces"

[app.singer.stream.vnc]
port = 5900
protocol = "rfb"

[app.singer.stream.audio]
port = 5901
protocol = "tcp"
`;

/**
 * Runs in the page before its own scripts: a socket for sound gets a tone that the browser itself encodes, live, as an encoder in
 * a desktop would; and what plays it can be looked at.
 */
function singInstead() {
  globalThis.heard = [];
  globalThis.singers = [];
  const { Audio: RealAudio, WebSocket: RealSocket } = globalThis;
  globalThis.Audio = function () {
    const audio = new RealAudio();
    globalThis.heard.push(audio);
    return audio;
  };
  class Singer extends EventTarget {
    constructor() {
      super();
      globalThis.singers.push(this);
      const context = new AudioContext();
      const tone = context.createOscillator();
      const sink = context.createMediaStreamDestination();
      tone.connect(sink);
      tone.start();
      this.recorder = new MediaRecorder(sink.stream, { mimeType: "audio/webm;codecs=opus" });
      this.recorder.ondataavailable = async ({ data }) => this.dispatchEvent(new MessageEvent("message", { data: await data.arrayBuffer() }));
      this.recorder.start(60);
    }
    close() {
      if (this.recorder.state !== "inactive") this.recorder.stop();
      this.dispatchEvent(new Event("close"));
    }
  }
  globalThis.WebSocket = new Proxy(RealSocket, {
    construct: (target, [url, ...rest]) => (new URL(url).pathname.endsWith("/audio") ? new Singer() : new target(url, ...rest)),
  });
}

describe("the viewer's sound", () => {
  let service, browser;

  before(async () => {
    browser = await startBrowser();
    service = await startService("viewer-sound", { catalog });
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await service?.stop();
  });

  it("plays close behind what is live, and again after its stream broke", async () => {
    await service.open("singer", { vm: "singer" });
    const prepared = async (options) => {
      const context = await browser.newContext(options);
      await context.addInitScript(singInstead);
      return context;
    };
    const viewer = await openViewer({ newContext: prepared }, `${service.api}/view/singer`);
    const sockets = () => viewer.page.evaluate(() => globalThis.singers.length);
    await viewer.live();
    assert.equal(await sockets(), 0, "it listened before anybody wanted it to");
    await viewer.tool("sound");
    await viewer.until("sound is decoded and goes on", () => heard[0]?.currentTime > 0.5 && heard[0].webkitAudioDecodedByteCount > 0);
    await viewer.page.waitForSelector('#tool-sound[aria-pressed="true"]');
    await viewer.until("it is close behind", () => heard[0].buffered.end(heard[0].buffered.length - 1) - heard[0].currentTime < 1);
    await viewer.page.evaluate(() => singers[0].close());
    await until("it listens again", async () => (await sockets()) === 2);
    await viewer.until("the new stream plays", () => !heard[0].paused && heard[0].currentTime > 0.2 && heard[0].buffered.length > 0);
    await viewer.tool("sound");
    await viewer.until("silence", () => heard[0].paused);
    await viewer.page.waitForSelector('#tool-sound[aria-pressed="false"]');
    await viewer.assertClean();
  });

  it("has no button where the app has none", async () => {
    await service.open("silent", { vm: "tiny" });
    const viewer = await openViewer(browser, `${service.api}/view/silent`);
    await viewer.live();
    assert.equal(await viewer.page.locator("#tool-sound").count(), 0);
  });
});
