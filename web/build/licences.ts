// The licences of the packages that the console is built from, as the packages themselves have them.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import type { Plugin } from "vite";

const root = fileURLToPath(new URL("..", import.meta.url));
const id = "virtual:licences";

interface Package {
  name: string;
  version: string;
  license: string;
  repository?: string | { url: string };
  homepage?: string;
  dependencies?: Record<string, string>;
}

/** `import licences from "virtual:licences"` is the address of a text with all of them. */
export function licences(): Plugin {
  return {
    name: "cosage-licences",
    apply: "build",
    resolveId: (source) => (source === id ? `\0${id}` : undefined),
    load(loaded) {
      if (loaded !== `\0${id}`) return undefined;
      const reference = this.emitFile({ type: "asset", name: "licences.txt", source: text() });
      return `export default import.meta.ROLLUP_FILE_URL_${reference};`;
    },
  };
}

function text(): string {
  const own = read(root);
  const names = new Set<string>();
  const add = ({ dependencies = {} }: Package) => {
    for (const name of Object.keys(dependencies)) {
      if (names.has(name)) continue;
      names.add(name);
      add(read(directoryOf(name)));
    }
  };
  add(own);
  const parts = [...names].sort().map((name) => {
    const directory = directoryOf(name);
    const { version, license, repository, homepage } = read(directory);
    const source = ((typeof repository === "string" ? repository : repository?.url) ?? homepage ?? "").replace(/^git\+/, "");
    const files = licenceFiles(directory);
    if (files.length === 0) throw new Error(`${name} has no file with its licence; its terms have to be shipped with it`);
    const texts = files.map((file) => `--- ${file}\n\n${readFileSync(join(directory, file), "utf8").trim()}\n`);
    return `${name} ${version} (${license})\n${source}\n\n${texts.join("\n")}`;
  });
  const head = "CoSage's console contains these packages, compiled and otherwise unchanged. Their sources are at the addresses below.\n";
  return [head, ...parts].join(`\n${"=".repeat(80)}\n\n`);
}

const directoryOf = (name: string): string => join(root, "node_modules", name);

const read = (directory: string): Package => JSON.parse(readFileSync(join(directory, "package.json"), "utf8")) as Package;

/** Also those of what a package itself contains. */
function licenceFiles(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((file) => /^(licen[cs]e|copying|notice|authors)/i.test(file.split("/").at(-1) ?? "") && !/node_modules/.test(file))
    .sort();
}
