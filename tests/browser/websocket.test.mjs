// An image of the old kind, with websockify in front of its VNC server, runs unchanged as protocol "websocket".
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, pages, startBrowser, view } from "../support/browser.mjs";
import { startService } from "../support/service.mjs";

const catalog = `
[app.old-image]
title = "An image of the old catalogue"
description = "websockify in front of a VNC server, on port 2222."
image = "cosage/websockify-test:latest"
pull = "never"
legacy_environment = true

[app.old-image.stream.vnc]
port = 2222
protocol = "websocket"
path = "/vnc"
`;

describe("a desktop that is a WebSocket server itself", () => {
  let service, browser;

  before(async () => {
    browser = await startBrowser();
    service = await startService("websocket", { settings: { COSAGE_ALLOWED_ORIGINS: pages }, catalog });
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await service?.stop();
  });

  it("is seen and resized in noVNC, by two viewers", async () => {
    const { url } = await service.open("allocate", { vm: "old-image" });
    const viewers = [];
    for (const stream of [service.streams + url, service.api + url]) {
      // One after the other: TigerVNC itself drops a viewer in its handshake when another one resizes the desktop.
      const viewer = await view(browser, stream);
      await viewer.sized(1024, 640);
      await viewer.until("a picture", () => window.viewer.colours() > 1);
      viewers.push(viewer);
    }
    await viewers[0].screenshot("websocket");
    for (const viewer of viewers) {
      assert.ok(!(await viewer.events()).some(({ name }) => name === "disconnect"));
      await viewer.close();
    }
  });
});
