import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { encoded, join, nameOf, pictureName, steps } from "./paths.ts";

describe("paths below a home", () => {
  it("are encoded name by name", () => {
    assert.equal(encoded(""), "");
    assert.equal(encoded("Häuser & Co/50 % ?#.txt"), "H%C3%A4user%20%26%20Co/50%20%25%20%3F%23.txt");
  });

  it("are put together and taken apart", () => {
    assert.equal(join("", "a"), "a");
    assert.equal(join("a/b", "c"), "a/b/c");
    assert.equal(nameOf("a/b/c.txt"), "c.txt");
    assert.equal(nameOf("c%20d.txt"), "c d.txt");
    // Bytes that are no text are shown as they are.
    assert.equal(nameOf("a/%FF.txt"), "%FF.txt");
    assert.deepEqual(steps(""), []);
    assert.deepEqual(steps("%C3%A4/b"), [
      { name: "ä", path: "%C3%A4" },
      { name: "b", path: "%C3%A4/b" },
    ]);
  });

  it("of pictures can be saved anywhere", () => {
    const at = new Date(2026, 0, 2, 3, 4, 5);
    assert.equal(pictureName("Firefox", at), "Firefox 2026-01-02 03.04.05.png");
    assert.equal(pictureName('a/b:c "d"\n', at), "a-b-c -d- 2026-01-02 03.04.05.png");
    assert.equal(pictureName("", at), "desktop 2026-01-02 03.04.05.png");
  });
});
