import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { readQuery } from "./query.ts";

describe("the viewer's query", () => {
  it("has defaults that connect and reconnect", () => {
    const { query, ignored } = readQuery("");
    assert.deepEqual(ignored, []);
    assert.deepEqual(query, {
      autoconnect: undefined,
      viewOnly: false,
      resize: undefined,
      quality: undefined,
      compression: undefined,
      reconnect: true,
      reconnectDelay: undefined,
      shared: true,
      showDot: false,
      bell: true,
    });
  });

  it("takes noVNC's names and ways to say yes and no", () => {
    const { query, ignored } = readQuery(
      "?autoconnect=1&view_only=true&resize=scale&quality=0&compression=9&reconnect=no&reconnect_delay=2000&shared=0&show_dot&bell=off",
    );
    assert.deepEqual(ignored, []);
    assert.deepEqual(query, {
      autoconnect: true,
      viewOnly: true,
      resize: "scale",
      quality: 0,
      compression: 9,
      reconnect: false,
      reconnectDelay: 2000,
      shared: false,
      showDot: true,
      bell: false,
    });
  });

  it("lets what is after # count more", () => {
    assert.equal(readQuery("?resize=scale", "#resize=off").query.resize, "off");
  });

  it("names what means nothing, and goes on without it", () => {
    const { query, ignored } = readQuery("?quality=10&compression=-1&resize=huge&view_only=perhaps&reconnect_delay=1e9&path=websockify");
    assert.deepEqual([query.quality, query.compression, query.resize, query.viewOnly, query.reconnectDelay], [
      undefined,
      undefined,
      undefined,
      false,
      undefined,
    ]);
    assert.deepEqual(
      ignored.map((note) => note.split("=")[0]).sort(),
      ["compression", "quality", "reconnect_delay", "resize", "view_only"],
    );
  });
});
