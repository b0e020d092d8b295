import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { isForeign, layoutIsForeign, shortcutKey, type Press } from "./shortcuts.ts";

const press = (key: string, code: string, more: Partial<Press> = {}): Press => ({
  key,
  code,
  keyCode: 0,
  shiftKey: false,
  held: true,
  altGraph: false,
  capsLock: false,
  ...more,
});

describe("a shortcut", () => {
  it("takes the Latin letter of its key on layouts that have none", () => {
    const cases: [layout: string, key: string, code: string, expected: string][] = [
      ["Russian", "с", "KeyC", "c"],
      ["Russian", "м", "KeyV", "v"],
      ["Russian", "б", "Comma", ","],
      ["Russian", "ж", "Semicolon", ";"],
      ["Russian", "ё", "Backquote", "`"],
      ["Ukrainian", "і", "KeyS", "s"],
      ["Greek", "ψ", "KeyC", "c"],
      ["Greek", "ς", "KeyW", "w"],
      ["Hebrew", "ב", "KeyC", "c"],
      ["Hebrew", "ת", "Comma", ","],
      ["Arabic", "ؤ", "KeyC", "c"],
      ["Arabic, a ligature of two characters", "لا", "KeyB", "b"],
      ["Persian digits", "۱", "Digit1", "1"],
      ["Arabic digits", "٣", "Digit3", "3"],
      ["Thai", "แ", "KeyC", "c"],
      ["Thai, a vowel sign", "ั", "KeyY", "y"],
      ["Thai, a letter on a digit's key", "ๅ", "Digit1", "1"],
      ["Devanagari", "म", "KeyC", "c"],
      ["Georgian", "ც", "KeyC", "c"],
      ["Armenian", "ց", "KeyC", "c"],
      ["Korean", "ㅊ", "KeyC", "c"],
      ["Japanese kana", "そ", "KeyC", "c"],
    ];
    for (const [layout, key, code, expected] of cases) {
      assert.equal(shortcutKey(press(key, code), false), expected, layout);
    }
  });

  it("keeps the case that Shift and Caps Lock give it", () => {
    assert.equal(shortcutKey(press("Е", "KeyT", { shiftKey: true }), false), "T");
    assert.equal(shortcutKey(press("Е", "KeyT", { capsLock: true }), false), "T");
    assert.equal(shortcutKey(press("е", "KeyT", { capsLock: true, shiftKey: true }), false), "t");
    assert.equal(shortcutKey(press("Б", "Comma", { shiftKey: true }), false), "<");
    assert.equal(shortcutKey(press("۲", "Digit2", { shiftKey: true }), false), "@");
  });

  it("keeps the letters of every Latin layout, whatever their order", () => {
    const cases: [layout: string, key: string, code: string, keyCode?: number][] = [
      ["AZERTY", "a", "KeyQ", 65],
      ["AZERTY", ",", "KeyM", 188],
      ["AZERTY", "é", "Digit2", 50],
      ["AZERTY", "²", "Backquote", 222],
      ["Dvorak", "j", "KeyC", 74],
      ["Dvorak", ",", "KeyW", 188],
      ["Dvorak", "'", "KeyQ", 222],
      ["Dvorak", ";", "KeyZ", 186],
      ["Colemak", ";", "KeyP", 186],
      ["German", "ß", "Minus"],
      ["German", "y", "KeyZ", 89],
      ["German", "ö", "Semicolon"],
      ["Turkish", "ı", "KeyI", 73],
      ["Turkish", "ş", "Semicolon"],
      ["Vietnamese", "ơ", "BracketRight"],
      ["Icelandic", "þ", "Slash"],
    ];
    for (const [layout, key, code, keyCode = 0] of cases) {
      assert.equal(shortcutKey(press(key, code, { keyCode }), false), undefined, `${layout} ${key}`);
    }
  });

  it("takes the letter of a key that has a sign, on layouts without Latin letters", () => {
    // Windows tells by the key code, and elsewhere the letters that were typed before tell.
    assert.equal(shortcutKey(press("'", "KeyW", { keyCode: 87 }), false), "w");
    assert.equal(shortcutKey(press(";", "KeyQ", { keyCode: 186 }), true), "q");
    assert.equal(shortcutKey(press("/", "KeyQ", { keyCode: 191 }), true), "q");
    // A key beside the letters keeps its sign.
    assert.equal(shortcutKey(press(".", "Slash", { keyCode: 190 }), true), undefined);
    // And a Latin letter is one.
    assert.equal(shortcutKey(press("x", "KeyX", { keyCode: 88 }), true), undefined);
  });

  it("leaves typing, AltGr, dead keys and named keys alone", () => {
    assert.equal(shortcutKey(press("с", "KeyC", { held: false }), true), undefined);
    assert.equal(shortcutKey(press("₽", "Digit8", { altGraph: true }), true), undefined);
    assert.equal(shortcutKey(press("ё", "KeyE", { altGraph: true }), true), undefined);
    for (const key of ["Dead", "Enter", "F1", "Process", "Unidentified", "Control", "ArrowLeft", "AltGraph"]) {
      assert.equal(shortcutKey(press(key, "KeyC", { keyCode: 67 }), true), undefined, key);
    }
    // Neither is there anything on a US keyboard for it.
    assert.equal(shortcutKey(press("ろ", "IntlRo"), false), undefined);
  });
});

describe("a layout", () => {
  it("is known by the letters that it writes", () => {
    const typed = (key: string, code: string, more = {}) => press(key, code, { held: false, ...more });
    assert.equal(layoutIsForeign(false, typed("ш", "KeyI")), true);
    assert.equal(layoutIsForeign(true, typed("i", "KeyI")), false);
    assert.equal(layoutIsForeign(true, typed("'", "KeyW")), true);
    assert.equal(layoutIsForeign(false, typed("'", "KeyQ")), false);
    assert.equal(layoutIsForeign(true, typed("é", "Digit2")), true);
    assert.equal(layoutIsForeign(true, typed("Dead", "KeyE")), true);
    // Shortcuts tell nothing: macOS has Latin letters for them on every layout.
    assert.equal(layoutIsForeign(true, press("c", "KeyC")), true);
    assert.equal(layoutIsForeign(false, typed("π", "KeyP", { altGraph: true })), false);
  });

  it("has foreign characters by their script", () => {
    for (const key of ["я", "ω", "ש", "ش", "ก", "の", "한", "۴"]) assert.ok(isForeign(key), key);
    for (const key of ["a", "É", "ß", "1", ".", "µ", "²", "€", "Enter", "F12", ""]) assert.ok(!isForeign(key), key);
  });
});
