// SAGE3's client in a real Chromium, on its own origin, in front of the service behind deploy's Nginx with TLS: the
// profile for SAGE3 is all that is set up for it.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { Viewer, startBrowser } from "../support/browser.mjs";
import { makeCertificate } from "../support/certificate.mjs";
import { containers, docker } from "../support/docker.mjs";
import { goesOnPlaying, hears, hearsTheTone } from "../support/ears.mjs";
import { openAddress } from "../support/firefox.mjs";
import { anyCertificate, startNginxWithTls } from "../support/front.mjs";
import { call } from "../support/http.mjs";
import { startSage3, token } from "../support/sage3.mjs";
import { startService } from "../support/service.mjs";
import { startSite } from "../support/site.mjs";
import { pictured } from "../support/viewer.mjs";
import { until } from "../support/wait.mjs";

const host = "desktops.localhost";
const vm = "firefox-audio";
// SAGE3's own id of the application on its board.
const uid = "5f0c3a57-9e1c-4f5a-8d0e-2b6f2a9a7f10";
const first = { name: "c01060", colour: [0xc0, 0x10, 0x60] };
const second = { name: "1060c0", colour: [0x10, 0x60, 0xc0] };
// Dark and not light, because light is what it would be without.
const DARK = 0;
/** Of a picture that is at most this many pixels wide. */
const LAST_IMAGE_WIDTH_MAX = 640;
const notRunning = { details: "container not running" };

describe("SAGE3's client", () => {
  let browser, certificate, sage3, site, service, nginx;
  let owner, other;

  before(async () => {
    certificate = await makeCertificate(host, "localhost");
    browser = await startBrowser(certificate.exception);
    site = await startSite();
    sage3 = await startSage3(certificate);
    service = await startService("sage3", {
      settings: {
        COSAGE_PROFILE: "sage3",
        SAGE3_SERVER: sage3.origin,
        TOKEN: token,
        COSAGE_STREAM_LISTEN: "off",
        CONTAINER_NO_CLIENT_TIMEOUT: "5",
        COSAGE_FIRST_VIEWER_TIMEOUT: "120",
        SSL_CERT_FILE: certificate.certificateFile,
      },
    });
    nginx = await startNginxWithTls(service, { certificate, host });
  });

  after(async () => {
    await browser?.close();
    await nginx?.stop();
    await service?.stop();
    await sage3?.stop();
    await site?.stop();
    await certificate?.remove();
  });

  /** Somebody's browser with SAGE3's page; `width` and `height` are those of the desktop's place on it. */
  async function client({ width, height }) {
    const page = await browser.newPage({ viewport: { width, height: height + 30 } });
    // As in support/browser.mjs: without decoders noVNC does not wait for one.
    await page.addInitScript(() => delete globalThis.VideoDecoder);
    // Chromium gives up what it loads when a container's network interface appears on this machine.
    await until("SAGE3's page", async () => {
      await page.goto(`${sage3.origin}/sage3.html?server=${encodeURIComponent(nginx.origin)}`);
      return page.evaluate(() => Boolean(window.sage3));
    });
    return new Viewer(page);
  }

  /** What one of the client's calls answers; one that Chromium gave up, which is no answer, is made again. */
  const asks = (client, name, ...values) =>
    until(`an answer to ${name} ${JSON.stringify(values)}`, () =>
      client.page.evaluate(([name, values]) => window.sage3[name](...values), [name, values]),
    );

  const connected = (client) =>
    client.until("connected", () => window.viewer?.events.some(({ name }) => name === "connect"));

  /** Opens an address as a person does, and waits until its page is seen. */
  async function visit(client, { name, colour }) {
    await openAddress(client, site.url(name));
    await client.filled(colour, 0.5);
  }

  /** Decodes a picture in a browser: its size, and the colour near its lower left corner, where the page has no field. */
  const decode = (client, address) =>
    client.page.evaluate(async (address) => {
      const blob = await (await fetch(address)).blob();
      const picture = await createImageBitmap(blob);
      const context = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
      context.drawImage(picture, 0, 0);
      const [red, green, blue] = context.getImageData(picture.width / 10, picture.height * 0.9, 1, 1).data;
      return { type: blob.type, width: picture.width, height: picture.height, colour: [red, green, blue] };
    }, address);

  async function assertLastImage(client, { colour }) {
    const address = await sage3.value("the last image", uid, "state.lastImage", Boolean);
    assert.match(address, /^data:image\/jpeg;base64,/);
    const picture = await decode(client, address);
    assert.equal(picture.type, "image/jpeg");
    assert.ok(picture.width <= LAST_IMAGE_WIDTH_MAX && picture.height > 100, JSON.stringify(picture));
    picture.colour.forEach((value, channel) => assert.ok(Math.abs(value - colour[channel]) <= 24, JSON.stringify(picture)));
  }

  const environment = async () => {
    const name = `${service.name}-${uid}`;
    return JSON.parse(await docker("inspect", name, "--format", "{{json .Config.Env}}"));
  };

  it("is told by the preflight that its calls are welcome, and for how long", async () => {
    for (const method of ["GET", "POST"]) {
      const asked = {
        Host: new URL(nginx.origin).host,
        Origin: sage3.origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type",
      };
      const place = `${nginx.address}/api/vm/any/${uid}`;
      const { status, headers } = await call(place, { method: "OPTIONS", headers: asked, agent: anyCertificate });
      assert.ok(status >= 200 && status < 300, `${method}: ${status}`);
      assert.equal(headers["access-control-allow-origin"], sage3.origin);
      assert.match(headers["access-control-allow-headers"], /content-type/i);
      assert.match(headers["access-control-allow-methods"], new RegExp(method));
      assert.ok(Number(headers["access-control-max-age"]) > 0, JSON.stringify(headers));
    }
  });

  it("gets JSON that it can read for whatever goes wrong", async () => {
    owner = await client({ width: 1024, height: 640 });
    assert.deepEqual(await asks(owner, "call", "GET", `/api/vm/ws/${uid}`), notRunning);
    for (const [method, path, body] of [
      ["POST", "/api/vm/any/unknown-app", { vm: "none-such", env: {} }],
      ["POST", "/api/vm/any/no-app", {}],
      ["POST", "/api/vm/any/not%20a%20uid", { vm, env: {} }],
      ["POST", "/api/vm/any/bad-theme", { vm, env: { FIREFOX_THEME: "none" } }],
      ["POST", "/api/vm/any/no-object", [vm]],
      ["DELETE", "/api/vm/any/wrong-method"],
      ["GET", "/api/vm/none/such"],
    ]) {
      const answer = await asks(owner, "call", method, path, body);
      const said = `${method} ${path}: ${JSON.stringify(answer)}`;
      assert.ok(answer !== null && typeof answer === "object" && !Array.isArray(answer), said);
      assert.ok(typeof answer.details === "string" && answer.details && answer.code, said);
      assert.ok(!("url" in answer), said);
    }
    assert.deepEqual(await asks(owner, "call", "GET", "/api/vm/list"), []);
  });

  it("starts a desktop by its owner's call, seen by all who ask while it starts, with the first environment", async () => {
    other = await client({ width: 911, height: 601 });
    const path = `/api/vm/any/${uid}`;
    const created = asks(owner, "call", "POST", path, { vm, env: { FIREFOX_THEME: DARK } });
    const mounted = until("the owner's call has come", async () => (await service.call("GET", `/api/vm/${uid}`)).status === 200)
      .then(() => Promise.all([owner, other].map((client) => asks(client, "mount", uid, vm, {}))));
    const [answer, mounts] = await Promise.all([created, mounted]);
    assert.match(answer.url, /^\/stream\/\d+$/);
    assert.equal(answer.uid, uid);
    assert.deepEqual(mounts, [answer, answer]);
    assert.ok((await environment()).includes(`FIREFOX_THEME=${DARK}`));

    await Promise.all([owner, other].map(connected));
    // Firefox's own start page in the dark theme, on all of the desktop.
    await owner.until("a dark Firefox", () => window.viewer.greys(24, 80) > 0.8 && window.viewer.colours() > 8);
    await visit(owner, first);
    await other.filled(first.colour, 0.5);
    await site.report("a page that is to be dark", ({ page, dark }) => page === first.name && dark === true);
    await owner.screenshot("sage3");
  });

  it("has the desktop's window filled, whatever size anybody asks for", async () => {
    for (const [client, width, height] of [[other, 1177, 703], [owner, 801, 777], [owner, 1024, 640]]) {
      site.forget();
      await client.page.setViewportSize({ width, height: height + 30 });
      await Promise.all([owner, other].map((one) => one.sized(width, height)));
      await site.report(`a page ${width} wide`, (report) => report.width === width);
      for (const x of [10, width - 10]) await client.pixel(x, height - 10, first.colour);
    }
  });

  it("steers it together with others", async () => {
    await owner.click(512, 400);
    await owner.page.keyboard.type("the owner, ");
    await site.report("what the owner typed", ({ text }) => text === "the owner, ");
    await other.page.locator("canvas").focus();
    await other.page.keyboard.type("and another one");
    await site.report("what the other one typed", ({ text }) => text === "the owner, and another one");
  });

  it("plays its sound from a gesture on", async () => {
    await owner.page.click("button");
    await hearsTheTone(owner.page);
    await goesOnPlaying(owner.page);
    await other.page.click("button");
    await hearsTheTone(other.page);
  });

  it("joins late as a guest, who only looks whether it is there", async () => {
    const guest = await client({ width: 933, height: 611 });
    const answer = await asks(guest, "join", uid);
    assert.deepEqual(Object.keys(answer), ["url"]);
    await guest.filled(first.colour, 0.5);
    // The guest's size is the desktop's now, and nobody's picture was lost by it.
    await guest.sized(933, 611);
    await owner.sized(933, 611);
    for (const client of [owner, other, guest]) {
      assert.ok(!(await client.events()).some(({ name }) => name === "disconnect"), JSON.stringify(await client.events()));
    }
    await guest.close();
  });

  it("sends the last image to SAGE3 once when it has gone idle, and a listener keeps nothing alive", async () => {
    await other.close();
    sage3.forget();
    await owner.page.evaluate(() => window.viewer.rfb.disconnect());
    await assertLastImage(owner, first);
    const gone = () => asks(owner, "call", "GET", `/api/vm/ws/${uid}`);
    await until("the desktop is stopped", async () => (await gone()).details === notRunning.details);
    await until("its container is removed", async () => !(await containers(`${service.name}-${uid}`)).length);
    assert.equal(sage3.values(uid, "state.lastImage").length, 1);
    // The page asks for the sound again and again, in vain.
    await hears(owner.page, "the end of the sound", () => window.sound.state.closed);
    const listens = await owner.page.evaluate(() => window.sage3.listens);
    await hears(owner.page, "two more attempts", (before) => window.sage3.listens >= before + 2, listens);
    assert.deepEqual(await gone(), notRunning);
  });

  it("has it back as it was under the same uid, its sound too", async () => {
    site.forget();
    const answer = await asks(owner, "mount", uid, vm, {});
    assert.equal(answer.uid, uid);
    await connected(owner);
    await owner.filled(first.colour, 0.5);
    await site.report("the same page, still dark", ({ page, dark }) => page === first.name && dark === true);
    assert.ok((await environment()).includes(`FIREFOX_THEME=${DARK}`));
    await owner.click(512, 400);
    await hearsTheTone(owner.page);
  });

  it("sends the last image of a stop as well", async () => {
    await visit(owner, second);
    await pictured(owner.page, nginx.origin, uid, 10, 630, second.colour);
    sage3.forget();
    const { status } = await service.call("DELETE", `/api/vm/${uid}`);
    assert.ok(status < 300, String(status));
    await assertLastImage(owner, second);
    await owner.until("the end", () => window.viewer.events.some(({ name }) => name === "disconnect"));
    assert.deepEqual(await asks(owner, "call", "GET", `/api/vm/ws/${uid}`), notRunning);
  });
});
