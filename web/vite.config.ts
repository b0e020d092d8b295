import { dirname, posix } from "node:path";
import { fileURLToPath } from "node:url";

import { defineConfig } from "vite";

import { licences } from "./build/licences.ts";
import { precompress } from "./build/precompress.ts";

const page = (name: string) => fileURLToPath(new URL(`${name}.html`, import.meta.url));

/** Directories in which the service shows a page, where it is not the top one. */
const places: Record<string, string> = { "view.html": "view" };

export default defineConfig({
  // Every address is relative, so that the console works below any path prefix of a proxy.
  base: "./",
  experimental: {
    renderBuiltUrl: (file, { hostId, hostType }) => {
      if (hostType !== "html") return { relative: true };
      return posix.relative(places[hostId] ?? posix.normalize(dirname(hostId)), file);
    },
  },
  build: {
    target: ["chrome123", "firefox128", "safari18"],
    // The service's Content-Security-Policy lets nothing inline run, and the pages are small enough without.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
    rolldownOptions: {
      input: { launcher: page("index"), operations: page("operations"), viewer: page("view"), missing: page("missing") },
    },
  },
  plugins: [licences(), precompress()],
});
