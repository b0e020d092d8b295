// A CoSage service of the test's own: the real binary, with its own data, names, ports and network.
import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { access, constants, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { removeAll, runName } from "./docker.mjs";
import { out } from "./out.mjs";
import { until } from "./wait.mjs";

export const repository = fileURLToPath(new URL("../..", import.meta.url));
export const binary = process.env.COSAGE_BINARY ?? join(repository, "target/release/cosage");

/**
 * A TCP port of loopback that nothing listens on. It is below the ephemeral ports, one of which any connection of any program
 * may get before it is listened on, or while a service is restarted; and below those of `settingsOfItsOwn`.
 */
export async function freePort() {
  for (;;) {
    const port = randomInt(12_001, 14_000);
    const server = createServer().listen(port, "127.0.0.1");
    try {
      await once(server, "listening");
    } catch (error) {
      if (error.code !== "EADDRINUSE") throw error;
      continue;
    }
    server.close();
    await once(server, "close");
    return port;
  }
}

/** The environment of this process less every setting of the service, which refuses unknown ones. */
export function environmentWithoutSettings() {
  const ours = /^(COSAGE_|CONTAINER_|PORT_RANGE_|STREAM_URL_TEMPLATE$|SAGE3_SERVER$|TOKEN$|ENVIRONMENT$)/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !ours.test(name)));
}

let ranges = 0;

/** Settings that keep a service apart from every other one on this machine. */
export async function settingsOfItsOwn(name) {
  // Below the ephemeral ports, and a hundred apart for each process and each service in it.
  const first = 14000 + ((process.pid * 3 + ranges++) % 180) * 100;
  return {
    COSAGE_LISTEN: `127.0.0.1:${await freePort()}`,
    COSAGE_STREAM_LISTEN: `127.0.0.1:${await freePort()}`,
    COSAGE_NETWORK: `${name}-net`,
    CONTAINER_BASE_NAME: `${name}-`,
    PORT_RANGE_START: String(first),
    PORT_RANGE_END: String(first + 100),
    // Browsers start slowly on a busy machine; the tests of the idle clock set their own.
    CONTAINER_NO_CLIENT_TIMEOUT: "120",
  };
}

/** Starts a service and waits until it is ready. `settings` are environment variables, `catalog` is appended to the repository's. */
export async function startService(label, { settings = {}, catalog = "" } = {}) {
  const name = `${runName}-${label}`;
  await access(binary, constants.X_OK).catch(() => {
    throw new Error(`there is no service at ${binary}; build it with: cargo build --release`);
  });
  const directory = await mkdtemp(join(tmpdir(), `${name}-`));
  const catalogFile = join(directory, "catalog.toml");
  await writeFile(catalogFile, (await readFile(join(repository, "catalog.toml"), "utf8")) + catalog);
  const effective = {
    ...(await settingsOfItsOwn(name)),
    COSAGE_DATA_DIR: join(directory, "data"),
    COSAGE_CATALOG: catalogFile,
    COSAGE_LOG_FORMAT: "text",
    ...settings,
  };
  let log = "";
  let child, ended;
  // A test that is given up leaves no service behind.
  const abandon = () => child.kill("SIGKILL");
  process.once("exit", abandon);
  const begin = async () => {
    child = spawn(binary, ["serve"], {
      cwd: directory,
      env: { ...environmentWithoutSettings(), ...effective },
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.stdout.setEncoding("utf8").on("data", (text) => (log += text));
    child.stderr.setEncoding("utf8").on("data", (text) => (log += text));
    ended = once(child, "close");
    await until("the service is ready", async () => {
      if (child.exitCode !== null) throw new Error(`the service ended with code ${child.exitCode}:\n${log}`);
      return (await fetch(`http://${effective.COSAGE_LISTEN}/readyz`)).ok;
    });
  };
  const end = async () => {
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), 20_000);
    await ended;
    clearTimeout(late);
  };

  const service = {
    name,
    api: `http://${effective.COSAGE_LISTEN}`,
    streams: `http://${effective.COSAGE_STREAM_LISTEN}`,
    log: () => log,

    /** One call of the API: status and JSON body, which is `null` where there is none. */
    async call(method, path, body) {
      const response = await fetch(this.api + path, {
        method,
        headers: body === undefined ? {} : { "Content-Type": "application/json" },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
      return { status: response.status, body: response.status === 204 ? null : await response.json() };
    },

    /** Asks for a desktop and returns `{ uid, url }`. */
    async open(uid, request) {
      const { status, body } = await this.call("POST", `/api/vm/any/${uid}`, request);
      if (status !== 200) throw new Error(`POST ${uid}: ${status} ${JSON.stringify(body)}\n${log}`);
      return body;
    },

    /** Starts it anew, with the same data at the same addresses; `meanwhile` runs while there is none. */
    async restart(meanwhile = async () => {}) {
      await end();
      await meanwhile();
      await begin();
    },

    /** Ends the service and removes everything it made. */
    async stop() {
      await end();
      process.off("exit", abandon);
      await writeFile(join(await out(), `service-${label}.log`), log);
      await removeAll(name);
      await rm(directory, { recursive: true, force: true });
    },
  };

  try {
    await begin();
  } catch (error) {
    await service.stop();
    throw new Error(`${error.message}\n${log}`);
  }
  return service;
}
