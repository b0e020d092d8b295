// Runs a tool on the Node.js in `node`, where one is installed there because the system's is too old.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const own = fileURLToPath(new URL(`../node/node_modules/node-linux-${process.arch}/bin/node`, import.meta.url));
const { status } = spawnSync(existsSync(own) ? own : process.execPath, process.argv.slice(2), { stdio: "inherit" });
process.exit(status ?? 1);
