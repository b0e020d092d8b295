// Firefox's open tabs on a real engine: SAGE3 is told of them by callbacks, from container to service to SAGE3, and they
// are there again (with the profile) after whatever ended the desktop.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { after, afterEach, before, describe, it } from "node:test";

import { closePages, pages, startBrowser, view } from "../support/browser.mjs";
import { docker, hostGateway, runName } from "../support/docker.mjs";
import { openAddress, savedTabs } from "../support/firefox.mjs";
import { startSage3, token } from "../support/sage3.mjs";
import { freePort, startService } from "../support/service.mjs";
import { startSite } from "../support/site.mjs";
import { until } from "../support/wait.mjs";

// A tag of the test's own, so that the image can be upgraded under its name; and another app that may report.
const image = `${runName}-upgraded:latest`;
const catalog = `
[app.upgraded]
title = "Firefox"
description = "Whose image becomes another one."
image = "${image}"
pull = "never"
password = true
memory = "2GiB"
shared_memory = "512MiB"
home = "/home/user"
sandbox = "user-namespaces"
callbacks = true

[app.upgraded.stream.vnc]
port = 5900
protocol = "rfb"

[app.upgraded.env.FIREFOX_URLS]
type = "urls"

[app.teller]
title = "Teller"
description = "Another desktop that may report."
image = "cosage/tiny:latest"
pull = "never"
password = true
memory = "256MiB"
sandbox = "user-namespaces"
callbacks = true

[app.teller.stream.vnc]
port = 5900
protocol = "rfb"
`;

const uid = "board-app";
const colours = { red: "c01060", blue: "1060c0", green: "10a040", brown: "805010" };
const REPORT_MAX = 4 * 1024 * 1024;

describe("Firefox's tabs", () => {
  let browser, site, sage3, service;
  const url = (name) => site.url(colours[name]);
  const pixels = (name) => [0, 2, 4].map((at) => Number.parseInt(colours[name].slice(at, at + 2), 16));

  before(async () => {
    browser = await startBrowser();
    site = await startSite();
    sage3 = await startSage3();
    await docker("tag", "cosage/firefox:latest", image);
    service = await startService("tabs", {
      catalog,
      settings: {
        COSAGE_ALLOWED_ORIGINS: pages,
        COSAGE_CALLBACK_LISTEN: `${await hostGateway()}:${await freePort()}`,
        SAGE3_SERVER: sage3.origin,
        TOKEN: token,
        // A page takes seconds to be loaded on a busy machine, from the URL on that was handed out.
        CONTAINER_NO_CLIENT_TIMEOUT: "10",
        COSAGE_FIRST_VIEWER_TIMEOUT: "120",
      },
    });
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    await service?.stop();
    await sage3?.stop();
    await site?.stop();
    await docker("image", "rm", image);
  });

  const container = (uid) => `${service.name}-${uid}`;
  const idOf = (uid) => docker("inspect", container(uid), "--format", "{{.Id}}");

  /** Looks at the desktop, which is started if it sleeps. */
  async function look(request = {}) {
    const { url } = await service.open(uid, request);
    return view(browser, service.streams + url);
  }

  /** Waits until SAGE3 was told of these tabs last. */
  const told = (...names) => {
    const expected = JSON.stringify(names.map(url));
    return sage3.value(`tabs ${names}`, uid, "state.urls", (urls) => JSON.stringify(urls) === expected);
  };

  /** Opens an address in a new tab, at the end. */
  async function openTab(viewer, name) {
    const count = sage3.values(uid, "state.urls").at(-1).length;
    await viewer.page.locator("canvas").focus();
    await viewer.page.keyboard.press("Control+t");
    // What is typed before the tab is there is the old one's.
    await sage3.value("a new tab", uid, "state.urls", (urls) => urls.length === count + 1);
    await openAddress(viewer, url(name));
    await viewer.filled(pixels(name), 0.5);
  }

  /** Posts a report from inside of a desktop's container and returns the status; `$CALLBACK_URL` is what the container was given. */
  async function reports(from, address, body = "{}", length = Buffer.byteLength(body)) {
    const script = `address=${address} && rest=\${address#http://} && host=\${rest%%/*} && path=/\${rest#*/} &&
      exec 3<>"/dev/tcp/\${host%:*}/\${host#*:}" &&
      printf 'POST %s HTTP/1.1\\r\\nHost: %s\\r\\nContent-Type: application/json\\r\\nContent-Length: ${length}\\r\\nConnection: close\\r\\n\\r\\n' "$path" "$host" >&3 &&
      cat >&3 && read -r _ status _ <&3 && echo "$status"`;
    const child = spawn("docker", ["exec", "-i", container(from), "bash", "-c", script], { stdio: ["pipe", "pipe", "inherit"] });
    // The service may answer before it has read all.
    child.stdin.on("error", () => {});
    child.stdin.end(body);
    return Number(await text(child.stdout));
  }

  it("are told to SAGE3 when they are opened, moved, navigated and closed", async () => {
    const viewer = await look({ vm: "upgraded", env: { FIREFOX_URLS: [url("red"), url("blue")] } });
    await told("red", "blue");
    await viewer.filled(pixels("red"), 0.5);
    await openTab(viewer, "green");
    await told("red", "blue", "green");
    await viewer.page.keyboard.press("Control+Shift+PageUp");
    await told("red", "green", "blue");
    await openAddress(viewer, url("brown"));
    await told("red", "brown", "blue");
    await viewer.filled(pixels("brown"), 0.5);
    await viewer.page.keyboard.press("Control+w");
    await told("red", "blue");

    const lists = sage3.values(uid, "state.urls").map((urls) => JSON.stringify(urls));
    // Each list once: nothing is told while nothing changes.
    lists.forEach((list, at) => assert.notEqual(list, lists[at - 1], lists.join("\n")));
    await viewer.close();
  });

  it("are reported by the desktop's own container alone", async () => {
    await service.open("another", { vm: "teller" });
    await look();
    sage3.forget();
    const own = '"$CALLBACK_URL"';
    const withoutSecret = '"${CALLBACK_URL%%\\?*}"';
    assert.equal(await reports(uid, own, '{"state.note": 1}'), 202);
    assert.equal(await reports(uid, withoutSecret), 403);
    assert.equal(await reports(uid, `${withoutSecret}'?secret=guessed'`), 403);
    assert.equal(await reports(uid, `"\${CALLBACK_URL/${uid}/nobody}"`), 404);
    assert.equal(await reports(uid, own, " ".repeat(REPORT_MAX + 1)), 413);
    assert.equal(await reports(uid, own, "[]"), 422);
    // Its own secret is good for its own desktop.
    assert.equal(await reports("another", own, '{"state.note": 2}'), 202);
    assert.equal(await reports("another", `"\${CALLBACK_URL/another/${uid}}"`, '{"state.note": 3}'), 403);
    // Nothing else is served there.
    assert.equal(await reports(uid, `"\${CALLBACK_URL%%/api/*}/api/vm/any/third"`, '{"vm": "tiny"}'), 404);
    await sage3.value("the note", uid, "state.note", (note) => note === 1);
    await sage3.value("the other one's note", "another", "state.note", (note) => note === 2);
    assert.deepEqual(sage3.values(uid, "state.note"), [1]);
    await service.call("DELETE", "/api/vm/another?forget=true");
  });

  it("are told to a SAGE3 that was away when it is back", async () => {
    const viewer = await look();
    // The desktop may have been started again for it.
    await selectFirst(viewer, "red", "blue");
    await sage3.away(async () => {
      sage3.forget();
      await viewer.page.keyboard.press("Control+Shift+PageDown");
      // Whoever reports is answered while there is no SAGE3.
      assert.equal(await reports(uid, '"$CALLBACK_URL"', '{"state.note": 4}'), 202);
      assert.deepEqual(sage3.values(uid, "state.note"), []);
    });
    await sage3.value("the note", uid, "state.note", (note) => note === 4);
    await told("blue", "red");
    await viewer.close();
  });

  // What follows ends the desktop in one way after the other. Each time SAGE3 hears of the tabs that were restored.

  /** Waits until the desktop is gone for want of viewers. */
  async function idle() {
    await until("the desktop is stopped", async () => {
      const { body } = await service.call("GET", `/api/vm/ws/${uid}`);
      return body.details === "container not running";
    });
  }

  /** Selects the first tab, whichever is selected, and waits until it is seen. */
  async function selectFirst(viewer, ...names) {
    const any = (colours) => colours.some((colour) => window.viewer.share(colour, 24) > 0.5);
    await viewer.until("one of the pages", any, names.map(pixels));
    await viewer.page.locator("canvas").focus();
    // Firefox asks the page whether it wants Alt+1, and handles other keys meanwhile: when the first tab was selected already,
    // nothing would tell that it is done. So another one comes before it.
    for (const place of [2, 1]) {
      await viewer.page.keyboard.press(`Alt+${place}`);
      await viewer.filled(pixels(names[place - 1]), 0.5);
    }
  }

  /** The desktop is back with these tabs, and with what the site has left in the profile. */
  async function restored(...names) {
    const viewer = await look();
    await told(...names);
    await selectFirst(viewer, ...names);
    const again = ({ page, visits }) => page === colours[names[0]] && visits > 2;
    await site.report("a visit that is not the first", again);
    return viewer;
  }

  /** Nothing of before counts from now on. */
  function forget() {
    sage3.forget();
    site.forget();
  }

  it("are there again after the desktop was idle", async () => {
    await look().then((viewer) => viewer.close());
    await idle();
    forget();
    const viewer = await restored("blue", "red");
    await openTab(viewer, "green");
    await told("blue", "red", "green");
    await viewer.close();
  });

  it("are all told while one of them is on its way", async () => {
    await idle();
    forget();
    const viewer = await look();
    await told("blue", "red", "green");
    // The one that was selected last is selected again.
    await viewer.filled(pixels("green"), 0.5);
    // Nobody has looked at the first one since the start, so it is fetched when it is selected.
    const page = site.hold(colours.blue);
    await viewer.page.locator("canvas").focus();
    await viewer.page.keyboard.press("Alt+1");
    await page.asked;
    await viewer.page.keyboard.press("Control+t");
    const opened = JSON.stringify([...["blue", "red", "green"].map(url), "about:newtab"]);
    await sage3.value("all tabs and a new one", uid, "state.urls", (urls) => JSON.stringify(urls) === opened);
    page.release();
    await viewer.page.keyboard.press("Control+w");
    await told("blue", "red", "green");
    await viewer.close();
  });

  it("are there again after the container was removed", async () => {
    const viewer = await look();
    const session = `${service.api}/api/vm/${uid}/files/.mozilla/firefox/cosage/sessionstore-backups/recovery.jsonlz4`;
    const expected = JSON.stringify(["blue", "red", "green"].map(url));
    await until("Firefox has saved its session, as it does every few seconds", async () => {
      const response = await fetch(session);
      return response.ok && JSON.stringify(savedTabs(Buffer.from(await response.arrayBuffer()))) === expected;
    });
    await viewer.close();
    forget();
    await docker("rm", "-f", container(uid));
    await idle();
    await (await restored("blue", "red", "green")).close();
  });

  it("are there again after the service was started anew under the desktop", async () => {
    const { url } = await service.open(uid, {});
    const id = await idOf(uid);
    await service.restart();
    const { body } = await service.call("GET", `/api/vm/ws/${uid}`);
    assert.deepEqual(body, { url }, "the desktop was adopted");
    assert.equal(await idOf(uid), id);
    const viewer = await look();
    await selectFirst(viewer, "blue", "red", "green");
    // The new process knows the container's secret as well.
    await openTab(viewer, "brown");
    await told("blue", "red", "green", "brown");
    await viewer.close();
    await idle();
    forget();
    await (await restored("blue", "red", "green", "brown")).close();
  });

  it("are there again in an upgraded image", async () => {
    await idle();
    const ofContainer = async () => docker("inspect", container(uid), "--format", "{{.Image}}");
    const before = await docker("image", "inspect", image, "--format", "{{.Id}}");
    const maker = `${service.name}-upgrade`;
    await docker("create", "--name", maker, image);
    await docker("commit", "--change", "LABEL upgraded=yes", maker, image);
    await docker("rm", maker);
    const upgraded = await docker("image", "inspect", image, "--format", "{{.Id}}");
    assert.notEqual(upgraded, before);
    forget();
    await restored("blue", "red", "green", "brown");
    assert.equal(await ofContainer(), upgraded);
  });
});
