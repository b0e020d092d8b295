// The service behind Debian's Nginx and Caddy with TLS, by the very files of deploy/: what a person, SAGE3's client and a
// program see of it on one https origin.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { keeper } from "../support/apps.mjs";
import { startBrowser } from "../support/browser.mjs";
import { makeCertificate } from "../support/certificate.mjs";
import { anyCertificate, replaced, run, startCaddy, startNginxWithTls } from "../support/front.mjs";
import { call, stream, webSocket } from "../support/http.mjs";
import { startService } from "../support/service.mjs";
import { openViewer } from "../support/viewer.mjs";

const RFB_VERSION = "RFB 003.008\n";

let certificate;

const fronts = {
  Nginx: {
    start: (service) => startNginxWithTls(service, { certificate }),
    withUsers: (service) =>
      startNginxWithTls(service, {
        certificate,
        adapt: (site) => replaced(site, ["#auth_basic  ", "auth_basic  "], ["#auth_basic_user_file", "auth_basic_user_file"]),
      }),
  },
  Caddy: {
    start: startCaddy,
    async withUsers(service) {
      const { stdout } = await run("caddy", ["hash-password", "--plaintext", "open sesame"]);
      return startCaddy(service, (site) =>
        replaced(site, ["#basicauth {", "basicauth {"], ["#\tteacher $2a$14$...", `\tteacher ${stdout.trim()}`], ["#}", "}"]),
      );
    },
  },
};

const secure = { agent: anyCertificate };
const json = { "Content-Type": "application/json" };

describe("behind TLS", () => {
  let service, browser;

  before(async () => {
    certificate = await makeCertificate("localhost");
    browser = await startBrowser();
    service = await startService("tls", { settings: { COSAGE_STREAM_LISTEN: "off", COSAGE_PING_INTERVAL: "1s" }, catalog: keeper });
  });

  after(async () => {
    await browser?.close();
    await service?.stop();
    await certificate?.remove();
  });

  /** Opens a stream of a desktop as a page of `origin` does. */
  const open = (front, url, origin = front.origin) =>
    webSocket(front.origin.replace("https", "wss") + url, { ...secure, headers: { Origin: origin } });

  /** The next frame that is no ping. */
  async function frame(socket) {
    for (;;) {
      const frame = await socket.next();
      if (frame.kind !== "ping") return frame;
    }
  }

  /** Goes through the opening of RFB 3.8 (RFC 6143, 7.1 to 7.3), in which the gateway asks for no password. */
  async function shakeHands(socket) {
    let bytes = Buffer.alloc(0);
    const take = async (length) => {
      while (bytes.length < length) {
        const { kind, data } = await frame(socket);
        assert.equal(kind, "binary", `${bytes.toString("latin1")} was all that came`);
        bytes = Buffer.concat([bytes, data]);
      }
      const taken = bytes.subarray(0, length);
      bytes = bytes.subarray(length);
      return taken;
    };
    assert.equal((await take(12)).toString(), RFB_VERSION);
    socket.send(Buffer.from(RFB_VERSION));
    assert.deepEqual([...(await take(2))], [1, 1], "one kind of security, none");
    socket.send(Buffer.from([1]));
    assert.equal((await take(4)).readUInt32BE(), 0);
    socket.send(Buffer.from([1]));
    await take((await take(24)).readUInt32BE(20));
  }

  for (const [name, { start, withUsers }] of Object.entries(fronts)) {
    describe(name, () => {
      let front, url;

      before(async () => {
        front = await start(service);
        const answer = await call(`${front.origin}/api/vm/any/by-${name.toLowerCase()}`, {
          ...secure,
          method: "POST",
          headers: json,
          body: '{"vm": "keeper"}',
        });
        assert.equal(answer.status, 200, answer.text);
        ({ url } = JSON.parse(answer.text));
      });

      after(() => front?.stop());

      it("a page of its origin gets the desktop's bytes, and another one nothing", async () => {
        const socket = await open(front, url);
        assert.equal(socket.status, 101);
        assert.equal((await frame(socket)).data.toString(), RFB_VERSION);
        socket.close();
        assert.equal((await open(front, url, "https://elsewhere.example.org")).status, 403);
      });

      it("a base address that ends with a slash leads to the same calls and streams", async () => {
        const uid = `by-${name.toLowerCase()}`;
        const found = await call(`${front.origin}//api/vm/ws/${uid}`, secure);
        assert.deepEqual(JSON.parse(found.text), { url });
        const ensured = await call(`${front.origin}//api/vm/any/${uid}`, { ...secure, method: "POST", headers: json, body: "{}" });
        assert.equal(JSON.parse(ensured.text).url, url);
        const socket = await open(front, `/${url}`);
        assert.equal(socket.status, 101);
        assert.equal((await frame(socket)).data.toString(), RFB_VERSION);
        socket.close();
        assert.equal((await open(front, `/${url}`, "https://elsewhere.example.org")).status, 403);
      });

      it("a still screen outlives what the proxy waits for", async () => {
        // Nginx waits for an hour in our file; here for three seconds, of which the service's pings are more than enough.
        const impatient = name === "Nginx"
          ? await start(service, (site) => replaced(site, ["proxy_read_timeout 3600s", "proxy_read_timeout 3s"]))
          : front;
        try {
          const socket = await open(impatient, url);
          await shakeHands(socket);
          for (let pings = 0; pings < 5; pings++) assert.equal((await socket.next()).kind, "ping");
          // FramebufferUpdateRequest (RFC 6143, 7.5.3): the pixel at the upper left, whether it has changed or not.
          socket.send(Buffer.from([3, 0, 0, 0, 0, 0, 0, 1, 0, 1]));
          assert.equal((await frame(socket)).data[0], 0, "a FramebufferUpdate");
          socket.close();
        } finally {
          if (impatient !== front) await impatient.stop();
        }
      });

      it("events come as they happen", async () => {
        const events = await stream(`${front.origin}/api/events`, secure);
        assert.match(await events.next(), /event: ?hello/);
        const uid = `event-${name.toLowerCase()}`;
        await service.open(uid, { vm: "tiny" });
        let told = "";
        while (!told.includes(uid)) told += await events.next();
        events.close();
      });

      it("an upload of any size arrives, and the service's own refusals too", async () => {
        // Nginx takes 1 MiB by default.
        const file = Buffer.alloc(3 * 1024 * 1024, "of the test");
        const place = `${front.origin}/api/vm/by-${name.toLowerCase()}/files/a.bin`;
        const put = await call(place, { ...secure, method: "PUT", body: file });
        assert.equal(put.status, 201, put.text);
        const got = await call(place, secure);
        assert.equal(got.text, file.toString());
        const unknown = await call(`${front.origin}/api/vm/nobody`, secure);
        assert.equal(JSON.parse(unknown.text).code, "unknown_desktop");
      });

      it("the console shows the desktop, and asks no other host for anything", async () => {
        const viewer = await openViewer(browser, `${front.origin}/view/by-${name.toLowerCase()}?autoconnect=true`, {
          ignoreHTTPSErrors: true,
        });
        await viewer.live();
        assert.ok(await viewer.page.evaluate(() => isSecureContext));
        assert.deepEqual(viewer.page.complaints, []);
        await viewer.close();
      });

      it("lets in those with a password only, where that is asked for", async () => {
        const guarded = await withUsers(service);
        try {
          const basic = (password) => ({ Authorization: `Basic ${Buffer.from(`teacher:${password}`).toString("base64")}` });
          const status = async (path, headers) => (await call(guarded.origin + path, { ...secure, headers })).status;
          for (const path of ["/", "/api/catalog", "/api/events", url]) {
            assert.equal(await status(path, {}), 401, path);
            assert.equal(await status(path, basic("guessed")), 401, path);
          }
          assert.equal(await status("/api/catalog", basic("open sesame")), 200);
          assert.equal((await open(guarded, url)).status, 401);
          const socket = await webSocket(guarded.origin + url, {
            ...secure,
            headers: { Origin: guarded.origin, ...basic("open sesame") },
          });
          assert.equal((await frame(socket)).data.toString(), RFB_VERSION);
          socket.close();
        } finally {
          await guarded.stop();
        }
      });
    });
  }

  it("Nginx sends those who come without TLS to where it is", async () => {
    const nginx = await startNginxWithTls(service, { certificate });
    try {
      const { status, headers } = await call(`http://127.0.0.1:${nginx.redirecting}/view/a?b=c`, { headers: { Host: "localhost" } });
      assert.deepEqual([status, headers.location], [301, "https://localhost/view/a?b=c"]);
    } finally {
      await nginx.stop();
    }
  });
});
