// Which key a shortcut means on a keyboard layout that has no Latin letters.

/** The parts of a keyboard event that a shortcut depends on (UI Events, 5.6.1). */
export interface Press {
  key: string;
  code: string;
  keyCode: number;
  shiftKey: boolean;
  /** Whether a modifier of shortcuts is held: Ctrl, Meta, or Alt where Alt writes no characters. */
  held: boolean;
  /** Whether AltGr is held, which writes characters. Windows reports Ctrl and Alt with it. */
  altGraph: boolean;
  capsLock: boolean;
}

/** Names of keys that write nothing, such as `Enter`, `F1`, `Dead` and `Process`, are ASCII words. */
const NAMED = /^[A-Za-z][A-Za-z0-9]+$/;
const LATIN = /\p{Script=Latin}/u;
/** Letters, marks and digits of one script that is not Latin; `µ` and `²` belong to no script. */
const FOREIGN = /(?![\p{Script=Latin}\p{Script=Common}\p{Script=Inherited}])[\p{L}\p{M}]|(?![0-9])\p{Nd}/u;
const LETTER = /^Key([A-Z])$/;
const DIGIT = /^Digit([0-9])$/;

/** What the keys beside the letters write on a US keyboard, without Shift and with it. */
const SHIFTED_DIGITS = ")!@#$%^&*(";
const SIGNS: Readonly<Record<string, string>> = {
  Backquote: "`~",
  Minus: "-_",
  Equal: "=+",
  BracketLeft: "[{",
  BracketRight: "]}",
  Backslash: "\\|",
  Semicolon: ";:",
  Quote: "'\"",
  Comma: ",<",
  Period: ".>",
  Slash: "/?",
};

/** Whether a key writes a character of a script other than Latin. */
export const isForeign = (key: string): boolean => !NAMED.test(key) && FOREIGN.test(key);

/**
 * Whether the keyboard's layout has no Latin letters, as far as a key tells; a key that writes no letter leaves it at
 * `before`. Some keys of a Hebrew or Greek layout write ASCII signs where others have letters.
 */
export function layoutIsForeign(before: boolean, { key, code, held, altGraph }: Press): boolean {
  if (held || altGraph || !LETTER.test(code) || NAMED.test(key)) return before;
  if (isForeign(key)) return true;
  return LATIN.test(key) ? false : before;
}

/**
 * The character that a shortcut means where the layout has no Latin letter on the pressed key: what a US keyboard has there.
 * `undefined` leaves the key as it is: on Latin layouts of any order, with AltGr, and for keys that write nothing.
 */
export function shortcutKey(press: Press, foreignLayout: boolean): string | undefined {
  const { key, code, keyCode, shiftKey, held, altGraph, capsLock } = press;
  if (!held || altGraph || NAMED.test(key)) return undefined;
  const letter = LETTER.exec(code)?.[1];
  if (isForeign(key)) {
    if (letter !== undefined) return shiftKey === capsLock ? letter.toLowerCase() : letter;
    const digit = DIGIT.exec(code)?.[1];
    if (digit !== undefined) return shiftKey ? SHIFTED_DIGITS[Number(digit)] : digit;
    return SIGNS[code]?.[shiftKey ? 1 : 0];
  }
  if (letter === undefined || LATIN.test(key)) return undefined;
  // An ASCII sign on a key for a letter: the layout's own on Dvorak. On Windows `keyCode` follows the layout and tells.
  if (!foreignLayout && keyCode !== letter.charCodeAt(0)) return undefined;
  return shiftKey === capsLock ? letter.toLowerCase() : letter;
}
