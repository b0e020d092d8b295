// deploy/backup: what it saves of a service that runs brings back its desktops and their homes on an engine that has lost both.
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";

import { keeper } from "../support/apps.mjs";
import { docker, removeAll, runName } from "../support/docker.mjs";
import { run } from "../support/front.mjs";
import { repository, startService } from "../support/service.mjs";
import { until } from "../support/wait.mjs";

describe("a backup", () => {
  let directory, data, saved, service;

  const backup = (...args) => run(join(repository, "deploy/backup"), args, { env: { ...process.env, COSAGE_DATA_DIR: data } });

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), `${runName}-backup-`));
    [data, saved] = [join(directory, "data"), join(directory, "saved")];
    service = await startService("backup", { settings: { COSAGE_DATA_DIR: data }, catalog: keeper });
  });

  after(async () => {
    await service?.stop();
    await rm(directory, { recursive: true, force: true });
  });

  it("brings back desktops with what is in their homes", async () => {
    await service.open("kept", { vm: "keeper" });
    const file = `${service.api}/api/vm/kept/files/Documents/notes.txt`;
    const put = await fetch(file, { method: "PUT", body: "of importance" });
    assert.equal(put.status, 201, await put.text());

    // An app that writes goes on: a file that is long enough to be written to while it is read.
    const busy = "cd /home/user; head -c 64M /dev/zero >busy; while :; do echo >>busy; done";
    await docker("exec", "--detach", `${service.name}-kept`, "sh", "-c", busy);
    const size = () => docker("exec", `${service.name}-kept`, "stat", "--format", "%s", "/home/user/busy");
    await until("it writes", async () => Number(await size()) > 64 * 1024 * 1024);

    const { stdout } = await backup("save", saved);
    assert.equal(stdout, `${service.name}-kept (files changed meanwhile)\n`);
    assert.deepEqual((await readdir(saved)).sort(), ["desktops.db", "homes", "pictures"]);
    assert.equal((await stat(saved)).mode & 0o777, 0o700);
    // Neither is overwritten by mistake: what was saved, and what is there.
    await assert.rejects(backup("save", saved), /is there already/);
    await assert.rejects(backup("restore", saved), /there are records in .* already/);

    await service.restart(async () => {
      await removeAll(service.name);
      await rm(data, { recursive: true });
      await backup("restore", saved);
    });

    const { body } = await service.call("GET", "/api/vm/kept");
    assert.equal(body.app ?? body.vm, "keeper", JSON.stringify(body));
    assert.equal(await (await fetch(file)).text(), "of importance");
    // It runs with that home, whose owner it is.
    await service.open("kept", {});
    await docker("exec", `${service.name}-kept`, "sh", "-c", "echo more >>/home/user/Documents/notes.txt");
    assert.equal(await (await fetch(file)).text(), "of importancemore\n");
  });

  it("says what is in the way", async () => {
    await assert.rejects(backup("restore", directory), /has no desktops.db/);
    data = join(directory, "none");
    await assert.rejects(backup("save", join(directory, "other")), /there are no records in .*COSAGE_DATA_DIR/);
    // The homes are there again by now.
    await assert.rejects(backup("restore", saved), /there is a volume .*-kept already/);
    await assert.rejects(backup("remove", saved), ({ code, stderr }) => code === 2 && stderr.startsWith("Usage:"));
  });
});
