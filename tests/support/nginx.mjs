// Debian's Nginx with a configuration of deploy/ in front of a service.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { runName } from "./docker.mjs";
import { freePort, repository } from "./service.mjs";
import { until } from "./wait.mjs";

/** Replaces texts that have to be there. */
function adapted(file, text, changes) {
  for (const [from, to] of Object.entries(changes)) {
    if (!text.includes(from)) throw new Error(`deploy/nginx/${file} no longer has: ${from}`);
    text = text.replaceAll(from, to);
  }
  return text;
}

/** Starts Nginx with a file of deploy/nginx, changed by `adapt`, and waits until `ready` says that it answers. */
async function start(file, adapt, ready) {
  const directory = await mkdtemp(join(tmpdir(), `${runName}-nginx-`));
  const site = await readFile(join(repository, "deploy/nginx", file), "utf8");
  await writeFile(join(directory, "site.conf"), adapt(site));
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  await writeFile(
    join(directory, "nginx.conf"),
    `daemon off;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log;
worker_processes 1;
events {}
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${directory}/${name};`).join("\n  ")}
  include ${directory}/site.conf;
}
`,
  );
  const child = spawn("nginx", ["-c", join(directory, "nginx.conf"), "-e", join(directory, "error.log")], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` },
  });
  let log = "";
  child.stderr.on("data", (text) => (log += text));
  const ended = once(child, "close");
  const stop = async () => {
    child.kill("SIGTERM");
    await ended;
    await rm(directory, { recursive: true, force: true });
  };
  try {
    await until("Nginx answers for the service", async () => {
      if (child.exitCode !== null) throw new Error(`nginx ended: ${log}`);
      return ready();
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return stop;
}

/** Nginx with deploy's plain site; `adapt` may change the site further. */
export async function startNginx(service, adapt = (site) => site) {
  const origin = `http://127.0.0.1:${await freePort()}`;
  const changes = {
    "127.0.0.1:4024": new URL(service.api).host,
    "listen 4033;": `listen ${new URL(origin).host};`,
  };
  const file = "cosage.conf";
  const ready = async () => (await fetch(`${origin}/readyz`)).ok;
  return { origin, stop: await start(file, (site) => adapt(adapted(file, site, changes)), ready) };
}

/** Nginx with deploy's site for TLS, as `https://HOST` with a port of its own; the certificate is for `host`. */
export async function startTlsNginx(service, { host, certificate }) {
  const port = await freePort();
  const changes = {
    "127.0.0.1:4024": new URL(service.api).host,
    "listen 80;": `listen 127.0.0.1:${await freePort()};`,
    "listen 443 ssl;": `listen 127.0.0.1:${port} ssl;`,
    "desktops.example.org;": `${host};`,
    "/etc/letsencrypt/live/desktops.example.org/fullchain.pem": certificate.certificateFile,
    "/etc/letsencrypt/live/desktops.example.org/privkey.pem": certificate.keyFile,
  };
  const file = "cosage-tls.conf";

  /** One call as a program makes it: status and headers. Names below localhost are no resolver's, hence the address. */
  const call = (method, path, headers = {}) =>
    new Promise((resolve, reject) => {
      const options = { host: "127.0.0.1", port, method, path, servername: host, ca: certificate.pem };
      const asked = request({ ...options, headers: { Host: `${host}:${port}`, ...headers } }, (answer) => {
        answer.resume();
        answer.on("end", () => resolve({ status: answer.statusCode, headers: answer.headers }));
      });
      asked.on("error", reject);
      asked.end();
    });
  const ready = async () => (await call("GET", "/readyz")).status === 200;
  const stop = await start(file, (site) => adapted(file, site, changes), ready);
  return { origin: `https://${host}:${port}`, call, stop };
}
