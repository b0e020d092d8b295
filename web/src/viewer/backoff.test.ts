import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { delayBefore } from "./backoff.ts";

describe("the pause before an attempt", () => {
  it("doubles up to a bound, and stays there", () => {
    const longest = [0, 1, 2, 3, 4, 5, 6, 1000].map((attempt) => delayBefore(attempt, 500, () => 1));
    assert.deepEqual(longest, [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
  });

  it("is between half and all of that", () => {
    assert.equal(delayBefore(3, 500, () => 0), 2000);
    assert.equal(delayBefore(3, 500, () => 0.5), 3000);
  });

  it("can start longer than its bound", () => {
    assert.equal(delayBefore(0, 60_000, () => 1), 60_000);
    assert.equal(delayBefore(9, 60_000, () => 1), 60_000);
    assert.equal(delayBefore(5, 0, () => 1), 0);
  });
});
