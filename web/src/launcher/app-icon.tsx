// The picture of an app.
import { useState } from "preact/hooks";

import type { App } from "../shared/api.ts";
import { address } from "../shared/base.ts";

/** Its icon; the first letter of its title where it has none, or where it cannot be loaded. */
export function AppIcon({ app }: { app: Pick<App, "icon" | "title"> }) {
  const [broken, setBroken] = useState(false);
  if (!app.icon || broken) {
    return (
      <span class="app-icon letter" aria-hidden="true">
        {[...app.title][0]?.toUpperCase() ?? "?"}
      </span>
    );
  }
  const source = address(app.icon.replace(/^\//, ""));
  return <img class="app-icon" src={source} alt="" onError={() => setBroken(true)} />;
}
