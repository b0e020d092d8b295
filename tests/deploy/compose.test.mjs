// deploy/compose.yaml as an operator starts it: the service in a container, desktops as its siblings on its network,
// reached from outside through ports published on loopback only.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { promisify } from "node:util";

import { closePages, pages, startBrowser, view } from "../support/browser.mjs";
import { containers, docker, removeAll, runName } from "../support/docker.mjs";
import { environmentWithoutSettings, freePort, repository, settingsOfItsOwn } from "../support/service.mjs";
import { until } from "../support/wait.mjs";

const run = promisify(execFile);
const name = `${runName}-compose`;

describe("the service in a container", () => {
  let browser, environment, api, streams;

  async function compose(...args) {
    const { stdout } = await run(
      "docker-compose",
      ["--project-name", name, "--file", join(repository, "deploy/compose.yaml"), ...args],
      { env: { ...environmentWithoutSettings(), ...environment }, maxBuffer: 16 * 1024 * 1024 },
    );
    return stdout;
  }

  before(async () => {
    browser = await startBrowser();
    const [apiAddress, streamAddress] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
    [api, streams] = [`http://${apiAddress}`, `http://${streamAddress}`];
    const settings = await settingsOfItsOwn(name);
    environment = {
      COSAGE_NETWORK: settings.COSAGE_NETWORK,
      CONTAINER_BASE_NAME: settings.CONTAINER_BASE_NAME,
      PORT_RANGE_START: settings.PORT_RANGE_START,
      PORT_RANGE_END: settings.PORT_RANGE_END,
      CONTAINER_NO_CLIENT_TIMEOUT: "30",
      COSAGE_ALLOWED_ORIGINS: pages,
      COSAGE_PUBLISH: apiAddress,
      COSAGE_STREAM_PUBLISH: streamAddress,
    };
    await compose("up", "--detach", "--build");
    try {
      await until("the service is ready", async () => (await fetch(`${api}/readyz`)).ok);
    } catch (error) {
      throw new Error(`${error.message}\n${await compose("logs", "--no-color")}`);
    }
  });

  afterEach(() => closePages(browser));

  after(async () => {
    await browser?.close();
    // The desktops first, since they are on the project's network.
    const desktops = await containers(environment.CONTAINER_BASE_NAME);
    if (desktops.length) await docker("rm", "-f", "-v", ...desktops);
    await compose("down", "--volumes");
    await removeAll(name);
  });

  it("starts a desktop beside itself, which is seen from outside", async () => {
    const response = await fetch(`${api}/api/vm/any/beside`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: '{"vm": "tiny"}',
    });
    const answer = await response.json();
    assert.equal(response.status, 200, JSON.stringify(answer));
    for (const stream of [streams + answer.url, api + answer.url]) {
      const viewer = await view(browser, stream);
      await viewer.sized(1024, 640);
      await viewer.pixel(20, 20, [255, 0, 0]);
      await viewer.close();
    }
    // No port of the desktop itself is open to anybody.
    assert.equal(await docker("port", `${environment.CONTAINER_BASE_NAME}beside`), "");
  });

  it("finds its desktop again after it was restarted", async () => {
    const [service] = (await compose("ps", "--quiet", "cosage")).trim().split("\n");
    const desktop = () => docker("inspect", "--format", "{{.Id}}", `${environment.CONTAINER_BASE_NAME}beside`);
    const before = await desktop();
    await docker("restart", service);
    await until("the service is ready again", async () => (await fetch(`${api}/readyz`)).ok);
    // It is known at once, and is looked at before its URL is handed out again.
    const url = await until("its URL", async () => (await (await fetch(`${api}/api/vm/ws/beside`)).json()).url);
    assert.match(url, /^\/stream\/\d+\/vnc$/);
    assert.equal(await desktop(), before);
    const viewer = await view(browser, streams + url);
    await viewer.sized(1024, 640);
    await viewer.close();
  });

  it("is small, and runs with nothing it does not need", async () => {
    const size = Number(await docker("image", "inspect", "--format", "{{.Size}}", "cosage/service:latest"));
    assert.ok(size < 64 * 1024 * 1024, `the image has ${size} bytes`);
    const [service] = (await compose("ps", "--quiet", "cosage")).trim().split("\n");
    const { HostConfig } = JSON.parse(await docker("inspect", service))[0];
    assert.deepEqual(HostConfig.CapDrop, ["ALL"]);
    assert.ok(HostConfig.ReadonlyRootfs);
    for (const bindings of Object.values(HostConfig.PortBindings)) {
      for (const { HostIp } of bindings) assert.equal(HostIp, "127.0.0.1");
    }
  });
});
