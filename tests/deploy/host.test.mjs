// Which hosts are answered through Debian's Nginx with deploy's site, and what `cosage doctor` says of it.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe, it } from "node:test";

import { replaced, startPlainNginx } from "../support/front.mjs";
import { call } from "../support/http.mjs";
import { binary, environmentWithoutSettings, startService } from "../support/service.mjs";

const PASSED_ON = "proxy_set_header Host $http_host;";

describe("hosts behind Nginx", () => {
  let service;

  before(async () => {
    service = await startService("host", {
      settings: { COSAGE_STREAM_LISTEN: "off", COSAGE_ALLOWED_HOSTS: "desk.example.org" },
    });
  });

  after(() => service?.stop());

  /** Runs `what` with an Nginx that sends this instead of the browser's Host header. */
  async function behind(host, what) {
    const adapt = (site) => (host ? replaced(site, [PASSED_ON, `proxy_set_header Host ${host};`]) : site);
    const nginx = await startPlainNginx(service, adapt);
    try {
      return await what(nginx);
    } finally {
      await nginx.stop();
    }
  }

  /** What the doctor finds about the WebSocket through an address. */
  async function diagnosis(url) {
    const args = ["doctor", "--json", "--url", service.api, "--public-url", url];
    // It fails where it finds a problem, also one of this machine's.
    const text = await new Promise((resolve) =>
      execFile(binary, args, { env: environmentWithoutSettings() }, (_, stdout) => resolve(stdout)),
    );
    return JSON.parse(text).findings.find(({ check }) => check === "websocket");
  }

  it("the names that an operator lists are answered, and no others", () =>
    behind(undefined, async ({ origin }) => {
      const status = async (host) => (await call(`${origin}/api/vm`, { headers: { Host: host } })).status;
      assert.equal(await status("desk.example.org"), 200);
      assert.equal(await status("evil.example.com"), 421);
      assert.equal(await status("localhost"), 200);
      // A base address that ends with a slash.
      assert.equal((await call(`${origin}//api/vm`)).status, 200);
    }));

  it("the doctor finds a proxy in order that passes the Host header on", () =>
    behind(undefined, async ({ origin }) => assert.equal((await diagnosis(origin)).level, "ok")));

  it("the doctor names the host that a proxy sends instead", () =>
    behind("backend.example.com", async ({ origin }) => {
      const { level, summary, remedy } = await diagnosis(origin);
      assert.equal(level, "problem");
      assert.match(summary, /'backend\.example\.com'/);
      assert.match(remedy, /COSAGE_ALLOWED_HOSTS.*Host header/);
    }));

  it("the doctor names a proxy whose host is answered and is not the browser's", () =>
    behind("127.0.0.1", async ({ origin }) => {
      const { level, summary, remedy } = await diagnosis(origin);
      assert.equal(level, "problem");
      assert.match(summary, /changes the Host header/);
      assert.match(remedy, /proxy_set_header Host \$http_host/);
    }));
});
