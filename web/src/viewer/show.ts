import { h, render } from "preact";

import "../shared/theme.css";
import "./viewer.css";
import "../shared/theme.ts";
import { ViewerPage } from "./page.tsx";
import { readQuery } from "./query.ts";
import type { Way } from "./viewer.ts";

/**
 * Makes the viewer of a desktop of this page, which has its address already. `url` is where the desktop answers, when it
 * was just started; otherwise the service is asked.
 */
export function show(way: Way, url?: string): void {
  const { query, ignored } = readQuery(location.search, location.hash);
  for (const note of ignored) console.warn(`ignored in the address: ${note}`);
  render(h(ViewerPage, { way, query, url }), document.body);
}
