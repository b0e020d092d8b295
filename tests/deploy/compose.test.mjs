// deploy/compose.yaml as an operator starts it: the service in a container, desktops as its siblings on its network,
// reached from outside through ports published on loopback only.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFile, mkdir, rm, stat } from "node:fs/promises";
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
  let files = ["compose.yaml"];

  async function compose(...args) {
    const { stdout } = await run(
      "docker-compose",
      ["--project-name", name, ...files.flatMap((file) => ["--file", join(repository, "deploy", file)]), ...args],
      { env: { ...environmentWithoutSettings(), ...environment }, maxBuffer: 16 * 1024 * 1024 },
    );
    return stdout;
  }

  async function start() {
    await compose("up", "--detach", "--build");
    try {
      await until("the service is ready", async () => (await fetch(`${api}/readyz`)).ok);
    } catch (error) {
      throw new Error(`${error.message}\n${await compose("logs", "--no-color")}`);
    }
  }

  /** What the engine says of the container of one of compose's services. */
  async function inspect(service) {
    const id = (await compose("ps", "--quiet", service)).trim();
    return JSON.parse(await docker("inspect", id))[0];
  }

  before(async () => {
    browser = await startBrowser();
    const [apiAddress, streamAddress] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
    [api, streams] = [`http://${apiAddress}`, `http://${streamAddress}`];
    const settings = await settingsOfItsOwn(name);
    environment = {
      DOCKER_GID: String((await stat("/var/run/docker.sock")).gid),
      COSAGE_NETWORK: settings.COSAGE_NETWORK,
      CONTAINER_BASE_NAME: settings.CONTAINER_BASE_NAME,
      PORT_RANGE_START: settings.PORT_RANGE_START,
      PORT_RANGE_END: settings.PORT_RANGE_END,
      CONTAINER_NO_CLIENT_TIMEOUT: "30",
      COSAGE_ALLOWED_ORIGINS: pages,
      COSAGE_PUBLISH: apiAddress,
      COSAGE_STREAM_PUBLISH: streamAddress,
    };
    await start();
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
    const desktop = () => docker("inspect", "--format", "{{.Id}}", `${environment.CONTAINER_BASE_NAME}beside`);
    const before = await desktop();
    await compose("restart", "cosage");
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
    const { Config, HostConfig } = await inspect("cosage");
    assert.equal(Config.User, "10001:10001");
    assert.deepEqual(HostConfig.GroupAdd, [environment.DOCKER_GID]);
    assert.deepEqual(HostConfig.CapDrop, ["ALL"]);
    assert.ok(HostConfig.ReadonlyRootfs);
    for (const bindings of Object.values(HostConfig.PortBindings)) {
      for (const { HostIp } of bindings) assert.equal(HostIp, "127.0.0.1");
    }
  });

  it("takes the binary of the architecture that is asked for", async () => {
    const build = (architecture) =>
      docker(
        ...["build", "--quiet", "--tag", name, "--build-arg", "BINARIES=target/image", "--build-arg", `TARGETARCH=${architecture}`],
        ...["--file", join(repository, "deploy/Dockerfile"), repository],
      );
    const place = join(repository, "target/image/one");
    await mkdir(place, { recursive: true });
    try {
      await copyFile(join(repository, "target/release/cosage"), join(place, "cosage"));
      await build("one");
      assert.match(await docker("run", "--rm", name, "--version"), /^cosage /);
      await docker("rmi", name);
      await assert.rejects(build("other"), /target\/image\/other\/cosage/);
    } finally {
      await rm(place, { recursive: true });
    }
  });

  it("says what it needs where the group of Docker's socket is not told", async () => {
    const { DOCKER_GID, ...others } = environment;
    environment = others;
    try {
      await assert.rejects(compose("config"), /stat -c %g \/var\/run\/docker.sock/);
    } finally {
      environment = { DOCKER_GID, ...others };
    }
  });

  it("is understood with Traefik in front", async () => {
    files = ["compose.yaml", "traefik/compose.yaml"];
    environment.COSAGE_HOST = "desktops.example.net";
    try {
      const whole = await compose("config");
      assert.match(whole, /traefik\.http\.routers\.cosage\.rule: Host\(`desktops\.example\.net`\)/);
      assert.match(whole, /COSAGE_ALLOWED_HOSTS: desktops\.example\.net/);
      assert.match(whole, /traefik\.http\.services\.cosage\.loadbalancer\.server\.port: '?"?4024/);
    } finally {
      files = ["compose.yaml"];
    }
  });

  it("has no hold of Docker's socket with the proxy, and finds its desktop by it", async () => {
    files = ["compose.yaml", "docker-proxy/compose.yaml"];
    await start();
    const url = await until("its URL", async () => (await (await fetch(`${api}/api/vm/ws/beside`)).json()).url);
    const viewer = await view(browser, streams + url);
    await viewer.sized(1024, 640);
    await viewer.close();
    assert.equal((await fetch(`${api}/api/vm/beside`, { method: "DELETE" })).status, 204);

    const service = await inspect("cosage");
    assert.equal(service.Mounts.find(({ Destination }) => Destination === "/var/run/docker.sock").Source, "/dev/null");
    const proxy = await inspect("docker-proxy");
    assert.equal(proxy.Config.User, "10002:10001");
    assert.equal(proxy.HostConfig.NetworkMode, "none");
    assert.ok(proxy.HostConfig.ReadonlyRootfs);
  });
});
