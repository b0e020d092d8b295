// What a page of another origin may do: everything where the operator allows the origin, nothing otherwise.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { openPage, pages as allowed, startBrowser } from "../support/browser.mjs";
import { startService } from "../support/service.mjs";
import { until } from "../support/wait.mjs";

const stranger = "http://stranger.localhost";

describe("a page of another origin", () => {
  let service, browser;

  before(async () => {
    browser = await startBrowser();
    service = await startService("origins", { settings: { COSAGE_ALLOWED_ORIGINS: allowed } });
  });

  after(async () => {
    await browser?.close();
    await service?.stop();
  });

  /** Asks from a page of an origin, as its script would, and returns what the script gets. */
  async function ask(origin, method, path, contentType, body) {
    const page = await openPage(browser, origin);
    try {
      // Any document of the origin will do; this one runs no script.
      await page.goto(`${origin}/novnc/LICENSE.txt`);
      return await page.evaluate(
        async ([url, method, contentType, body]) => {
          try {
            const response = await fetch(url, { method, headers: { "Content-Type": contentType }, body });
            return { status: response.status, body: await response.json() };
          } catch (error) {
            return { refused: error.name };
          }
        },
        [service.api + path, method, contentType, body],
      );
    } finally {
      await page.close();
    }
  }

  /** Asks as a page that is allowed to, more than once: Chromium may give up a request when a container's network interface appears. */
  const answered = (method, path, body) =>
    until(`an answer to ${method} ${path}`, async () => {
      const answer = await ask(allowed, method, path, "application/json", body);
      if (answer.refused) throw new Error(answer.refused);
      return answer;
    });

  /** Opens a stream from a page of an origin: "open", or "refused". */
  async function connect(origin, url) {
    const page = await openPage(browser, origin);
    try {
      await page.goto(`${origin}/novnc/LICENSE.txt`);
      return await page.evaluate(
        (stream) =>
          new Promise((resolve) => {
            const socket = new WebSocket(stream);
            socket.onopen = () => resolve("open");
            socket.onerror = () => resolve("refused");
          }),
        service.streams.replace("http", "ws") + url,
      );
    } finally {
      await page.close();
    }
  }

  const tiny = JSON.stringify({ vm: "tiny" });
  const refused = { refused: "TypeError" };

  it("is served where its origin is allowed, errors included", async () => {
    const answer = await answered("POST", "/api/vm/any/allowed", tiny);
    assert.equal(answer.status, 200);
    assert.match(answer.body.url, /^\/stream\/\d+\/vnc$/);
    const running = await answered("GET", "/api/vm/ws/allowed");
    assert.deepEqual(running, { status: 200, body: { url: answer.body.url } });
    const unknown = await answered("POST", "/api/vm/any/unknown", '{"vm": "none-such"}');
    assert.equal(unknown.status, 404);
    assert.ok(unknown.body.details);
    assert.ok(!("url" in unknown.body));
  });

  it("is refused otherwise, and nothing was started", async () => {
    // Playwright answers the preflights of pages whose requests it intercepts, so this is refused by the service itself.
    assert.deepEqual(await ask(stranger, "POST", "/api/vm/any/stranger", "application/json", tiny), refused);
    // Without a preflight in any browser, since the body is declared as plain text.
    assert.deepEqual(await ask(stranger, "POST", "/api/vm/any/stranger", "text/plain", tiny), refused);
    const { url } = await service.open("allowed", {});
    assert.equal(await connect(allowed, url), "open");
    assert.equal(await connect(stranger, url), "refused");
    const { body } = await service.call("GET", "/api/vm/list");
    assert.ok(!body.includes("stranger"), JSON.stringify(body));
  });
});
