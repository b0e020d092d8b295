import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { Desktop, Status } from "../shared/api.ts";
import { needsPages, rows, seen } from "./rows.ts";

const desktop = (uid: string, status: Status, more: Partial<Desktop> = {}): Desktop => ({
  uid,
  app: "tiny",
  title: "Tiny",
  status,
  since: "2026-01-01T00:00:00Z",
  created_at: "2026-01-01T00:00:00Z", used_at: "2026-01-01T00:00:00Z",
  viewers: 0,
  streams: ["vnc"],
  home: false,
  because: "",
  ...more,
});

const all = [
  desktop("a", "ready", { viewers: 2, started_at: "2026-01-03T00:00:00Z" }),
  desktop("b", "ready", { app: "firefox", title: "Firefox", started_at: "2026-01-02T00:00:00Z", until: "2026-02-01T00:00:00Z" }),
  desktop("c", "asleep"),
  desktop("d", "failed"),
];
const usage = { b: { cpu: 0.5, memory: 1, received: 2, sent: 3 }, a: { cpu: 1.5, memory: 1, received: 0, sent: 1 } };
const everything = { text: "", app: "", status: "all" } as const;
const uids = (list: Desktop[]) => list.map(({ uid }) => uid).join("");

describe("the rows of the table", () => {
  it("are ordered by a column, and what is absent comes last", () => {
    assert.equal(uids(rows(all, usage, everything, { column: "cpu", direction: "descending" })), "abcd");
    assert.equal(uids(rows(all, usage, everything, { column: "cpu", direction: "ascending" })), "bacd");
    assert.equal(uids(rows(all, usage, everything, { column: "memory", direction: "ascending" })), "abcd");
    assert.equal(uids(rows(all.toReversed(), usage, everything, { column: "memory", direction: "ascending" })), "badc");
    assert.equal(uids(rows(all.toReversed(), usage, everything, { column: "desktop", direction: "ascending" })), "bacd");
    assert.equal(uids(rows(all, usage, everything, { column: "status", direction: "ascending" })), "abdc");
    assert.equal(uids(rows(all, usage, everything, { column: "age", direction: "ascending" })), "abcd");
    assert.equal(uids(rows(all, usage, everything, { column: "until", direction: "descending" })), "bacd");
    assert.equal(uids(rows(all, usage, everything, { column: "viewers", direction: "ascending" })), "bacd");
  });

  it("are those that fit", () => {
    const order = { column: "desktop", direction: "ascending" } as const;
    assert.equal(uids(rows(all, usage, { text: "FIRE b", app: "", status: "all" }, order)), "b");
    assert.equal(uids(rows(all, usage, { text: "", app: "", status: "active" }, order)), "ba");
    assert.equal(uids(rows(all, usage, { text: "", app: "", status: "failed" }, order)), "d");
    assert.equal(uids(rows(all, usage, { text: "", app: "tiny", status: "all" }, order)), "acd");
    assert.equal(uids(rows(all, usage, { text: "no", app: "", status: "all" }, order)), "");
  });

  it("may be unknown only where a desktop rests", () => {
    const needing = (["all", "active", "ready", "starting", "failed", "asleep"] as const).filter((status) => needsPages({ ...everything, status }));
    assert.deepEqual(needing, ["all", "failed", "asleep"]);
  });

  it("are in the page only around what is seen", () => {
    assert.deepEqual(seen(10, 40, 0, 400), [0, 10]);
    const [first, last] = seen(1000, 40, 20_000, 800);
    assert.ok(first <= 488 && first >= 480, `${first}`);
    assert.ok(last >= 532 && last <= 540, `${last}`);
    assert.deepEqual(seen(1000, 40, 20_010, 800), seen(1000, 40, 20_030, 800));
    assert.deepEqual(seen(0, 40, 0, 800), [0, 0]);
  });
});
