import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { Desktop, Status } from "./api.ts";
import { inOrder, matches } from "./selection.ts";

const desktop = (uid: string, status: Status, day: number): Desktop => ({
  uid,
  app: "tiny",
  title: "A drawing",
  status,
  since: `2026-01-0${day}T00:00:00Z`,
  used_at: `2026-01-0${day}T00:00:00Z`,
  created_at: "2026-01-01T00:00:00Z",
  viewers: 0,
  streams: ["vnc"],
  home: false,
  because: "",
});

const known = new Map(
  [
    desktop("paged-2", "asleep", 5),
    desktop("paged-1", "asleep", 1),
    desktop("ended-early", "asleep", 3),
    desktop("ended-late", "failed", 4),
    desktop("of-another-search", "asleep", 9),
    desktop("runs", "ready", 1),
    desktop("stops", "stopping", 2),
  ].map((one) => [one.uid, one]),
);
const changed = new Set(["ended-early", "ended-late", "runs"]);
const paged = ["runs", "paged-1", "ended-early", "deleted", "paged-2"];
const uids = (text: string) => inOrder(known, changed, paged, text).map(({ uid }) => uid);

describe("desktops to come back to", () => {
  it("are the active ones, those that ended just now, and the pages in the service's order, each once", () => {
    assert.deepEqual(uids(""), ["stops", "runs", "ended-late", "ended-early", "paged-1", "paged-2"]);
  });

  it("are those that have every word in the name, the app or its title", () => {
    assert.deepEqual(uids("ENDED tiny"), ["ended-late", "ended-early"]);
    assert.deepEqual(uids("drawing run"), ["runs"]);
    assert.deepEqual(uids("firefox"), []);
    assert.ok(matches(known.get("runs")!, "  "));
  });
});
