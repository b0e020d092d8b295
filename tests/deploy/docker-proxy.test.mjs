// The proxy of deploy/docker-proxy between the service and the engine: all that the service does passes, and nothing else.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { keeper } from "../support/apps.mjs";
import { docker, runName } from "../support/docker.mjs";
import { run, startDockerProxy } from "../support/front.mjs";
import { call, stream } from "../support/http.mjs";
import { repository, startService } from "../support/service.mjs";
import { until } from "../support/wait.mjs";

describe("the proxy in front of Docker's socket", () => {
  let proxy;

  before(async () => {
    proxy = await startDockerProxy();
  });

  after(() => proxy?.stop());

  /** One call of the engine's API through the proxy; `body` is JSON, or text as it is. */
  function ask(method, path, body, headers = {}) {
    const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
    const length = headers["Transfer-Encoding"] ? {} : { "Content-Length": Buffer.byteLength(text ?? "") };
    return call("http://docker", {
      socketPath: proxy.socket,
      method,
      // As it is: of a URL it would be tidied.
      path,
      body: text,
      headers: { "Content-Type": "application/json", ...length, ...headers },
    });
  }

  async function refused(...call) {
    const { status, text } = await ask(...call);
    assert.equal(status, 403, `${call.slice(0, 2).join(" ")} ${JSON.stringify(call[2])?.slice(0, 200)}: ${status} ${text}`);
    assert.match(JSON.parse(text).message, /the proxy in front of Docker lets no such call pass/);
    const [method, path] = call;
    await until("it is logged", () => proxy.log().includes(`refused: ${method} ${path}\n`));
  }

  it("lets a whole service work", { timeout: 120_000 }, async () => {
    const service = await startService("docker-proxy", {
      settings: { DOCKER_HOST: `unix://${proxy.socket}` },
      catalog: keeper,
    });
    try {
      await service.open("kept", { vm: "keeper" });

      const picture = await fetch(`${service.api}/api/vm/kept/screenshot`);
      assert.equal(picture.status, 200);
      const [first, second] = new Uint8Array(await picture.arrayBuffer());
      assert.deepEqual([first, second], [0x89, 0x50], "a PNG");

      // Larger than the proxy's buffer, in both directions, over an attached container.
      const file = Buffer.alloc(3 * 1024 * 1024, "of the test");
      const put = await fetch(`${service.api}/api/vm/kept/files/a.bin`, { method: "PUT", body: file });
      assert.equal(put.status, 201, await put.text());
      const got = await fetch(`${service.api}/api/vm/kept/files/a.bin`);
      assert.ok(file.equals(Buffer.from(await got.arrayBuffer())));

      // What it writes while somebody follows.
      const logs = await stream(`${service.api}/api/vm/kept/logs?follow=true`);
      assert.equal(logs.status, 200);
      await docker("exec", `${service.name}-kept`, "sh", "-c", "echo said meanwhile >/proc/1/fd/1");
      let written = "";
      while (!written.includes("said meanwhile")) {
        const part = await logs.next();
        assert.ok(part !== undefined, `the log ended: ${written}`);
        written += part;
      }
      logs.close();

      // What it uses, and that it ended without the service's doing.
      const events = await stream(`${service.api}/api/events?usage=true`);
      let told = "";
      const hear = async (what) => {
        while (!what.test(told)) {
          const part = await events.next();
          assert.ok(part !== undefined, `the events ended: ${told}`);
          told += part;
        }
      };
      await hear(/"memory":\s*\d/);
      await docker("kill", `${service.name}-kept`);
      await hear(/event: ?(gone|failed)/);
      events.close();

      assert.equal((await service.call("DELETE", "/api/vm/kept?forget=true")).status, 204);
      assert.equal(await docker("volume", "ls", "--quiet", "--filter", `name=${service.name}-kept`), "");
      assert.doesNotMatch(proxy.log(), /refused/);
    } finally {
      await service.stop();
    }
  });

  it("passes the contract that every engine is held to", async () => {
    const filters = ["on_docker::", "docker_only"];
    await run("cargo", ["test", "--workspace", "--locked", "--quiet", "--test", "engine_contract", "--", ...filters], {
      cwd: repository,
      env: { ...process.env, COSAGE_TEST_DOCKER_HOST: `unix://${proxy.socket}`, COSAGE_REQUIRE_DOCKER: "1" },
      maxBuffer: 16 * 1024 * 1024,
    }).catch(({ stdout, stderr }) => assert.fail(`${stdout}\n${stderr}`));
    assert.doesNotMatch(proxy.log(), /refused/);
  });

  it("refuses what the service does not need", async () => {
    const id = "0123456789ab";
    for (const [method, path, body] of [
      ["POST", `/containers/${id}/exec`, { Cmd: ["id"] }],
      ["POST", `/exec/${id}/start`, {}],
      ["POST", `/containers/${id}/update`, { Memory: 1 }],
      ["POST", `/containers/${id}/kill`],
      ["POST", `/containers/${id}/rename?name=other`],
      ["PUT", `/containers/${id}/archive?path=/`, "not a tar"],
      ["GET", `/containers/${id}/archive?path=/etc/shadow`],
      ["GET", `/containers/${id}/export`],
      ["POST", `/containers/${id}/start`, { HostConfig: { Binds: ["/:/host"] } }],
      ["POST", "/containers/prune"],
      ["POST", "/build"],
      ["POST", "/images/load", "not a tar"],
      ["GET", "/images/json"],
      ["GET", "/images/cosage/tiny:latest/get"],
      ["POST", "/images/cosage/tiny:latest/tag?repo=other"],
      ["POST", "/images/cosage/tiny:latest/push"],
      ["DELETE", "/images/cosage/tiny:latest"],
      ["POST", "/images/create?fromSrc=http%3A%2F%2F169.254.169.254%2F&repo=cosage%2Ffiles", ""],
      ["POST", "/images/create?%66romSrc=http%3A%2F%2F169.254.169.254%2F&fromImage=a", ""],
      ["POST", "/images/create?fromSrc=-&repo=cosage%2Ffirefox&tag=latest&platform=", "not a tar"],
      ["POST", "/commit?container=a"],
      ["POST", "/volumes/create", { Name: "a", DriverOpts: { type: "none", o: "bind", device: "/" } }],
      ["POST", "/volumes/prune"],
      ["POST", `/networks/${id}/disconnect`, { Container: id }],
      ["POST", "/networks/create", { Name: "a", Driver: "macvlan", Options: { parent: "eth0" } }],
      ["POST", "/swarm/init", {}],
      ["GET", "/secrets"],
      ["POST", "/plugins/pull?remote=a"],
      ["POST", "/auth", {}],
      ["POST", "/session"],
      ["GET", "/v1.20/info"],
      ["POST", `/v1.20/containers/${id}/start`, { Privileged: true }],
      ["GET", "/containers/../info"],
      ["GET", `/containers/${id}%2F..%2Fexec/json`],
    ]) {
      await refused(method, path, body);
    }
  });

  it("refuses containers that get at the host, however that is written", async () => {
    const orders = [
      { HostConfig: { Privileged: true } },
      { HostConfig: { privileged: true } },
      { HostConfig: { Binds: ["/:/host"] } },
      { HostConfig: { "Bind\u017f": ["/:/host"] } },
      { HostConfig: { Mounts: [{ Type: "bind", Source: "/", Target: "/host" }] } },
      { HostConfig: { Mounts: [{ Type: "volume", Target: "/host", VolumeOptions: { DriverConfig: { Options: { device: "/" } } } }] } },
      { HostConfig: { VolumesFrom: ["other"] } },
      { HostConfig: { NetworkMode: "host" } },
      { HostConfig: { NetworkMode: "container:other" } },
      { HostConfig: { PidMode: "host" } },
      { HostConfig: { IpcMode: "host" } },
      { HostConfig: { CapAdd: ["SYS_ADMIN"] } },
      { HostConfig: { Devices: [{ PathOnHost: "/dev/sda", PathInContainer: "/dev/sda" }] } },
      { HostConfig: { DeviceCgroupRules: ["a *:* rwm"] } },
      { HostConfig: { SecurityOpt: ["seccomp=unconfined"] } },
      { HostConfig: { SecurityOpt: ["no-new-privileges", "apparmor=unconfined"] } },
      { HostConfig: { PortBindings: { "5900/tcp": [{ HostIp: "0.0.0.0", HostPort: "" }] } } },
      { HostConfig: { Runtime: "other" } },
      { HostConfig: { LogConfig: { Type: "syslog", Config: { "syslog-address": "tcp://a" } } } },
    ];
    const texts = [
      '{"HostConfig": {"Privileged" : true}}',
      '{"HostConfig":{"\\u0050rivileged":true}}',
      '{"HostConfig":{"Privileged":true},"HostConfig":{}}',
      '{"HostConfig":{"Mounts":[{"Type":"\\u0062ind"}]}}',
      '{"Image":"a"}\n{"HostConfig":{"Privileged":true}}',
      '{"Labels":{"cosage.app":"\\\\"},"HostConfig":{"Privileged":true}}',
    ];
    for (const order of orders.map((order) => JSON.stringify(order)).concat(texts)) {
      await refused("POST", "/containers/create?name=a", order);
    }
    // What cannot be looked at as a whole: parts, more than fits, and a form, from which the engine takes parameters too.
    await refused("POST", "/containers/create", "{}", { "Transfer-Encoding": "chunked" });
    await refused("POST", "/containers/create", "{}", { "Content-Type": "application/x-www-form-urlencoded" });
    await refused("POST", "/images/create?fromImage=a", "", { "Content-Type": "application/x-www-form-urlencoded" });
    await refused("POST", "/images/create?fromSrc=-&repo=cosage%2Ffiles", "fromSrc=http%3A%2F%2F169.254.169.254%2F", {
      "Content-Type": ["application/x-www-form-urlencoded", "application/json"],
    });
    await refused("POST", "/containers/create", "{}", { "Content-Length": 245_760 });
  });

  it("lets the largest order pass that there is", async () => {
    // Every byte of the environment written as six, and an image that is not there: the engine itself answers.
    const order = JSON.stringify({ Image: `${runName}-none`, Env: [`A=${"\u0001".repeat(32 * 1024)}`] });
    const { status, text } = await ask("POST", "/containers/create", order);
    assert.equal(status, 404, text);
    assert.match(text, /No such image/);
  });

  it("says when the engine itself is away", async () => {
    const lonely = await startDockerProxy("/nowhere/docker.sock");
    try {
      const { status, text } = await call("http://docker/info", { socketPath: lonely.socket });
      assert.equal(status, 503);
      assert.match(JSON.parse(text).message, /does not reach the engine/);
    } finally {
      await lonely.stop();
    }
  });
});
