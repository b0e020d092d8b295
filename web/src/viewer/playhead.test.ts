import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { target } from "./playhead.ts";

describe("a live player's place", () => {
  it("is left alone while it keeps up", () => {
    assert.equal(target([], 0), undefined);
    assert.equal(target([[0, 0.3]], 0), undefined);
    assert.equal(target([[0, 10]], 9.6), undefined);
  });

  it("moves ahead when it is half a second behind", () => {
    assert.equal(target([[0, 10]], 9.4), 9.9);
    // A listener who comes late: the stream's clock does not start at 0.
    assert.equal(target([[3600, 3600.06]], 0), 3600);
  });

  it("does not wait before a gap", () => {
    assert.equal(target([[0, 5], [5.3, 5.36]], 5), 5.3);
    assert.equal(target([[0, 5], [5.3, 5.36]], 5.32), undefined);
  });
});
