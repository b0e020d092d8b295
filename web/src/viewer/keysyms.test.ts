import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { keys, keysymsBetween, keysymsOf, Typist } from "./keysyms.ts";

describe("text as keysyms", () => {
  it("is Latin-1 as it is and everything else by its Unicode number", () => {
    assert.deepEqual(keysymsOf("aZ é~"), [0x61, 0x5a, 0x20, 0xe9, 0x7e]);
    assert.deepEqual(keysymsOf("€日😀"), [0x010020ac, 0x010065e5, 0x0101f600]);
  });

  it("has keys for line ends and tabs, and none for other control characters", () => {
    assert.deepEqual(keysymsOf("a\r\nb\nc\td\u0000\u0085"), [0x61, keys.Return, 0x62, keys.Return, 0x63, keys.Tab, 0x64]);
  });
});

describe("what an on-screen keyboard changed", () => {
  it("is typed where it is new", () => {
    assert.deepEqual(keysymsBetween("", "hi"), [0x68, 0x69]);
    assert.deepEqual(keysymsBetween("hi", "hi!"), [0x21]);
    assert.deepEqual(keysymsBetween("same", "same"), []);
  });

  it("is erased where it is gone, one key for each character", () => {
    assert.deepEqual(keysymsBetween("hi😀", "hi"), [keys.BackSpace]);
    assert.deepEqual(keysymsBetween("teh", "the"), [keys.BackSpace, keys.BackSpace, 0x68, 0x65]);
  });
});

describe("a typist", () => {
  it("keeps the order of what comes while it types, and gives unusual characters time", async () => {
    const pressed: (number | string)[] = [];
    const waiting: (() => void)[] = [];
    const typist = new Typist(
      (keysym) => pressed.push(keysym),
      (milliseconds) => {
        pressed.push(`pause ${milliseconds}`);
        return new Promise((resolve) => waiting.push(resolve));
      },
    );
    const done = typist.type(keysymsOf("a日"));
    await typist.type(keysymsOf("b"));
    assert.deepEqual(pressed, [0x61, "pause 5"]);
    for (let turn = 0; turn < 3; turn++) {
      waiting.shift()?.();
      await Promise.resolve();
    }
    await done;
    assert.deepEqual(pressed, [0x61, "pause 5", 0x010065e5, "pause 40", 0x62, "pause 5"]);
  });

  it("forgets the rest when it is told to stop", async () => {
    const pressed: number[] = [];
    const typist = new Typist(
      (keysym) => {
        pressed.push(keysym);
        if (pressed.length === 2) typist.stop();
      },
      () => Promise.resolve(),
    );
    await typist.type(keysymsOf("abcdef"));
    assert.equal(pressed.length, 2);
    await typist.type(keysymsOf("g"));
    assert.deepEqual(pressed, [0x61, 0x62, 0x67]);
  });
});
