// The command ./up as a person uses it: start, start again, stop, and what it says when something is in the way.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";

import { docker, removeAll, runName } from "../support/docker.mjs";
import { environmentWithoutSettings, repository, settingsOfItsOwn } from "../support/service.mjs";
import { until } from "../support/wait.mjs";

const name = `${runName}-up`;

describe("./up", () => {
  let directory, settings;

  /** Runs ./up to its end; returns exit code, seconds, and all it printed. */
  async function up(args, environment = {}) {
    const began = Date.now();
    const child = spawn(join(repository, "up"), args, {
      env: { ...environmentWithoutSettings(), ...settings, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let printed = "";
    child.stdout.setEncoding("utf8").on("data", (text) => (printed += text));
    child.stderr.setEncoding("utf8").on("data", (text) => (printed += text));
    const [code] = await once(child, "close");
    return { code, seconds: (Date.now() - began) / 1000, printed };
  }

  const ready = async () => (await fetch(`http://${settings.COSAGE_LISTEN}/readyz`)).ok;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), `${name}-`));
    settings = { ...(await settingsOfItsOwn(name)), COSAGE_DATA_DIR: join(directory, "data") };
    const { printed } = await up(["--stop"]);
    assert.match(printed, /does not run here/, "a service of this directory was running and has been stopped");
  });

  after(async () => {
    await up(["--stop"]);
    await removeAll(name);
    await rm(directory, { recursive: true, force: true });
  });

  it("-d returns when the service is ready, and quickly when all is built", async () => {
    const first = await up(["-d"]);
    assert.equal(first.code, 0, first.printed);
    assert.ok(await ready());
    assert.ok(first.printed.includes(`Open   http://${settings.COSAGE_LISTEN}/\n`), first.printed);

    const again = await up(["-d"]);
    assert.equal(again.code, 0, again.printed);
    assert.match(again.printed, /already runs/);

    const response = await fetch(`http://${settings.COSAGE_LISTEN}/api/vm/any/started`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: '{"vm": "tiny"}',
    });
    assert.equal(response.status, 200);
  });

  it("--stop returns when it has ended", async () => {
    const { code, printed } = await up(["--stop"]);
    assert.equal(code, 0, printed);
    await assert.rejects(ready);
  });

  it("builds nothing again when nothing has changed, and finds its desktop again", async () => {
    const built = async () => ({
      binary: (await stat(join(repository, "target/release/cosage"))).mtimeMs,
      images: (await docker("images", "--no-trunc", "--format", "{{.Repository}} {{.ID}}", "cosage/*")).split("\n").sort(),
    });
    const before = await built();
    const { code, seconds, printed } = await up(["-d"]);
    assert.equal(code, 0, printed);
    console.log(`ready after ${seconds.toFixed(2)} s`);
    assert.deepEqual(await built(), before);
    const api = `http://${settings.COSAGE_LISTEN}`;
    await until("its URL", async () => (await (await fetch(`${api}/api/vm/ws/started`)).json()).url);
    await up(["--stop"]);
  });

  it("runs in the foreground, and ends on --stop", async () => {
    const running = up([]);
    await until("the service is ready", ready);
    assert.equal((await up(["--stop"])).code, 0);
    const { code, printed } = await running;
    assert.equal(code, 0, printed);
    assert.match(printed, /curl/);
  });

  it("says in one line that a port is taken, and what to do", async () => {
    const [host, port] = settings.COSAGE_LISTEN.split(":");
    const squatter = createServer().listen(port, host);
    await once(squatter, "listening");
    try {
      const { code, printed } = await up(["-d"]);
      assert.equal(code, 1);
      assert.match(printed.trim().split("\n").at(-1), /something else listens on .*COSAGE_LISTEN/);
    } finally {
      squatter.close();
    }
  });

  it("says in one line that no engine answers at DOCKER_HOST", async () => {
    const { code, printed } = await up(["-d"], { DOCKER_HOST: `unix://${directory}/none.sock` });
    assert.equal(code, 1);
    assert.match(printed.trim().split("\n").at(-1), /DOCKER_HOST.*no engine answers/);
  });
});
