// A certificate of the test's own.
import { execFile } from "node:child_process";
import { X509Certificate, createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { runName } from "./docker.mjs";

/** Makes one for these host names, signed by itself. */
export async function makeCertificate(...hosts) {
  const directory = await mkdtemp(join(tmpdir(), `${runName}-certificate-`));
  const [certificateFile, keyFile] = ["certificate.pem", "key.pem"].map((name) => join(directory, name));
  const names = hosts.map((host) => `DNS:${host}`).join(",");
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", keyFile];
  // As a server of its own, not as an authority: Rustls takes no authority's certificate for a server's.
  const use = ["-subj", `/CN=${hosts[0]}`, "-addext", `subjectAltName=${names}`, "-addext", "basicConstraints=critical,CA:FALSE"];
  await promisify(execFile)("openssl", ["req", "-x509", "-days", "2", ...key, ...use, "-out", certificateFile]);
  const pem = await readFile(certificateFile, "utf8");
  const publicKey = new X509Certificate(pem).publicKey.export({ type: "spki", format: "der" });
  return {
    certificateFile,
    keyFile,
    pem,
    key: await readFile(keyFile, "utf8"),
    /** What tells Chromium to take this key's certificates, and no others, on trust. */
    exception: `--ignore-certificate-errors-spki-list=${createHash("sha256").update(publicKey).digest("base64")}`,
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}
