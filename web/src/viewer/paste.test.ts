import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { pasteSize } from "./paste.ts";

describe("a text for the desktop's clipboard", () => {
  it("is counted in bytes as it is sent", () => {
    const cases: [text: string, bytes: number][] = [
      ["", 1],
      ["abc", 4],
      ["ü", 3],
      ["日", 4],
      ["😀", 5],
      ["a\nb", 5],
      ["a\r\nb\rc\n\n", 12],
    ];
    for (const [text, bytes] of cases) assert.equal(pasteSize(text), bytes, JSON.stringify(text));
  });
});
