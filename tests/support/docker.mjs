// The docker command line, and the names under which a test run keeps what it makes.
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { promisify } from "node:util";

import { until } from "./wait.mjs";

const run = promisify(execFile);

/** A name that no other test run has; everything of this run on the engine begins with it. */
export const runName = process.env.COSAGE_TEST_RUN ?? `cosage-test-${randomBytes(4).toString("hex")}`;

/** Runs `docker …` and returns what it printed. */
export async function docker(...args) {
  const { stdout } = await run("docker", args, { maxBuffer: 16 * 1024 * 1024 });
  return stdout.trim();
}

const lines = (text) => text.split("\n").filter(Boolean);

/** Names of containers, running or not, that begin with `prefix`. */
export async function containers(prefix, ...filters) {
  const args = ["ps", "-a", "--format", "{{.Names}}", "--filter", `name=^/?${prefix}`];
  return lines(await docker(...args, ...filters.flatMap((filter) => ["--filter", filter])));
}

/** Removes containers, volumes and networks whose names begin with `prefix`. */
export async function removeAll(prefix) {
  const named = async (kind) => lines(await docker(kind, "ls", "--format", "{{.Name}}", "--filter", `name=^${prefix}`));
  for (const [what, find, ...remove] of [
    ["containers", () => containers(prefix), "rm", "-f", "-v"],
    ["volumes", () => named("volume"), "volume", "rm", "-f"],
    ["networks", () => named("network"), "network", "rm"],
  ]) {
    // What is being removed already, or is let go of by a container that just was, is only waited for.
    await until(`its ${what} are removed`, async () => {
      const found = await find();
      if (found.length) await docker(...remove, ...found);
      return !found.length;
    });
  }
}

/** The address that `host.docker.internal` is in a desktop's container. */
export async function hostGateway() {
  const line = await docker("run", "--rm", "--add-host", "gateway:host-gateway", "--entrypoint", "getent", "cosage/tiny:latest", "hosts", "gateway");
  return line.split(/\s+/)[0];
}

/**
 * An address of the host that containers of every network reach: that of a network which is made for it. (The default
 * bridge's is not to be had while nothing is connected to it: Node leaves such interfaces out, and the engine does not tell.)
 */
export async function hostAddress(network) {
  await docker("network", "create", network);
  return docker("network", "inspect", network, "--format", "{{(index .IPAM.Config 0).Gateway}}");
}
