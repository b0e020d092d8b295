// The units of deploy/systemd, as systemd reads them: without a complaint, and with little of the host in reach.
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";

import { runName } from "../support/docker.mjs";
import { deployed, run } from "../support/front.mjs";
import { repository } from "../support/service.mjs";

const environment = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin`, SYSTEMD_LOG_COLOR: "0" };

describe("the units of systemd", () => {
  let directory;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), `${runName}-systemd-`));
    await mkdir(join(directory, "cosage.service.d"));
    const binary = join(repository, "target/release/cosage");
    const units = {
      "cosage.service": await deployed("systemd/cosage.service", ["ExecStart=/usr/local/bin/cosage", `ExecStart=${binary}`]),
      "cosage-docker-proxy.service": await deployed("systemd/cosage-docker-proxy.service"),
      "cosage.service.d/docker-proxy.conf": await deployed("systemd/cosage.service.d/docker-proxy.conf"),
    };
    for (const [name, text] of Object.entries(units)) await writeFile(join(directory, name), text);
  });

  after(() => rm(directory, { recursive: true, force: true }));

  for (const unit of ["cosage.service", "cosage-docker-proxy.service"]) {
    it(`${unit} is understood as a whole`, async () => {
      const { stdout, stderr } = await run("systemd-analyze", ["verify", "--man=no", join(directory, unit)], { env: environment });
      // What it says of other units of the machine is not ours.
      const ours = `${stdout}${stderr}`.split("\n").filter((line) => line.includes("cosage"));
      assert.deepEqual(ours, []);
    });

    it(`${unit} has little in reach`, async () => {
      // Tenths of the 0 to 10 that systemd gives: below 2 is what it calls OK.
      const args = ["security", "--offline=true", "--threshold=20", "--no-pager", join(directory, unit)];
      await run("systemd-analyze", args, { env: environment }).catch(({ stdout, stderr }) => assert.fail(`${stdout}\n${stderr}`));
    });
  }
});
