// The programs that deploy/ has configurations for, run with those very files: only names, ports and paths are the test's own.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { Agent } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { runName } from "./docker.mjs";
import { call } from "./http.mjs";
import { freePort, repository } from "./service.mjs";
import { until } from "./wait.mjs";

export const run = promisify(execFile);
const environment = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };

/** Replaces texts that have to be there. */
export function replaced(text, ...pairs) {
  for (const [from, to] of pairs) {
    assert.ok(text.includes(from), `the file of deploy/ no longer has: ${from}`);
    text = text.replaceAll(from, to);
  }
  return text;
}

/** A file of deploy/, with texts replaced. */
export async function deployed(file, ...pairs) {
  return replaced(await readFile(join(repository, "deploy", file), "utf8"), ...pairs);
}

/**
 * Runs a program until `stop`. `prepare` gets a directory of its own and returns `args` and, where it likes, `environment`
 * and what else the caller wants of it; `ready` is asked until it is true.
 */
export async function runProgram(command, prepare, ready) {
  const directory = await mkdtemp(join(tmpdir(), `${runName}-${command}-`));
  let child, ended;
  let log = "";
  const stop = async () => {
    child?.kill("SIGTERM");
    await ended;
    await rm(directory, { recursive: true, force: true });
  };
  try {
    const { args, ...rest } = await prepare(directory);
    child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...environment, ...rest.environment } });
    child.stdout.setEncoding("utf8").on("data", (text) => (log += text));
    child.stderr.setEncoding("utf8").on("data", (text) => (log += text));
    ended = once(child, "close");
    await until(`${command} is ready`, async () => {
      if (child.exitCode !== null) throw new Error(`${command} ended`);
      return ready(rest);
    });
    return { ...rest, directory, log: () => log, stop };
  } catch (error) {
    await stop();
    throw new Error(`${error.message}\n${log}`);
  }
}

/**
 * Starts Debian's Nginx with a site of deploy/, which `site` reads and adapts: it gets a directory and a free port. `host`
 * is what the site is called.
 */
export function startNginx(site, { scheme = "http", host = "localhost" } = {}) {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const prepare = async (directory) => {
    const port = await freePort();
    // Of a master that is root, the workers are not, and they read the file of those who may come in.
    await chmod(directory, 0o755);
    await writeFile(join(directory, "site.conf"), await site(directory, port));
    await writeFile(
      join(directory, "nginx.conf"),
      `daemon off;
pid ${directory}/nginx.pid;
worker_processes 1;
events {}
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${directory}/${name};`).join("\n  ")}
  include ${directory}/site.conf;
}
`,
    );
    return {
      args: ["-c", join(directory, "nginx.conf"), "-e", "stderr"],
      origin: `${scheme}://${host}:${port}`,
      // Names below localhost are a browser's, and no resolver's.
      address: `${scheme}://localhost:${port}`,
    };
  };
  return runProgram("nginx", prepare, answers);
}

/** Starts Nginx with deploy's site without TLS in front of a service; `adapt` may change the site further. */
export function startPlainNginx(service, adapt = (site) => site) {
  return startNginx(async (directory, port) =>
    adapt(
      await deployed(
        "nginx/cosage.conf",
        ["127.0.0.1:4024", new URL(service.api).host],
        ["listen 4033;", `listen 127.0.0.1:${port};`],
      ),
    ),
  );
}

/** Nginx with deploy's site for TLS, called `host`; `adapt` may change the site further. */
export async function startNginxWithTls(service, { certificate, host = "localhost", adapt = (site) => site }) {
  const redirecting = await freePort();
  const site = async (directory, port) => {
    await writeFile(join(directory, "users"), `teacher:{SHA}${createHash("sha1").update("open sesame").digest("base64")}\n`);
    const text = await deployed(
      "nginx/cosage-tls.conf",
      ["127.0.0.1:4024", new URL(service.api).host],
      ["listen 80;", `listen 127.0.0.1:${redirecting};`],
      ["listen 443 ssl;", `listen 127.0.0.1:${port} ssl;`],
      ["server_name desktops.example.org;", `server_name ${host};`],
      ["/etc/letsencrypt/live/desktops.example.org/fullchain.pem", certificate.certificateFile],
      ["/etc/letsencrypt/live/desktops.example.org/privkey.pem", certificate.keyFile],
      ["/etc/nginx/cosage.users", join(directory, "users")],
    );
    return adapt(text);
  };
  return { ...(await startNginx(site, { scheme: "https", host })), redirecting };
}

/** Starts Debian's Caddy with deploy/'s Caddyfile, further adapted by `adapt`, in front of a service. */
export function startCaddy(service, adapt = (site) => site) {
  const prepare = async (directory) => {
    const port = await freePort();
    const site = await deployed(
      "caddy/Caddyfile",
      ["desktops.example.org {", `https://localhost:${port} {\n\ttls internal`],
      ["127.0.0.1:4024", new URL(service.api).host],
    );
    const file = join(directory, "Caddyfile");
    // What is global to a machine's Caddy: nothing of this one is to be had, or to be put, outside of the directory.
    const options = `{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n\tstorage file_system ${directory}/storage\n}\n`;
    await writeFile(file, options + adapt(site));
    return {
      args: ["run", "--config", file, "--adapter", "caddyfile"],
      environment: { HOME: directory, XDG_CONFIG_HOME: directory, XDG_DATA_HOME: directory },
      origin: `https://localhost:${port}`,
    };
  };
  return runProgram("caddy", prepare, answers);
}

/** Starts Debian's HAProxy with deploy/'s rules in front of an engine's socket; its own is `socket`. */
export function startDockerProxy(engine = "/var/run/docker.sock") {
  const prepare = async (directory) => {
    const socket = join(directory, "docker.sock");
    const file = join(directory, "haproxy.cfg");
    const rules = await deployed(
      "docker-proxy/haproxy.cfg",
      ["/run/cosage-docker/docker.sock", socket],
      ["/etc/cosage/docker-proxy", join(repository, "deploy/docker-proxy")],
      ["server docker /var/run/docker.sock", `server docker ${engine}`],
    );
    await writeFile(file, rules);
    return { args: ["-f", file], socket };
  };
  const answers = ({ socket }) => call("http://docker/_ping", { socketPath: socket });
  return runProgram("haproxy", prepare, answers);
}

/** Whether something answers that has the service behind it, whatever its certificate, its host and whoever may come in. */
async function answers({ origin, address = origin }) {
  const { status } = await call(`${address}/readyz`, { agent: origin.startsWith("https") ? anyCertificate : undefined });
  return [200, 401, 421].includes(status);
}

/** For certificates of the test's own. */
export const anyCertificate = new Agent({ rejectUnauthorized: false });
